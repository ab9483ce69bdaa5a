"""Composed linear layers compute what the separate ones did, and leave fewer tensors to round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_modules import CLASSES, Lambda, conv3
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.integer import compile_measured
from assay.integer.capture import capture
from assay.integer.compose import compose, macs, roundings
from assay.integer.fold import fold
from assay.integer.graph import Requantise
from assay.integer.real import Convolution, Dense, RealNode, evaluate
from assay.models import seeded
from assay.models.cnet import CNet, Layer, encode

PICTURE = (2, 16, 16)


def graph(module: nn.Module) -> list[RealNode]:
    """Folded, with norms that are not the identity."""
    with seeded(1), torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.3, 1.5)
                part.bias.normal_(0, 0.3)
                part.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return fold(capture(module.eval(), PICTURE))


def assert_equal(given: list[RealNode], made: list[RealNode]) -> None:
    x = torch.rand(3, *PICTURE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected, got = evaluate(given, x)[-1], evaluate(made, x)[-1]
    assert expected.std() > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@st.composite
def skeletons(draw: st.DrawFn) -> str:
    depth = draw(st.integers(3, 7))
    operations = st.sampled_from((0, 2, 4, 5))
    return encode(tuple(Layer(draw(operations), tuple(draw(st.booleans()) for _ in range(i))) for i in range(depth)))


@given(layers=skeletons(), width=st.integers(1, 2), stem=st.sampled_from((1, 2)))
@settings(max_examples=25, deadline=None)
def test_any_cnet_computes_the_same(layers: str, width: int, stem: int) -> None:
    with seeded(3):
        given = graph(CNet(2, PICTURE[1:], CLASSES, layers, width, stem))
    made = compose(given, PICTURE)
    assert roundings(made) <= roundings(given)
    assert macs(made, PICTURE) <= 2 * macs(given, PICTURE)
    assert_equal(given, made)


def test_the_released_cnet_rounds_rectified_maps_only() -> None:
    with seeded(3):
        given = graph(CNet(2, PICTURE[1:], CLASSES, width=2))
    made = compose(given, PICTURE)
    assert roundings(given) == 6  # five layers that are joined, and the last
    assert roundings(made) == 0
    assert_equal(given, made)


def strided(x: Tensor, m: nn.Module) -> Tensor:
    """Two maps of unlike kernels and paddings, at one third and one sixth of the size, and a rectified one."""
    x = F.relu(m.stem(x))
    parts = [F.avg_pool2d(m.far(x), 2), m.near(x), F.relu(m.other(x))]
    return m.fc(F.relu(m.mix(torch.cat(parts, 1))).mean((2, 3)))


def test_strides_paddings_and_windows_multiply() -> None:
    with seeded(2):
        module = Lambda(
            strided,
            stem=conv3(2, 4),
            far=nn.Conv2d(4, 3, (5, 3), stride=(3, 2), padding=(2, 5)),
            near=nn.Conv2d(4, 2, 3, stride=(5, 4), padding=(0, 5)),
            other=nn.Conv2d(4, 2, 3, stride=(5, 4), padding=(0, 4)),
            mix=nn.Conv2d(7, 4, 1),
            fc=nn.Linear(4, CLASSES),
        )
        given = graph(module)
    made = compose(given, PICTURE)
    assert (roundings(given), roundings(made)) == (2, 0)
    assert_equal(given, made)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_classifier_over_the_mean_of_a_convolution_reads_what_that_read(stride: int) -> None:
    with seeded(2):
        body = [conv3(2, 4), nn.ReLU(), nn.Conv2d(4, 6, 5, stride=stride, padding=2), nn.BatchNorm2d(6)]
        given = graph(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)))
    made = compose(given, PICTURE)
    assert isinstance(made[-1], Dense)
    assert made[-1].weight.shape == (CLASSES, 4 * 16 * 16)
    assert sum(isinstance(node, Convolution) for node in made) == 1
    assert_equal(given, made)


def test_a_bottleneck_stays_where_it_saves_more_than_half() -> None:
    with seeded(2):
        given = graph(
            nn.Sequential(
                conv3(2, 32), nn.ReLU(), nn.Conv2d(32, 2, 1), nn.Conv2d(2, 64, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(64 * 256, CLASSES),
            )
        )  # fmt: skip
    made = compose(given, PICTURE)
    assert [type(node) for node in made] == [type(node) for node in given]


@pytest.mark.parametrize(
    "second",
    [
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(4, 4, 1)),
    ],
    ids=["padded", "in groups", "with zeros around what it reads", "past a padded average"],
)
def test_what_could_not_be_exact_is_left_alone(second: nn.Module) -> None:
    """A zero outside the middle map is not the bias that the first layer would have given there."""
    with seeded(2):
        rest = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)]
        given = graph(nn.Sequential(conv3(2, 4), second, *rest))
    made = compose(given, PICTURE)
    assert roundings(made) == roundings(given) == 1
    assert_equal(given, made)


def test_a_middle_map_that_is_read_elsewhere_too_stays_for_it() -> None:
    def forward(x: Tensor, m: nn.Module) -> Tensor:
        middle = m.conv(x)
        return m.fc(F.relu(m.mix(middle) + F.relu(middle)).mean((2, 3)))

    with seeded(2):
        given = graph(Lambda(forward, conv=conv3(2, 4), mix=nn.Conv2d(4, 4, 1), fc=nn.Linear(4, CLASSES)))
    made = compose(given, PICTURE)
    assert (roundings(given), roundings(made)) == (1, 0)
    assert_equal(given, made)


def test_the_integer_network_of_a_cnet_requantises_once_a_layer() -> None:
    x = np.random.default_rng(0).integers(0, 256, (32, *PICTURE), dtype=np.uint8)
    with seeded(3):
        module = CNet(2, PICTURE[1:], CLASSES, width=2)
        graph(module)  # sets its norms
        labels = module(torch.from_numpy(x).float() / 255).argmax(1).numpy()
        compiled = compile_measured(module, Dataset(x, labels, tuple("abcd"), "noise"))
    rounded = [node for node in compiled.network.nodes if isinstance(node, Requantise)]
    assert [node.stop > node.start for node in rounded] == [True] * 6
    assert compiled.agreement.value >= 0.9

"""Counting: the reference networks have the ReLUs that the papers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.errors import ModelError
from assay.models import ARCHITECTURES
from assay.models.channel_relu import ChannelReLU
from assay.search import count, count_architecture

REFERENCES = {
    "preact-resnet18": 557_056,
    "resnet32": 303_104,
    "resnet20": 188_416,
    "vgg16": 276_480,
    "minionn7": 173_056,
    "cnet1": 86_016,
    "cnet2": 344_064,
    "cnet3": 1_376_256,
    "cnet1-cifar100": 86_016,
    "cnet2-cifar100": 344_064,
    "cnet3-cifar100": 1_376_256,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_network_has_the_relus_of_its_paper(name: str) -> None:
    assert count_architecture(name).relus == REFERENCES[name]


def test_torchvisions_resnet18_with_the_stem_for_small_pictures_has_557056_relus() -> None:
    from torchvision.models import resnet18

    network = resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    counted = count(network, (3, 32, 32))
    assert counted.relus == 557_056
    assert counted.parameters == sum(p.numel() for p in network.parameters())


def test_multiplications_are_those_written_out_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(),
        nn.Linear(8 * 2 * 2, 5),
    )  # fmt: skip
    counted = count(network, (3, 8, 8))
    assert counted.macs == 8 * 64 * 27 + 8 * 4 * 2 * 9 + 32 * 5
    assert counted.relus == 8 * 64
    assert counted.total("maxima") == 8 * 16 * 3
    assert [layer.name for layer in counted.layers] == ["0", "1", "2", "3", "5"]


def test_functional_in_place_and_clamped_relus_count_and_others_do_not() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x).clamp(min=0)
            x = F.threshold(F.relu_(x.clone()), 0.0, 0.0)
            return self.fc(F.relu6(x * x).sigmoid().flatten(1))

    counted = count(Odd(), (3, 2, 2))
    assert counted.relus == 4 * 12
    assert counted.total("squares") == 12
    assert counted.others == ("hardtanh", "sigmoid")


def test_a_channel_range_counts_only_its_channels() -> None:
    assert count(ChannelReLU(1, 3), (4, 5, 5)).relus == 50


def test_counting_without_weights_gives_what_counting_with_them_gives() -> None:
    from assay.models.cnet import CNet

    network = CNet(3, (32, 32), 10, "0 1:0 3:11", width=4)
    with_weights = count(network, (3, 32, 32))
    named = count_architecture("cnet", layers="0 1:0 3:11", width=4)
    assert with_weights == named
    assert network.training


def test_pictures_that_do_not_suit_are_named_and_the_mode_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ModelError, match="1x4x4"):
        count(network, (1, 4, 4))
    assert network.training


def test_a_partly_rectified_tensor_is_that_of_its_definition() -> None:
    x = torch.randn(2, 6, 3, 3)
    for start in range(7):
        for stop in range(start, 7):
            expected = x.clone()
            expected[:, start:stop] = expected[:, start:stop].clamp(min=0)
            assert torch.equal(ChannelReLU(start, stop)(x), expected)


class Applied(nn.Module):
    """A function of the picture, and no weights."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


N = 4 * 8 * 8
ROWS = torch.arange(4.0).view(4, 1, 1)


@pytest.mark.parametrize(
    ("function", "relus", "maxima", "others"),
    [
        (nn.Threshold(0, 0), N, 0, ()),
        (nn.Threshold(0.1, 20), 0, 0, ("threshold",)),
        (lambda x: x.clamp(min=0), N, 0, ()),
        (lambda x: x.clamp(0, 6), 0, 0, ("clamp",)),
        (lambda x: x.clamp(min=ROWS), 0, 0, ("clamp",)),
        (lambda x: x.clamp_max(0), 0, 0, ("clamp_max",)),
        (nn.MaxPool2d(2), 0, 3 * N // 4, ()),
        (nn.AdaptiveMaxPool2d(2), 0, N - 16, ()),
        (nn.FractionalMaxPool2d(2, 4), 0, 3 * 64, ()),
        (lambda x: x.amax((2, 3)), 0, N - 4, ()),
        (lambda x: x.max(1).values, 0, 3 * 64, ()),
        (lambda x: torch.maximum(x, torch.zeros(())), 0, N, ()),
        (lambda x: torch.where(x > 0, x, 0), 0, 0, ("gt", "where")),
        (lambda x: x * (x > 0), 0, 0, ("gt", "mul")),
        (torch.abs, 0, 0, ("abs",)),
        (nn.LogSigmoid(), 0, 0, ("log_sigmoid_forward",)),
        (nn.LogSoftmax(1), 0, 0, ("_log_softmax",)),
        (nn.Softsign(), 0, 0, ("abs", "div")),
        (nn.Softshrink(), 0, 0, ("softshrink",)),
        (lambda x: 1 / (1 + x), 0, 0, ("reciprocal",)),
        (lambda x: 2**x, 0, 0, ("pow",)),
        (nn.GroupNorm(2, 4), 0, 0, ("native_group_norm",)),
        (nn.LayerNorm(8), 0, 0, ("native_layer_norm",)),
        (nn.BatchNorm2d(4, track_running_stats=False), 0, 0, ("native_batch_norm",)),
        (lambda x: x * x.flip(1), 0, 0, ("mul",)),
        (lambda x: x @ x.mT, 0, 0, ("bmm",)),
        (nn.BatchNorm2d(4), 0, 0, ()),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(3, 1, 1), nn.PixelUnshuffle(2)), 0, 0, ()),
        (lambda x: (x * ROWS + x.mean((2, 3), keepdim=True)) / 3 - x.roll(1, 2), 0, 0, ()),
        (lambda x: x.masked_fill(torch.eye(8).bool(), 0.0), 0, 0, ()),
        (lambda x: torch.softmax(ROWS, 0) * x, 0, 0, ()),  # of a constant
        (lambda x: torch.zeros_like(x).exp() + x, 0, 0, ()),
    ],
)
def test_what_is_no_relu_is_counted_as_what_it_is_or_named(
    function: Callable[[Tensor], Tensor], relus: int, maxima: int, others: tuple[str, ...]
) -> None:
    counted = count(Applied(function), (4, 8, 8))
    assert (counted.relus, counted.total("maxima"), counted.others) == (relus, maxima, others)
    assert bool(counted.total("other")) is bool(others)


def test_what_is_written_into_a_constant_depends_on_the_picture_from_there_on() -> None:
    def partly(x: Tensor) -> Tensor:
        kept = torch.zeros(1, 4, 8, 8)
        kept[:, :2] = x[:, :2]
        return F.relu(kept)

    assert count(Applied(partly), (4, 8, 8)).relus == N


def test_a_network_without_weights_on_the_meta_device_is_seen_through_alike() -> None:
    with torch.device("meta"):
        odd = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4), nn.GELU())
    assert count(odd, (4, 8, 8)).others == ("gelu", "native_group_norm")


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"layer-graph"}))
def test_of_our_own_networks_nothing_is_named(name: str) -> None:
    picture = {"lenet5": (1, 28, 28)}.get(name, (3, 32, 32))
    assert count_architecture(name, picture).others == ()


def test_a_module_that_cannot_be_watched_is_a_sentence() -> None:
    class Script(nn.ReLU):
        def register_forward_pre_hook(self, *hook: Any, **more: Any) -> Any:
            raise RuntimeError("register_forward_pre_hook is not supported on ScriptModules")

    with pytest.raises(ModelError, match="not supported on ScriptModules"):
        count(Script(), (4, 8, 8))

"""Modules of every supported kind become integer networks close to them; everything else is refused by layer name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from integer_oracle import assert_as_defined
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.errors import DataError, InputError, ModelError
from assay.integer import AccuracyWarning, CompileSettings, IntegerNetwork, compile, compile_measured
from assay.integer.capture import capture
from assay.integer.fold import fold
from assay.integer.graph import Add, Conv2d, MaxPool, Offset, PadChannels, ReLU, Requantise, Subsample, SumPool
from assay.integer.real import Affine, evaluate
from assay.models import as_float, seeded
from conftest import CLASSES, as_model, pictures, settle

CLEAN = pictures(64)


class Lambda(nn.Module):
    """`function(x, self)`, with layers of its own."""

    def __init__(self, function: Callable[[Tensor, nn.Module], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self)


def head(channels: int, side: int = 8) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(channels * side * side, CLASSES)]


def option_a(x: Tensor, m: nn.Module) -> Tensor:
    x = m.stem(x).relu()
    short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 3))
    return m.fc(F.relu(m.bn(m.conv(x)) + short).mean((2, 3)))


def preact(x: Tensor, m: nn.Module) -> Tensor:
    x = m.stem(x)
    active = F.relu(m.bn1(x))
    x = m.conv(active) + x
    x = m.conv2(F.relu(m.bn2(x))) + m.short(F.relu(m.bn2(x)))
    return m.fc(F.relu(m.bn3(x)).mean((2, 3)))


def in_place(x: Tensor, m: nn.Module) -> Tensor:
    y = m.conv(x)
    y += m.other(x)
    return m.fc(y.relu_().flatten(1))


def part_of_the_channels(x: Tensor, m: nn.Module) -> Tensor:
    x = m.conv(x)
    return m.fc(torch.cat([x[:, :1], x[:, 1:4].relu(), x[:, 4:]], 1).flatten(1))


def inception(x: Tensor, m: nn.Module) -> Tensor:
    x = F.relu(m.conv(x))
    parts = [x, F.relu(m.wide(x)), F.avg_pool2d(x, 3, 1, padding=1), F.max_pool2d(x, 3, 1, padding=1)]
    return m.fc(torch.cat(parts, 1).mean((2, 3)))


conv3 = lambda i, o, **more: nn.Conv2d(i, o, 3, **{"padding": 1, **more})  # noqa: E731

MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(*head(2)),
    "perceptron": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 20), nn.ReLU(), nn.Linear(20, CLASSES)),
    "convolution, norm, ReLU, max pool": lambda: nn.Sequential(
        conv3(2, 6, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), *head(6, 4)
    ),
    "max pool before ReLU": lambda: nn.Sequential(conv3(2, 6), nn.MaxPool2d(2), nn.ReLU(), *head(6, 4)),
    "max pool on the picture": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), conv3(2, 3), nn.ReLU(), *head(3, 4)),
    "strides, dilation, groups": lambda: nn.Sequential(
        conv3(2, 4, stride=(2, 1), dilation=2, padding=(2, 1)), nn.ReLU(), nn.Conv2d(4, 6, (1, 3), groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES),
    ),
    "padding named same": lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 5), padding="same", dilation=(2, 1)), nn.ReLU(), *head(3)),
    "depthwise": lambda: nn.Sequential(conv3(2, 4), nn.ReLU(), conv3(4, 4, groups=4), nn.BatchNorm2d(4), nn.ReLU(), *head(4)),
    "average over 2x2 and over 9": lambda: nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.AvgPool2d(2), conv3(4, 4), nn.ReLU(), nn.AvgPool2d(3, 1), *head(4, 2)
    ),
    "average with its padding": lambda: nn.Sequential(conv3(2, 4), nn.ReLU(), nn.AvgPool2d(3, 2, 1), *head(4, 4)),
    "average of the picture first": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)),
    "dropout": lambda: nn.Sequential(nn.Dropout2d(0.5), conv3(2, 4), nn.ReLU(), nn.Dropout(), *head(4)),
    "norm after ReLU, then padding": lambda: nn.Sequential(conv3(2, 4), nn.ReLU(), nn.BatchNorm2d(4), conv3(4, 4), nn.ReLU(), *head(4)),
    "norm after ReLU, then a flat layer": lambda: nn.Sequential(conv3(2, 4), nn.ReLU(), nn.BatchNorm2d(4), *head(4)),
    "norm of flat features": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, CLASSES)
    ),
    "zeros around, by a layer": lambda: nn.Sequential(nn.ZeroPad2d((1, 0, 2, 0)), nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)),
    "a square": lambda: nn.Sequential(conv3(2, 4), Lambda(lambda x, m: x * x), nn.MaxPool2d(2), conv3(4, 4), nn.ReLU(), *head(4, 4)),
    "a shortcut of option A": lambda: Lambda(
        option_a, stem=conv3(2, 3), conv=conv3(3, 6, stride=2), bn=nn.BatchNorm2d(6), fc=nn.Linear(6, CLASSES)
    ),
    "pre-activation": lambda: Lambda(
        preact, stem=conv3(2, 4), bn1=nn.BatchNorm2d(4), conv=conv3(4, 4), bn2=nn.BatchNorm2d(4),
        conv2=conv3(4, 6, stride=2), short=nn.Conv2d(4, 6, 1, stride=2), bn3=nn.BatchNorm2d(6), fc=nn.Linear(6, CLASSES),
    ),
    "operations in place": lambda: Lambda(in_place, conv=conv3(2, 4), other=nn.Conv2d(2, 4, 1), fc=nn.Linear(256, CLASSES)),
    "ReLU on some channels": lambda: Lambda(part_of_the_channels, conv=conv3(2, 6), fc=nn.Linear(384, CLASSES)),
    "concatenation of four scales": lambda: Lambda(
        inception, conv=conv3(2, 3), wide=nn.Conv2d(3, 5, 5, padding=2), fc=nn.Linear(14, CLASSES)
    ),
    "scaled logits": lambda: nn.Sequential(*head(2), Lambda(lambda x, m: x * 3 + torch.tensor([1.0, 0, 0, -1]))),
    "a sum of the picture and itself": lambda: Lambda(lambda x, m: m.fc((x + m.conv(x)).flatten(1)), conv=conv3(2, 2), fc=nn.Linear(128, CLASSES)),
}  # fmt: skip


def made(name: str) -> nn.Module:
    with seeded(0):
        model = as_model(MODULES[name]())
        settle(model, CLEAN)
    return model


@pytest.mark.parametrize("name", MODULES)
def test_the_integer_network_is_close_to_the_module_and_as_defined(name):
    model = made(name)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    compiled = compile_measured(model, CLEAN, CompileSettings(bits=8))
    network = compiled.network
    with torch.inference_mode():
        logits = model(as_float(CLEAN.x)).double().numpy()
    error = np.linalg.norm(network.run(CLEAN.x) * network.output_scale - logits) / np.linalg.norm(
        logits - logits.mean()
    )
    assert error < 0.06
    assert compiled.layers[-1].error < 0.06
    assert_as_defined(network, CLEAN.x[:1].astype(np.int64))
    assert all(np.array_equal(value, state[key]) for key, value in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("name", ["convolution, norm, ReLU, max pool", "pre-activation", "a shortcut of option A"])
def test_more_bits_bring_it_closer(name):
    model = made(name)
    errors = [compile_measured(model, CLEAN, CompileSettings(bits)).layers[-1].error for bits in (8, 12)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("name", MODULES)
def test_folding_does_not_change_what_is_computed(name):
    model = made(name)
    real = fold(capture(model, CLEAN.image_shape))
    x = as_float(CLEAN.x[:8])
    with torch.inference_mode():
        assert torch.allclose(evaluate(real, x)[-1], model(x), atol=1e-4, rtol=1e-4)


def test_batch_norm_leaves_nothing_behind_a_convolution():
    network = compile(made("convolution, norm, ReLU, max pool"), CLEAN)
    kinds = [type(node) for node in network.nodes[1:5]]
    assert kinds == [Offset, Conv2d, Requantise, MaxPool]


def test_a_residual_sum_is_rounded_once():
    network = compile(made("a shortcut of option A"), CLEAN)
    kinds = [type(node) for node in network.nodes]
    assert kinds.count(Requantise) == 2  # after the stem and after the sum
    assert (kinds.count(Add), kinds.count(Subsample), kinds.count(PadChannels)) == (1, 1, 1)


def test_only_the_rectified_channels_are_rectified():
    network = compile(made("ReLU on some channels"), CLEAN)
    (node,) = (n for n in network.nodes if isinstance(n, Requantise))
    assert (node.start, node.stop, node.low) == (1, 4, -128)
    values = network.trace(CLEAN.x).values[network.nodes.index(node)]
    assert values[:, 1:4].min() == 0
    assert values[:, :1].min() < 0


def test_weights_have_8_bits_and_activations_as_many_as_were_asked_for():
    for bits in (8, 10, 12):
        network = compile(made("pre-activation"), CLEAN, CompileSettings(bits))
        for node in network.nodes:
            if isinstance(node, Conv2d):
                assert np.abs(node.weight).max() <= 127
            if isinstance(node, Requantise) and node.low == 0:
                assert node.high == 2**bits - 1


def test_a_picture_of_the_mean_is_the_zero_that_padding_adds():
    """With padding, the grey level that normalises to 0 must be integer 0, whatever lies outside."""
    network = compile(made("convolution, norm, ReLU, max pool"), CLEAN)
    offset = network.nodes[1]
    assert isinstance(offset, Offset)
    assert offset.value.tolist() == [-round(0.4 * 255), -round(0.5 * 255)]
    assert not any(isinstance(n, Offset) for n in compile(made("perceptron"), CLEAN).nodes)


def test_a_layer_on_the_border_is_as_exact_as_one_inside():
    """A constant picture through a padded convolution: the error at the border is at most half a grey level a tap."""
    with seeded(0):
        model = as_model(nn.Sequential(conv3(2, 3), *head(3)))
    compiled = compile_measured(model, CLEAN)
    with torch.inference_mode():
        true = model.network[0]((as_float(CLEAN.x) - model.mean) / model.std).numpy()
    conv = next(i for i, n in enumerate(compiled.network.nodes) if isinstance(n, Conv2d))
    weights = compiled.network.nodes[conv].weight
    scale = np.abs(model.network[0].weight.detach().numpy()).max() / 0.2 / 255 / np.abs(weights).max()
    found = compiled.network.trace(CLEAN.x).values[conv] * 2.0 ** np.round(np.log2(scale))
    error = np.abs(found - true).max((0, 1))
    half_a_level = 0.5 / 255 / 0.2 * float(np.abs(model.network[0].weight.detach().numpy()).sum((1, 2, 3)).max())
    assert error[1:-1, 1:-1].max() < half_a_level
    assert error.max() < 2 * half_a_level


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sigmoid": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.Sigmoid(), nn.Linear(9, CLASSES)), r"layer 2 \(sigmoid"),
    "leaky ReLU": (lambda: nn.Sequential(nn.LeakyReLU(), *head(2)), r"layer 0 \(leaky_relu"),
    "ReLU6": (lambda: nn.Sequential(nn.ReLU6(), *head(2)), r"layer 0 \("),
    "softmax": (lambda: nn.Sequential(*head(2), nn.Softmax(1)), r"layer 2 \(softmax"),
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(8), *head(2)), r"layer 0 \(layer_norm"),
    "an average without its padding": (lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False), *head(2, 4)), "count_include_pad"),
    "windows over the edge": (lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), *head(2, 4)), "ceil_mode"),
    "uneven adaptive pooling": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3), *head(2, 3)), "windows of several sizes"),
    "a product of tensors": (lambda: Lambda(lambda x, m: m.fc((x * x.relu()).flatten(1)), fc=nn.Linear(128, CLASSES)), "product of two different"),
    "a quotient": (lambda: Lambda(lambda x, m: m.fc((1 / (x + 2)).flatten(1)), fc=nn.Linear(128, CLASSES)), "has no integer form"),
    "a weight that depends on the picture": (lambda: Lambda(lambda x, m: x.flatten(1) @ x.flatten(1).T @ torch.ones(2, CLASSES)), "has no integer form"),
    "reflected borders": (lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 2, 3), *head(2)), "padding with zeros"),
    "zeros for a max pool": (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2), *head(2, 5)), "other than a convolution"),
    "a crop": (lambda: Lambda(lambda x, m: m.fc(x[:, :, 1:].flatten(1)), fc=nn.Linear(112, CLASSES)), "of slices"),
    "channels dropped": (lambda: Lambda(lambda x, m: m.fc(x[:, :1].relu().flatten(1)), fc=nn.Linear(64, CLASSES)), "slice of channels"),
    "channels shuffled": (lambda: Lambda(lambda x, m: m.fc(torch.cat([x[:, 1:], x[:, :1]], 1).flatten(1)), fc=nn.Linear(128, CLASSES)), "in order"),
    "a positional constant": (lambda: Lambda(lambda x, m: m.fc((x + torch.arange(8.0)).flatten(1)), fc=nn.Linear(128, CLASSES)), "from place to place"),
    "a transposed convolution": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 1), *head(2)), r"layer 0 \(conv_transpose2d"),
    "pictures for logits": (lambda: nn.Sequential(conv3(2, 4)), "logits"),
    "two results": (lambda: Lambda(lambda x, m: (m.fc(x.flatten(1)), x), fc=nn.Linear(128, CLASSES)), "one tensor"),
    "constant logits": (lambda: Lambda(lambda x, m: torch.zeros(len(x), CLASSES)), "depend on the picture"),
    "a branch on values": (lambda: Lambda(lambda x, m: x.flatten(1)[:, :4] if x.sum() > 0 else x.flatten(1)[:, 4:8]), "cannot be exported"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_integer_form_is_refused_in_one_sentence(make, why):
    with seeded(0):
        model = as_model(make())
    with pytest.raises(ModelError, match=why):
        compile(model, CLEAN)


def test_weights_that_are_not_numbers_are_refused():
    model = as_model(nn.Sequential(*head(2)))
    with torch.no_grad():
        model.network[1].weight[0, 0] = torch.inf
    with pytest.raises(ModelError, match=r"layer 1 gives NaN or infinite"):
        compile(model, CLEAN)


def test_pictures_and_settings_must_fit():
    model = made("linear")
    with pytest.raises(DataError, match="no pictures"):
        compile(model, CLEAN.take(0))
    with pytest.raises(ModelError, match="takes pictures"):
        compile(model, pictures(4, channels=3))
    for bits in (7, 13):
        with pytest.raises(InputError, match="8 to 12 bits"):
            CompileSettings(bits)


def test_a_network_that_loses_much_is_warned_about_with_its_worst_layer():
    """Weights of very different sizes in one layer: 8 bits at one scale leave nothing of the small ones."""
    with seeded(0):
        model = as_model(nn.Sequential(nn.Flatten(), nn.Linear(128, 8), nn.ReLU(), nn.Linear(8, CLASSES)))
    teach(model, CLEAN)
    with torch.no_grad():
        model.network[1].weight[:] *= 1e-3
        model.network[1].bias[:] *= 1e-3
        model.network[1].weight[0] *= 1e6
        model.network[3].weight[:] *= 1e3
        model.network[3].weight[:, 0] = 0
    compiled = compile_measured(model, CLEAN)
    assert compiled.integer_accuracy.value < compiled.float_accuracy.value - 0.005
    assert compiled.warning is not None and "layer 1 (dense)" in compiled.warning
    with pytest.warns(AccuracyWarning, match="points of accuracy"):
        compile(model, CLEAN)


def teach(model: nn.Module, data: Dataset) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    x, y = as_float(data.x), torch.from_numpy(data.y)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    model.eval()


def test_compiling_twice_gives_the_same_network():
    first, second = (compile(made("concatenation of four scales"), CLEAN) for _ in range(2))
    assert first.digest == second.digest


def test_importing_the_package_and_running_a_network_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; import assay.integer as i; from assay.integer.graph import *; import numpy as np; "
        "n = i.IntegerNetwork((Input((1, 1, 2)), Flatten(0)), ('a', 'b'), 1.0); "
        "assert n.run(np.ones((1, 1, 1, 2), np.uint8)).tolist() == [[1, 1]]; assert n.digest; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_unused_affine_map_of_a_norm_costs_no_operation():
    real = fold(capture(made("norm after ReLU, then a flat layer"), CLEAN.image_shape))
    assert any(isinstance(n, Affine) for n in real)
    network: IntegerNetwork = compile(made("norm after ReLU, then a flat layer"), CLEAN)
    assert sum(isinstance(n, Conv2d) for n in network.nodes) == 1
    assert not any(isinstance(n, ReLU | SumPool) for n in network.nodes)

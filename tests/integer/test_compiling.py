"""Modules of every supported kind become integer networks close to them; everything else is refused by layer name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from integer_oracle import assert_as_defined
from small_modules import CLASSES, MODULES, as_model, conv3, head, made, pictures
from torch import nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.integer import AccuracyWarning, CompileSettings, IntegerNetwork, compile, compile_measured
from assay.integer.capture import capture
from assay.integer.fold import fold
from assay.integer.graph import Add, Conv2d, MaxPool, Offset, PadChannels, ReLU, Requantise, Subsample, SumPool
from assay.integer.real import Affine, evaluate
from assay.models import as_float, seeded

CLEAN = pictures(64)


@pytest.mark.parametrize("name", MODULES)
def test_the_integer_network_is_close_to_the_module_and_as_defined(name):
    model = made(name, CLEAN)
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
    model = made(name, CLEAN)
    errors = [compile_measured(model, CLEAN, CompileSettings(bits)).layers[-1].error for bits in (8, 12)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("name", MODULES)
def test_folding_does_not_change_what_is_computed(name):
    model = made(name, CLEAN)
    real = fold(capture(model, CLEAN.image_shape))
    x = as_float(CLEAN.x[:8])
    with torch.inference_mode():
        assert torch.allclose(evaluate(real, x)[-1], model(x), atol=1e-4, rtol=1e-4)


def test_batch_norm_leaves_nothing_behind_a_convolution():
    network = compile(made("convolution, norm, ReLU, max pool", CLEAN), CLEAN)
    kinds = [type(node) for node in network.nodes[1:5]]
    assert kinds == [Offset, Conv2d, Requantise, MaxPool]


def test_a_residual_sum_is_rounded_once():
    network = compile(made("a shortcut of option A", CLEAN), CLEAN)
    kinds = [type(node) for node in network.nodes]
    assert kinds.count(Requantise) == 2  # after the stem and after the sum
    assert (kinds.count(Add), kinds.count(Subsample), kinds.count(PadChannels)) == (1, 1, 1)


def test_only_the_rectified_channels_are_rectified():
    network = compile(made("ReLU on some channels", CLEAN), CLEAN)
    (node,) = (n for n in network.nodes if isinstance(n, Requantise))
    assert (node.start, node.stop, node.low) == (1, 4, -128)
    values = network.trace(CLEAN.x).values[network.nodes.index(node)]
    assert values[:, 1:4].min() == 0
    assert values[:, :1].min() < 0


def test_weights_have_8_bits_and_activations_as_many_as_were_asked_for():
    for bits in (8, 10, 12):
        network = compile(made("pre-activation", CLEAN), CLEAN, CompileSettings(bits))
        for node in network.nodes:
            if isinstance(node, Conv2d):
                assert np.abs(node.weight).max() <= 127
            if isinstance(node, Requantise) and node.low == 0:
                assert node.high == 2**bits - 1


def test_a_picture_of_the_mean_is_the_zero_that_padding_adds():
    """With padding, the grey level that normalises to 0 must be integer 0, whatever lies outside."""
    network = compile(made("convolution, norm, ReLU, max pool", CLEAN), CLEAN)
    offset = network.nodes[1]
    assert isinstance(offset, Offset)
    assert offset.value.tolist() == [-round(0.4 * 255), -round(0.5 * 255)]
    assert not any(isinstance(n, Offset) for n in compile(made("perceptron", CLEAN), CLEAN).nodes)


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
    first, second = (compile(made("concatenation of four scales", CLEAN), CLEAN) for _ in range(2))
    assert first.digest == second.digest


def test_importing_the_package_and_running_a_network_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; import assay.integer as i; from assay.integer.graph import *; import numpy as np; "
        "n = i.IntegerNetwork((Input((1, 1, 2)), Flatten(0)), ('a', 'b'), 1.0); "
        "assert n.run(np.ones((1, 1, 1, 2), np.uint8)).tolist() == [[1, 1]]; assert n.digest; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_unused_affine_map_of_a_norm_costs_no_operation():
    real = fold(capture(made("norm after ReLU, then a flat layer", CLEAN), CLEAN.image_shape))
    assert any(isinstance(n, Affine) for n in real)
    network: IntegerNetwork = compile(made("norm after ReLU, then a flat layer", CLEAN), CLEAN)
    assert sum(isinstance(n, Conv2d) for n in network.nodes) == 1
    assert not any(isinstance(n, ReLU | SumPool) for n in network.nodes)

"""Classic networks: squares and sums over the field, scales that keep them there, training that fits them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from integer_oracle import assert_as_defined, defined, wraps
from small_modules import CLASSES, SIDE, as_model, pictures
from torch import nn

from assay.data import Dataset
from assay.errors import ModelError
from assay.integer import LARGEST, CompileSettings, FieldWrapWarning, compile, compile_measured
from assay.integer.calibrate import observe
from assay.integer.capture import capture
from assay.integer.classic import Scales, balanced, grid_step, lower_classic, simulate
from assay.integer.classic_training import (
    ClassicTraining,
    clipped_gradients,
    even_out,
    grid_of,
    rounded,
    train_safetynet,
)
from assay.integer.fold import fold
from assay.integer.graph import Conv2d, Linear, Requantise, Square
from assay.models import Model, ModelSpec, TrainSettings, as_float, clean_accuracy, seeded
from assay.models.safetynets import safetynets_cnn, safetynets_fcnn

TRAINING, CLEAN = pictures(480), pictures(96, seed=1)
SHORT = TrainSettings(epochs=6, batch_size=16, lr=0.05, weight_decay=1e-4)


def spec(architecture: str, **arguments: int | str) -> ModelSpec:
    return ModelSpec(architecture, (2, SIDE, SIDE), TRAINING.class_names, (0.4, 0.4), (0.25, 0.25), dict(arguments))


@pytest.fixture(scope="module")
def cnn() -> Model:
    return train_safetynet(spec("safetynets-cnn", width=4), TRAINING, ClassicTraining(SHORT))


@pytest.fixture(scope="module")
def fcnn() -> Model:
    how = ClassicTraining(SHORT, replace(SHORT, epochs=12, lr=0.1, weight_decay=0.0))
    return train_safetynet(spec("safetynets-fcnn", width=40, depth=3, pool=2), TRAINING, how)


def test_a_network_of_two_squares_keeps_its_accuracy_in_the_field(cnn: Model):
    compiled = compile_measured(cnn, CLEAN)
    assert compiled.network.classic
    assert compiled.float_accuracy.value > 0.95
    assert compiled.integer_accuracy.value >= compiled.float_accuracy.value - 0.02
    assert compiled.wrapped == 0
    kinds = [type(node) for node in compiled.network.nodes]
    assert kinds.count(Square) == 2
    assert Requantise not in kinds[kinds.index(Conv2d) :]
    assert_as_defined(compiled.network, CLEAN.x[:1].astype(np.int64))


def test_a_network_of_three_squares_learns_to_live_with_two_bits(fcnn: Model):
    compiled = compile_measured(fcnn, CLEAN)
    assert compiled.network.classic
    assert compiled.integer_accuracy.value > 0.9
    assert compiled.wrapped == 0
    weights = [node.weight for node in compiled.network.nodes if isinstance(node, Linear)]
    assert len(weights) == 4
    assert np.abs(weights[0]).max() <= 8


def test_values_stay_below_half_the_field_by_the_margin(cnn: Model):
    for margin in (2.0, 12.0):
        network = compile(cnn, CLEAN, CompileSettings(margin_bits=margin))
        reached = max(int(np.abs(v).max()) for v in network.trace(CLEAN.x).values)
        assert reached <= LARGEST / 2**margin
        assert reached > LARGEST / 2 ** (margin + 20)


def test_scales_that_are_too_fine_wrap_and_the_run_says_so(cnn: Model):
    real = fold(capture(cnn, CLEAN.image_shape))
    observed = observe(real, CLEAN.x)
    scales = balanced(real, observed, margin_bits=0.0)
    fine = lower_classic(real, observed, Scales(scales.input_shift, tuple(step / 1.5 for step in scales.steps)))
    network = replace(compile(cnn, CLEAN), nodes=fine.nodes)
    x = CLEAN.x[:2].astype(np.int64)
    with pytest.warns(FieldWrapWarning, match="left the range of the field"):
        outputs = network.run(x)
    assert network.trace(x).wrapped == wraps(network, x)
    assert [defined(network, picture)[-1].tolist() for picture in x] == outputs.tolist()


def test_the_search_sees_what_the_network_does(cnn: Model):
    network = compile(cnn, CLEAN)
    outputs, largest = simulate(network.nodes, CLEAN.x[:8])
    trace = network.trace(CLEAN.x[:8])
    assert np.allclose(outputs.numpy(), trace.values[-1], rtol=1e-9)
    assert np.allclose(largest, [np.abs(v).max() for v in trace.values], rtol=1e-9)


def test_a_network_with_anything_else_than_squares_and_sums_is_not_a_classic_one():
    with seeded(0):
        relu = as_model(safetynets_fcnn(2, (SIDE, SIDE), CLASSES, width=8, activation="relu"))
    assert not compile(relu, CLEAN).classic
    with pytest.raises(ModelError, match=r"layer 2 \(relu\) has no place in a classic network"):
        compile(relu, CLEAN, CompileSettings(classic=True))


def test_a_network_of_squares_can_be_requantised_instead(cnn: Model):
    compiled = compile_measured(cnn, CLEAN, CompileSettings(classic=False))
    assert not compiled.network.classic
    assert compiled.network.ring_bits <= 48
    assert compiled.integer_accuracy.value >= compiled.float_accuracy.value - 0.05


@pytest.mark.parametrize("architecture", [safetynets_fcnn, safetynets_cnn])
def test_the_twins_differ_by_their_activations_alone(architecture):
    square, relu = (architecture(3, (16, 12), 7, activation=a) for a in ("square", "relu"))
    shapes = [[tuple(p.shape) for p in m.parameters()] for m in (square, relu)]
    assert shapes[0] == shapes[1]
    assert square(torch.rand(2, 3, 16, 12)).shape == relu(torch.rand(2, 3, 16, 12)).shape == (2, 7)
    assert any(isinstance(m, nn.ReLU) for m in relu.modules())
    assert not any(isinstance(m, nn.ReLU) for m in square.modules())
    with pytest.raises(ModelError, match="square or relu"):
        architecture(3, (16, 12), 7, activation="cube")
    with pytest.raises(ModelError, match="too small"):
        architecture(3, (3, 3), 7, **({"pool": 4} if architecture is safetynets_fcnn else {}))


def fresh(architecture: str, **arguments: int | str) -> Model:
    said = spec(architecture, **arguments)
    make = safetynets_fcnn if architecture == "safetynets-fcnn" else safetynets_cnn
    with seeded(0):
        return Model(make(2, (SIDE, SIDE), CLASSES, **arguments), said)  # type: ignore[arg-type]


def test_some_weights_of_each_layer_survive_the_coarsest_rounding():
    """To a step of 4.8 standard deviations, as the field leaves the first of four layers: beyond 2.4 is not 0."""
    for layer in fresh("safetynets-fcnn", width=64, depth=3).network:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach()
            assert float((weight.abs() > 2.4 * weight.std()).float().mean()) > 0.003


def test_products_begin_with_outputs_of_one_spread():
    model = fresh("safetynets-fcnn", width=30, depth=3)
    even_out(model, TRAINING, 0.5)
    x = (as_float(TRAINING.x[:256]) - model.mean) / model.std
    for layer in model.network.children():
        x = layer(x)
        if isinstance(layer, nn.Linear):
            assert float(x.detach().std()) == pytest.approx(0.5, rel=1e-3)


def test_gradients_are_clipped_inside_the_block_only():
    model = fresh("safetynets-fcnn", width=8)
    parameter = next(model.parameters())
    lengths = []
    for _ in range(2):
        with clipped_gradients(model, 0.1):
            model.zero_grad()
            (1e3 * model(as_float(TRAINING.x[:4])).sum()).backward()
        lengths.append(float(parameter.grad.norm()))
    assert max(lengths) <= 0.1001
    model.zero_grad()
    (1e3 * model(as_float(TRAINING.x[:4])).sum()).backward()
    assert float(parameter.grad.norm()) > 0.2


def test_rounded_training_leaves_weights_on_the_grid():
    model = fresh("safetynets-fcnn", width=16, depth=2)
    even_out(model, TRAINING, 0.5)
    grid = grid_of(model, TRAINING, margin_bits=0.0)
    with rounded(model, grid):
        loss = model(as_float(TRAINING.x[:8])).square().sum()
        loss.backward()
    for name, step in grid.steps.items():
        weight = model.get_submodule(name).weight.detach().double().numpy()
        assert np.allclose(weight / step, np.rint(weight / step), atol=1e-3)
        found = grid_step(weight)
        assert found is not None and found / step == pytest.approx(round(found / step), abs=1e-3)
    assert "parametrizations" not in " ".join(model.state_dict())


def test_training_is_the_same_for_the_same_seed():
    how = ClassicTraining(replace(SHORT, epochs=1))
    first, second = (train_safetynet(spec("safetynets-cnn", width=2), TRAINING, how) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert clean_accuracy(first, CLEAN).n == len(CLEAN)


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path):
    how = ClassicTraining(replace(SHORT, epochs=1), replace(SHORT, epochs=2))
    said = spec("safetynets-fcnn", width=12, depth=2)
    whole = train_safetynet(said, TRAINING, how)
    place = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train_safetynet(said, TRAINING, how, checkpoint=place, tick=Interruption(step=45))
    resumed = train_safetynet(said, TRAINING, how, checkpoint=place)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


class Interruption:
    """Ctrl-C after so many steps: 30 are an epoch here, the second part of training begins with the 31st."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, step: int, steps: int, values: dict[str, float]) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_frames_of_speech_have_the_shape_of_the_papers_inputs(shared_data):
    from assay.bench.frames import frames

    train, clean, test = frames()
    for part in (train, clean, test):
        assert isinstance(part, Dataset)
        assert part.x[0].size == 1845
        assert part.classes == 183
    assert len(test) == 300 * 9
    assert len(np.unique(train.y)) == 180

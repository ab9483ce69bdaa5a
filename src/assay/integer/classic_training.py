"""Training networks of squares: even beginnings, clipped gradients, and weights on the grid that the field allows.

Sources: Ghodsi, Gu, Garg, "SafetyNets" (NeurIPS 2017), section 4; for gradients that pass straight through rounding,
Bengio, Léonard, Courville, "Estimating or propagating gradients through stochastic neurons" (2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from assay.data import Dataset
from assay.integer.calibrate import observe
from assay.integer.capture import capture
from assay.integer.classic import balanced, rounded_features
from assay.integer.fold import fold
from assay.integer.real import Convolution, Dense
from assay.models import ARCHITECTURES, Model, ModelSpec, TrainSettings, as_float, fresh_weights, train
from assay.models.safetynets import Square
from assay.models.training import Record, Tick


@dataclass(frozen=True, slots=True)
class ClassicTraining:
    """How a network of squares is trained.

    Attributes:
        real: the main part, with real weights.
        rounded: then with weights and features rounded to the steps that the field allows, gradients passing straight
            through; None: not at all. Networks of three squares need it: there the field leaves weights about two bits.
        clip: norm that the gradient of one tensor may have.
        spread: standard deviation that every product's outputs have before training.
        margin_bits: by how much values are below half the field when rounded training begins; below 0, because rounded
            training makes them smaller (by 6 to 7 bits on speech).
    """

    real: TrainSettings
    rounded: TrainSettings | None = None
    clip: float = 0.1
    spread: float = 0.5
    margin_bits: float = -4.0


RECIPES = {
    "safetynets-cnn": ClassicTraining(TrainSettings(epochs=4, batch_size=64, lr=0.05, weight_decay=1e-4)),
    "safetynets-fcnn": ClassicTraining(
        TrainSettings(epochs=15, batch_size=64, lr=0.05, weight_decay=1e-4, augment="shift"),
        TrainSettings(epochs=40, batch_size=64, lr=0.1, weight_decay=0.0, augment="shift", label_smoothing=0.1),
    ),
}
"""What suits each architecture; the ReLU twin is trained alike, without the rounded part."""


def train_safetynet(
    spec: ModelSpec,
    data: Dataset,
    how: ClassicTraining,
    *,
    checkpoint: Path | None = None,
    tick: Tick | None = None,
    record: Record | None = None,
) -> Model:
    """A trained network of one of the architectures here; a ReLU twin is trained as any other network.

    Products are first scaled to outputs of one spread (Mishkin and Matas, "All you need is a good init", ICLR 2016),
    because a square of a large value is larger still; then trained with clipped gradients.

    Args:
        checkpoint: where the state is kept after each epoch, and taken up again; the rounded part has its own beside.
        tick: told of progress after each step.
        record: told of each epoch of either part when it is done.
    """
    channels, height, width = spec.input_shape
    make = ARCHITECTURES[spec.architecture]
    model = fresh_weights(
        how.real.seed, lambda: Model(make(channels, (height, width), spec.classes, **spec.arguments), spec)
    )
    if not any(isinstance(module, Square) for module in model.modules()):
        train(model, data, how.real, checkpoint=checkpoint, tick=tick, record=record)
        return model.eval()
    even_out(model, data, how.spread)
    with clipped_gradients(model, how.clip):
        train(model, data, how.real, checkpoint=checkpoint, tick=tick, record=record)
        if how.rounded:
            with rounded(model, grid_of(model, data, how.margin_bits)):
                beside = checkpoint and checkpoint.with_name(f"rounded-{checkpoint.name}")
                train(model, data, how.rounded, checkpoint=beside, tick=tick, record=record)
    return model.eval()


def even_out(model: Model, data: Dataset, spread: float) -> None:
    """Scale each product so that its outputs have this standard deviation on a few pictures."""
    with torch.no_grad():
        x = (as_float(data.x[:256]) - model.mean) / model.std
        for layer in model.network.children():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                factor = spread / layer(x).std()
                for parameter in layer.parameters():
                    parameter.mul_(factor)
            x = layer(x)


@contextmanager
def clipped_gradients(model: nn.Module, norm: float) -> Iterator[None]:
    """While the block runs, no parameter's gradient is longer than `norm`."""

    def clip(parameter: Tensor) -> None:
        nn.utils.clip_grad_norm_([parameter], norm)

    handles = [p.register_post_accumulate_grad_hook(clip) for p in model.parameters()]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _StraightThrough(torch.autograd.Function):
    """offset + step · round((x − offset) / step), its gradient taken for 1 (Bengio, Léonard, Courville 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float, offset: float) -> Tensor:
        return ((x - offset) / step).round() * step + offset

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0], None, None


class _Rounding(nn.Module):
    """Values on a grid."""

    def __init__(self, step: float, offset: float = 0.0) -> None:
        super().__init__()
        self.step, self.offset = step, offset

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = _StraightThrough.apply(x, self.step, self.offset)
        return rounded


@dataclass(frozen=True, slots=True)
class Grid:
    """What the field leaves room for: a step for the weights of each layer, by its path, in order; one for features."""

    steps: dict[str, float]
    feature_step: float
    feature_offset: float


@contextmanager
def rounded(model: nn.Module, grid: Grid) -> Iterator[None]:
    """While the block runs, layers compute with rounded weights and features; afterwards those are their weights."""
    layers = [model.get_submodule(name) for name in grid.steps]
    for layer, step in zip(layers, grid.steps.values(), strict=True):
        parametrize.register_parametrization(layer, "weight", _Rounding(step))
    features = _Rounding(grid.feature_step, grid.feature_offset)
    handle = layers[0].register_forward_pre_hook(lambda layer, inputs: (features(inputs[0]),))
    try:
        yield
    finally:
        handle.remove()
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def grid_of(model: Model, data: Dataset, margin_bits: float) -> Grid:
    """The grid that the field leaves room for, from the ranges that the network has now."""
    real = fold(capture(model, data.image_shape))
    observed = observe(real, data.x[:512])
    scales = balanced(real, observed, margin_bits)
    names = [f"network.{node.name}" for node in real if isinstance(node, Convolution | Dense)]
    first = rounded_features(real, observed, scales)
    return Grid(dict(zip(names, scales.steps, strict=True)), float(first.scale.mean()), float(first.shift.mean()))

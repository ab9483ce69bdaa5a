"""`compile`: a torch module and clean pictures in, an integer network out, and what the rounding cost."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import nn

from assay.data import Dataset
from assay.errors import DataError, InputError, ModelError
from assay.integer.calibrate import observe
from assay.integer.capture import capture
from assay.integer.classic import is_classic, search
from assay.integer.compose import compose
from assay.integer.execute import execute
from assay.integer.fold import fold
from assay.integer.graph import Requantise
from assay.integer.layer_error import LayerError, layer_errors, worst_layer
from assay.integer.lower import Lowered, lower
from assay.integer.network import IntegerNetwork
from assay.integer.real import RealNode
from assay.models import Model, Rate, check_fits, predict, rate
from assay.runs import Progress, silent

TOLERATED = 0.005
"""Accuracy that rounding may cost before it is worth a warning: half a point."""

LOOKED_AT = 64
"""Pictures on which every layer of both networks is compared; fewer of a network with large tensors."""

MOST_VALUES = 1 << 25
"""Values that are kept for it."""


class AccuracyWarning(UserWarning):
    """The integer network is noticeably less accurate than the real one."""


@dataclass(frozen=True, slots=True)
class CompileSettings:
    """How to quantise.

    Attributes:
        bits: of activations, 8 to 12; unsigned where they are rectified.
        calibration: clean pictures on which ranges are looked at.
        classic: as SafetyNets did it, without rounding between layers, values in F_p; by default for networks of
            products, squares and sums alone.
        margin_bits: of a classic network: values are to stay this far below half the field on the calibration pictures.
    """

    bits: int = 8
    calibration: int = 512
    classic: bool | None = None
    margin_bits: float = 2.0

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 12:
            raise InputError(f"activations have 8 to 12 bits, got {self.bits}")
        if self.calibration < 1:
            raise InputError(f"ranges are calibrated on at least one picture, got {self.calibration}")
        if not 0 <= self.margin_bits <= 30:
            raise InputError(f"the margin of a classic network is 0 to 30 bits, got {self.margin_bits}")


@dataclass(frozen=True, slots=True, eq=False)
class Compilation:
    """An integer network beside the module it was made of, both measured on all clean pictures.

    Attributes:
        agreement: share of pictures that both label alike, rightly or not.
        layers: how far each layer is from the real one, on a few pictures.
        worst: the layer whose own rounding moves the logits most; looked for only if too much accuracy was lost.
        clamped: share of requantised values that met a limit of the calibrated range, on those few pictures.
        wrapped: values that left the field, on all pictures (classic networks).
    """

    network: IntegerNetwork
    float_accuracy: Rate
    integer_accuracy: Rate
    agreement: Rate
    layers: tuple[LayerError, ...]
    worst: str | None
    clamped: float
    wrapped: int

    @property
    def warning(self) -> str | None:
        """A sentence if more accuracy was lost than is tolerated; it names the layer that adds most error."""
        if self.worst is None:
            return None
        lost = self.float_accuracy.value - self.integer_accuracy.value
        return (
            f"the integer network loses {100 * lost:.1f} points of accuracy ({self.float_accuracy} to "
            f"{self.integer_accuracy}); rounding in layer {self.worst} does most of it; "
            + ("train it with rounded weights" if self.network.classic else "allow more bits")
        )


def compile(
    model: nn.Module, clean: Dataset, settings: CompileSettings = CompileSettings(), progress: Progress = silent
) -> IntegerNetwork:
    """The integer network of a module that maps pictures in [0, 1] to logits.

    An `AccuracyWarning` is given if it loses more than half a point on `clean`. Arguments, errors: `compile_measured`.
    """
    compilation = compile_measured(model, clean, settings, progress)
    if compilation.warning:
        warnings.warn(AccuracyWarning(compilation.warning), stacklevel=2)
    return compilation.network


def compile_measured(
    model: nn.Module, clean: Dataset, settings: CompileSettings = CompileSettings(), progress: Progress = silent
) -> Compilation:
    """The integer network, with the accuracy of both on `clean`.

    Args:
        model: pictures in [0, 1] `n c h w` → logits; it is run in eval mode and not changed.
        clean: pictures of the kind it is for, with true labels.

    Raises:
        ModelError: a sentence that names the layer without an integer form, or the one that could overflow.
        DataError: if there are no clean pictures, or too many classes for the model.
    """
    if not len(clean):
        raise DataError(f"{clean.name} has no pictures to calibrate on")
    if isinstance(model, Model):
        clean = check_fits(model, clean)
    progress("compiling", 0, 1, "reading the model")
    real = fold(capture(model, clean.image_shape))
    classic = is_classic(real) if settings.classic is None else settings.classic
    if not classic:
        real = compose(real, clean.image_shape)
    shown = clean.take(settings.calibration)
    observed = observe(real, shown.x)
    for node, seen in zip(real, observed, strict=True):
        if not np.isfinite(seen.largest):
            raise ModelError(f"layer {node.name} gives NaN or infinite values on clean pictures")
    if classic:
        progress("compiling", 0, 1, "searching for scale factors")
        lowered = search(real, observed, shown.x, shown.y, settings.margin_bits)
    else:
        lowered = lower(real, observed, settings.bits)
    names = class_names(model, clean, observed[-1].shape[0])
    network = IntegerNetwork(lowered.nodes, names, lowered.output_scale, classic)
    progress("compiling", 1, 1, "")
    return measured(network, lowered, real, model, clean, progress)


def class_names(model: nn.Module, clean: Dataset, outputs: int) -> tuple[str, ...]:
    """The model's own names, else those of the data."""
    spec = getattr(model, "spec", None)
    names: tuple[str, ...] = tuple(spec.class_names) if spec else clean.class_names
    if len(names) > outputs or clean.classes > outputs:
        raise DataError(f"the model gives {outputs} outputs, but {clean.name} has {clean.classes} classes")
    return names + tuple(str(i) for i in range(len(names), outputs))


def measured(
    network: IntegerNetwork,
    lowered: Lowered,
    real: Sequence[RealNode],
    model: nn.Module,
    clean: Dataset,
    progress: Progress = silent,
) -> Compilation:
    """Both networks on all clean pictures, and layer by layer on a few."""
    values = sum(prod(shape) for shape in network.shapes)
    few = clean.x[: max(1, min(LOOKED_AT, MOST_VALUES // values))]
    trace = network.trace(few)
    requantised = [v.size for v, n in zip(trace.values, network.nodes, strict=True) if isinstance(n, Requantise)]
    expected = predict(model, clean.x)
    execution = execute(
        network,
        clean.x,
        threads=torch.get_num_threads(),
        tick=lambda done, total: progress("integer network", done, total, "on clean pictures"),
    )
    given = execution.outputs.argmax(1)
    right, still_right = rate(expected == clean.y), rate(given == clean.y)
    lost = right.value - still_right.value > TOLERATED
    return Compilation(
        network,
        right,
        still_right,
        rate(given == expected),
        tuple(layer_errors(trace, lowered, real, few)),
        worst_layer(trace, lowered, real, few) if lost else None,
        sum(trace.clamped.values()) / max(sum(requantised), 1),
        sum(execution.wrapped.values()),
    )

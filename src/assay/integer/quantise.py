"""Real weights to 8-bit integers at a power-of-two scale, with the mean error that rounding makes put into the bias.

Source of the correction: Nagel, van Baalen, Blankevoort, Welling, "Data-free quantization through weight equalization
and bias correction" (ICCV 2019), section 4.2; the means here are those of clean pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from assay.integer.graph import Ints
from assay.integer.real import Reals

LARGEST_WEIGHT = 127

FAR = 2.0**62
"""Biases are cut here, beyond every limit, so that a float always becomes an integer."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An integer tensor of the network being made, and the real one it stands for: scale · integer + shift.

    Attributes:
        index: the node that computes it.
        scale, shift: a channel (an entry, if flat).
        wide: a sum of products or squares, to be requantised before another product reads it.
    """

    index: int
    scale: Reals
    shift: Reals
    wide: bool

    @property
    def plain(self) -> bool:
        """One scale for all channels, and no shift."""
        return bool((self.scale == self.scale[0]).all() and not self.shift.any())


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """Integer weights and bias; a product with them is in units of `step`."""

    weight: Ints
    bias: Ints
    step: float


def round_weights(
    weight: Reals, bias: Reals, given: Value, mean: Reals, groups: int = 1, step: float | None = None
) -> Rounded:
    """Weights `out in/groups …` and biases for an input in integers, whose real mean is `mean` a channel.

    Without a `step`, it is the power of two that suits 8 bits, and weights are clamped to them.
    """
    out, inner = weight.shape[:2]
    channel = np.arange(out)[:, None] // (out // groups) * inner + np.arange(inner)  # of the input, `out in/groups`
    spread = channel.reshape(out, inner, *(1,) * (weight.ndim - 2))
    scaled, axes = weight * given.scale[spread], tuple(range(1, weight.ndim))
    exact_bias = bias + (weight * given.shift[spread]).sum(axes)
    if step is None:
        step = 2.0 ** (_exponent(scaled) if scaled.any() else _bias_exponent(exact_bias))
        rounded = np.clip(np.rint(scaled / step), -LARGEST_WEIGHT, LARGEST_WEIGHT)
    else:
        rounded = np.rint(scaled / step)
    integer_mean = np.zeros_like(given.scale)  # where the scale is 0 the channel is a constant, and nothing is lost
    np.divide(mean - given.shift, given.scale, out=integer_mean, where=given.scale != 0)
    exact_bias = exact_bias + ((scaled - rounded * step) * integer_mean[spread]).sum(axes)
    return Rounded(rounded.astype(np.int64), np.clip(np.rint(exact_bias / step), -FAR, FAR).astype(np.int64), step)


def _exponent(scaled: Reals) -> int:
    """The step of least squared error: the one at which the largest weight fits, or half of it."""
    largest = float(np.abs(scaled).max())
    coarsest = ceil(log2(largest / LARGEST_WEIGHT))
    errors = {e: _error(scaled, 2.0**e) for e in (coarsest, coarsest - 1)}
    return min(errors, key=lambda e: errors[e])


def _bias_exponent(bias: Reals) -> int:
    """The step where all weights are 0: the largest bias takes 16 bits, as it may beside weights of 8."""
    largest = float(np.abs(bias).max())
    return ceil(log2(largest)) - 16 if largest else 0


def _error(scaled: Reals, step: float) -> float:
    rounded = np.clip(np.rint(scaled / step), -LARGEST_WEIGHT, LARGEST_WEIGHT) * step
    return float(np.square(rounded - scaled).sum())

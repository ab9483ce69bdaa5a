"""What the real network's values are like on clean pictures, and the power of two that suits them.

A scale is chosen by the squared error that rounding and clamping make together, on a sample of the values: a clamp that
meets only a few outliers is worth a finer step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, frexp, log2

import numpy as np
import torch
from numpy.typing import NDArray

from assay.integer.real import RealNode, Reals, evaluate
from assay.models import as_float, batches

SAMPLE = 40_000
"""Values of a tensor that are kept."""

BATCH = 16
"""Pictures whose tensors are all in memory at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """One tensor on the calibration pictures.

    Attributes:
        largest: greatest magnitude.
        mean: a channel.
        shape: of one picture's tensor.
        sample: values picked evenly, the extremes among them.
    """

    largest: float
    mean: Reals
    shape: tuple[int, ...]
    sample: NDArray[np.float32]


def observe(nodes: Sequence[RealNode], x: NDArray[np.uint8]) -> list[Observed]:
    """Every tensor on pictures `n c h w`. Cost: a float forward, and a pass over every value."""
    share = -(-SAMPLE * BATCH // max(len(x), BATCH))
    seen: list[list[tuple[float, Reals, NDArray[np.float32]]]] = [[] for _ in nodes]
    shapes: list[tuple[int, ...]] = []
    with torch.inference_mode():
        for part in batches(len(x), BATCH):
            tensors = evaluate(nodes, as_float(x[part]))
            shapes = [tuple(t.shape[1:]) for t in tensors]
            for values, kept in zip(tensors, seen, strict=True):
                flat = values.reshape(-1)
                step = max(1, len(flat) // share) | 1  # odd, so that it does not keep to some columns
                ends = torch.stack([flat.min(), flat.max()])
                axes = [0, *range(2, values.ndim)]
                kept.append(
                    (
                        float(ends.abs().max()),
                        values.double().mean(axes).numpy(),
                        torch.cat([flat[::step], ends]).numpy(),
                    )
                )
    return [
        Observed(
            max(k[0] for k in kept), np.mean([k[1] for k in kept], axis=0), shape, np.concatenate([k[2] for k in kept])
        )
        for kept, shape in zip(seen, shapes, strict=True)
    ]


def exponent_for(samples: Sequence[tuple[NDArray[np.float32], int, int]], finest: int = 3) -> int:
    """The e for which 2^e · clamp(round(v / 2^e), low, high) is nearest to v, over (values, low, high) of each tensor.

    Looks at the e at which nothing is clamped, and `finest` below it.
    """
    reach = max(_reach(v, low, high) for v, low, high in samples)
    if reach == 0:
        return 0
    coarsest = ceil(log2(reach))
    errors = {
        e: sum(_error(v, e, low, high) for v, low, high in samples) for e in range(coarsest, coarsest - finest - 1, -1)
    }
    return min(errors, key=lambda e: errors[e])


def _reach(values: NDArray[np.float32], low: int, high: int) -> float:
    """The step at which no value is clamped."""
    above = float(values.max()) / high if high else 0.0
    below = float(values.min()) / low if low else 0.0
    return max(above, below, 0.0)


def _error(values: NDArray[np.float32], exponent: int, low: int, high: int) -> float:
    step = 2.0**exponent
    rounded = np.clip(np.floor(values / step + 0.5), low, high) * step
    return float(np.square(rounded - values, dtype=np.float64).mean())


def is_power_of_two(value: float) -> bool:
    """Exactly."""
    return value > 0 and frexp(value)[0] == 0.5


def exponent_of(value: float) -> int:
    """e of 2^e."""
    return frexp(value)[1] - 1

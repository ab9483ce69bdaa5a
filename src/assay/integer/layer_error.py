"""How far each tensor of an integer network is from the real one, and which layer is to blame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.integer.graph import NAMES
from assay.integer.lower import Lowered
from assay.integer.network import Trace
from assay.integer.real import RealNode, compute, evaluate
from assay.models import as_float


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far a tensor is from the real one: |integer · scale − real| / |real|, in root mean square over pictures.

    `added` is what this layer adds to the largest error among the tensors that it reads.
    """

    layer: str
    operation: str
    error: float
    added: float


def layer_errors(
    trace: Trace, lowered: Lowered, real: Sequence[RealNode], x: NDArray[np.uint8]
) -> Iterator[LayerError]:
    """The error of every layer whose tensor the integer network has."""
    with torch.inference_mode():
        expected = evaluate(real, as_float(x).double())
    errors = [0.0] * len(real)
    for i, node in enumerate(real[1:], 1):
        before = max(errors[j] for j in node.inputs)
        errors[i] = before
        found = _meant(trace, lowered, i)
        if found is not None:
            errors[i] = float((found - expected[i]).norm() / expected[i].norm().clamp_min(1e-30))
            yield LayerError(node.name, _kind(node), errors[i], errors[i] - before)


def worst_layer(trace: Trace, lowered: Lowered, real: Sequence[RealNode], x: NDArray[np.uint8]) -> str:
    """The layer whose own rounding, in an otherwise real network, moves the logits most. Cost: a forward a layer."""
    with torch.inference_mode():
        expected = evaluate(real, as_float(x).double())
        moved = {}
        for i, node in enumerate(real[1:], 1):
            given = [_meant(trace, lowered, j) for j in node.inputs]
            found = _meant(trace, lowered, i)
            if found is not None and all(g is not None for g in given):
                own = found - compute(node, [g for g in given if g is not None])
                moved[f"{node.name} ({_kind(node)})"] = _at_the_logits(real, expected, i, expected[i] + own)
    return max(moved, key=lambda name: moved[name])


def _kind(node: RealNode) -> str:
    return NAMES.get(type(node), type(node).__name__.lower())


def _meant(trace: Trace, lowered: Lowered, i: int) -> Tensor | None:
    """What the integers of real tensor i stand for; None if the network has none for it."""
    v = lowered.values.get(i)
    if v is None:
        return None
    spread = (1, -1, 1, 1)[: trace.values[v.index].ndim]
    return torch.from_numpy(trace.values[v.index] * v.scale.reshape(spread) + v.shift.reshape(spread))


def _at_the_logits(real: Sequence[RealNode], expected: Sequence[Tensor], place: int, value: Tensor) -> float:
    """How much the logits change if tensor `place` has another value."""
    values = dict(enumerate(expected[:place])) | {place: value}
    changed = {place}
    for i, node in enumerate(real[place + 1 :], place + 1):
        if changed.isdisjoint(node.inputs):
            values[i] = expected[i]
        else:
            values[i] = compute(node, [values[j] for j in node.inputs])
            changed.add(i)
    return float((values[len(real) - 1] - expected[-1]).norm())

"""Fewer ReLUs for the same network: shuffle and merge change nothing of what it computes, prune does.

Source: Ghodsi et al., "CryptoNAS" (NeurIPS 2020), section 3: ReLU shuffling and ReLU pruning. Merging follows from it:
where no ReLU stands between two convolutions any more, they are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assay.models.layer_graph import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Flatten,
    Joining,
    MaxPool,
    Norm,
    PadChannels,
    Relu,
    Shape,
    Square,
    Subsample,
)
from assay.search.graph import Graph, Step, Weights

Mask = NDArray[np.bool_]

MAC_GROWTH = 1.0
"""A merged convolution may have so many multiplications, relative to the two that it stands for."""


def relus(graph: Graph) -> int:
    """Values that are rectified."""
    shapes = graph.shapes
    return sum(
        (step.operation.stop - step.operation.start) * prod(shapes[i + 1][1:])
        for i, step in enumerate(graph.steps)
        if isinstance(step.operation, Relu)
    )


def macs(graph: Graph) -> int:
    """Multiplications of convolutions and linear layers."""
    shapes = graph.shapes
    return sum(
        prod(shapes[i + 1]) * prod(step.weights["weight"].shape[1:])
        for i, step in enumerate(graph.steps)
        if isinstance(step.operation, Conv | Dense)
    )


def shuffle(graph: Graph) -> Graph:
    """The same function, each map rectified once.

    relu(concat(a, b)) = concat(relu(a), relu(b)), and what is then rectified twice is shared; the same for channels of
    zeros. A ReLU whose input is never negative is left out.
    """
    shuffling = _Shuffling(graph)
    for step in graph.steps:
        shuffling.take(step)
    return shuffling.result()


class _Shuffling:
    """A graph that is being written anew, and for each of its values which channels are never negative."""

    def __init__(self, graph: Graph) -> None:
        self.picture = graph.picture
        self.steps: list[Step] = []
        self.shapes: list[Shape] = [graph.picture]
        self.positive: list[Mask] = [np.zeros(graph.picture[0], bool)]
        self.number = [0]
        self.old_shapes = graph.shapes
        self.rectified: dict[tuple[int, int, int], int] = {}

    def take(self, step: Step) -> None:
        """Write the next layer of the old graph."""
        moved = step.reading([self.number[j] for j in step.reads])
        operation, shape = moved.operation, self.old_shapes[len(self.number)]
        if isinstance(operation, Relu):
            self.number.append(self.rectify(operation.input, operation.start, operation.stop, step.name))
        else:
            self.number.append(self.emit(moved, shape))

    def emit(self, step: Step, shape: Shape) -> int:
        self.steps.append(step)
        self.shapes.append(shape)
        self.positive.append(_never_negative(step, [self.positive[j] for j in step.reads], shape))
        return len(self.steps)

    def rectify(self, value: int, start: int, stop: int, name: str) -> int:
        """The value with channels start ≤ c < stop rectified; a ReLU is written only where one is needed."""
        needed = np.flatnonzero(~self.positive[value][start:stop]) + start
        if not len(needed):
            return value
        key = (value, int(needed[0]), int(needed[-1]) + 1)
        if key not in self.rectified:
            self.rectified[key] = self._rectified(*key, name)
        return self.rectified[key]

    def _rectified(self, value: int, start: int, stop: int, name: str) -> int:
        producer = self.steps[value - 1] if value else None
        match producer.operation if producer else None:
            case Concat(inputs=parts):
                return self._behind_parts(parts, start, stop, name, self.shapes[value])
            case PadChannels(input=inner, before=before, after=after):
                channels = self.shapes[inner][0]
                low, high = max(start - before, 0), min(stop - before, channels)
                moved = PadChannels(self.rectify(inner, low, high, name), before, after)
                return self.emit(Step(moved, name=name), self.shapes[value])
        return self.emit(Step(Relu(value, start, stop), name=name), self.shapes[value])

    def _behind_parts(self, parts: Sequence[int], start: int, stop: int, name: str, shape: Shape) -> int:
        moved, offset = [], 0
        for part in parts:
            channels = self.shapes[part][0]
            low, high = max(start - offset, 0), min(stop - offset, channels)
            moved.append(self.rectify(part, low, high, name) if low < high else part)
            offset += channels
        return self.emit(Step(Concat(tuple(moved)), name=name), shape)

    def result(self) -> Graph:
        steps = self.steps[: self.number[-1]]
        return Graph(tuple(steps), self.picture).without_dead()


def _never_negative(step: Step, given: Sequence[Mask], shape: Shape) -> Mask:
    """For each channel, whether no value of it can be below 0."""
    match step.operation:
        case Relu(start=start, stop=stop):
            mask = given[0].copy()
            mask[start:stop] = True
            return mask
        case Square():
            return np.ones(shape[0], bool)
        case MaxPool() | AvgPool() | Subsample():
            return given[0]
        case Flatten():
            return np.repeat(given[0], shape[0] // len(given[0]))
        case PadChannels(before=before, after=after):
            return np.concatenate([np.ones(before, bool), given[0], np.ones(after, bool)])
        case Concat():
            return np.concatenate(given)
        case Add():
            mask = given[0].copy()
            for other in given[1:]:
                mask &= other
            return mask
        case _:
            return np.zeros(shape[0], bool)


def prune(graph: Graph) -> Graph:
    """Without the ReLUs that stand on skip paths only. Not the same function: measure it, then fine-tune.

    At a sum or concatenation, the inputs with fewer convolutions behind them than the deepest are skips.
    """
    graph = graph.without_dead()
    depths, readers = _depths(graph), graph.readers()
    kept: list[Step] = []
    number = [0]
    for i, step in enumerate(graph.steps):
        moved = step.reading([number[j] for j in step.reads])
        if isinstance(step.operation, Relu) and _only_skips(graph, i + 1, depths, readers):
            number.append(moved.reads[0])
            continue
        kept.append(moved)
        number.append(len(kept))
    return Graph(tuple(kept[: number[-1]]), graph.picture).without_dead()


def _depths(graph: Graph) -> list[int]:
    """For each value, the convolutions and linear layers on the longest way to it."""
    depths = [0]
    for step in graph.steps:
        depths.append(max(depths[j] for j in step.reads) + isinstance(step.operation, Conv | Dense))
    return depths


def _only_skips(graph: Graph, value: int, depths: list[int], readers: dict[int, list[int]]) -> bool:
    """Whether every way on from the value comes to a junction where a deeper value arrives, before any ReLU."""
    if not readers[value]:
        return False
    for i in readers[value]:
        step = graph.steps[i]
        if isinstance(step.operation, Joining):
            if max(depths[j] for j in step.reads) == depths[value]:
                return False
        elif isinstance(step.operation, Relu | Square) or not _only_skips(graph, i + 1, depths, readers):
            return False
    return True


def merge(graph: Graph, mac_growth: float = MAC_GROWTH) -> Graph:
    """The same function, with pairs of convolutions, and of linear layers, as one where nothing stands between them.

    A batch norm between them goes into the first. Padding of the second must mean what it meant: the second has none,
    or the first is 1x1 without padding, stride and bias.
    """
    graph = graph.without_dead()
    while (merged := _merge_one(graph, mac_growth)) is not None:
        graph = merged
    return graph


def _merge_one(graph: Graph, mac_growth: float) -> Graph | None:
    uses, shapes = graph.uses(), graph.shapes
    for i, second in enumerate(graph.steps):
        if not isinstance(second.operation, Conv | Dense):
            continue
        between = second.operation.input
        norm = graph.steps[between - 1] if between and isinstance(graph.steps[between - 1].operation, Norm) else None
        start = norm.reads[0] if norm else between
        first = graph.steps[start - 1] if start else None
        alone = uses[between] == 1 and uses[start] == 1
        if first is None or not isinstance(first.operation, Conv | Dense) or not alone:
            continue
        fused = _fused(first, norm, second)
        if fused is not None and _worth(fused, first, second, shapes, start, i + 1, mac_growth):
            steps = list(graph.steps)
            steps[i] = fused
            return Graph(tuple(steps), graph.picture).without_dead()
    return None


def _worth(
    fused: Step, first: Step, second: Step, shapes: list[Shape], start: int, end: int, mac_growth: float
) -> bool:
    before = prod(shapes[start]) * prod(first.weights["weight"].shape[1:])
    before += prod(shapes[end]) * prod(second.weights["weight"].shape[1:])
    return prod(shapes[end]) * prod(fused.weights["weight"].shape[1:]) <= mac_growth * before


def _fused(first: Step, norm: Step | None, second: Step) -> Step | None:
    """One layer in the place of two, or None where that would not be exact."""
    one, two = first.operation, second.operation
    w1, b1 = _affine(first, norm)
    w2 = second.weights["weight"].double()
    b2 = second.weights["bias"].double() if "bias" in second.weights else torch.zeros(len(w2)).double()
    if isinstance(one, Dense) and isinstance(two, Dense):
        return _layer(second, msgspec.structs.replace(one, out=two.out, bias=True), w2 @ w1, w2 @ b1 + b2)
    if not isinstance(one, Conv) or not isinstance(two, Conv) or not _padding_is_exact(one, two, b1):
        return None
    # conv(conv(x, w1), w2) correlates x with w2 spread by the first stride and convolved with w1.
    spread = torch.zeros(*w2.shape[:2], *((k - 1) * s + 1 for k, s in zip(w2.shape[2:], one.stride, strict=True)))
    spread = spread.double()
    spread[:, :, :: one.stride[0], :: one.stride[1]] = w2
    reach = (w1.shape[2] - 1, w1.shape[3] - 1)
    weight = F.conv2d(spread, w1.transpose(0, 1).flip(2, 3), padding=reach)
    padding = tuple(a + b for a, b in zip(one.padding, two.padding, strict=True))
    stride = tuple(a * b for a, b in zip(one.stride, two.stride, strict=True))
    bias = w2.sum((2, 3)) @ b1 + b2
    operation = Conv(one.input, two.out, tuple(weight.shape[2:]), stride, padding, bias=True)  # type: ignore[arg-type]
    return _layer(second, operation, weight, bias)


def _padding_is_exact(one: Conv, two: Conv, b1: Tensor) -> bool:
    plain = one.groups == two.groups == 1 and one.dilation == two.dilation == (1, 1)
    passes = one.kernel == one.stride == (1, 1) and one.padding == (0, 0) and not b1.any()
    return plain and (two.padding == (0, 0) or passes)


def _affine(first: Step, norm: Step | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer with its batch norm taken in, in double precision."""
    weight = first.weights["weight"].double()
    bias = first.weights["bias"].double() if "bias" in first.weights else torch.zeros(len(weight)).double()
    if norm is None:
        return weight, bias
    scale, shift = norm_as_affine(norm)
    return weight * scale.view(-1, *(1,) * (weight.ndim - 1)), bias * scale + shift


def norm_as_affine(norm: Step) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel of a batch norm, in eval mode."""
    w: Weights = {key: tensor.double() for key, tensor in norm.weights.items()}
    assert isinstance(norm.operation, Norm)
    scale = w["weight"] / (w["running_var"] + norm.operation.eps).sqrt()
    return scale, w["bias"] - w["running_mean"] * scale


def _layer(second: Step, operation: Conv | Dense, weight: Tensor, bias: Tensor) -> Step:
    return replace(second, operation=operation, weights={"weight": weight.float(), "bias": bias.float()})

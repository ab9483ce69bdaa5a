"""How large each value can get, whatever the picture: an interval a channel, from the weights and the input's range.

Terms are taken at their worst, independently: for a sum of products that is Σ|w|·max|x|, tightened where x is never
negative. A requantised network whose values could reach p/2 is refused, because a proof knows them mod p only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError
from assay.integer.graph import (
    LARGEST,
    Add,
    Concat,
    Conv2d,
    Flatten,
    Input,
    Ints,
    Linear,
    MaxPool,
    Node,
    Offset,
    PadChannels,
    ReLU,
    Requantise,
    Shape,
    Square,
    Subsample,
    SumPool,
)
from assay.integer.shapes import title

Big = NDArray[Any]
"""Python integers, or int64 where these hold every value: a list of Python integers takes several times the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """Lowest and highest value of each channel (of each entry, if flat).

    Attributes:
        low, high: int64, within ±LARGEST.
        wraps: worst-case values, here or before, go beyond that: the tensor is known mod p only (classic networks).
    """

    low: Ints
    high: Ints
    wraps: bool = False

    @property
    def largest(self) -> int:
        """Greatest magnitude."""
        return max(-int(self.low.min()), int(self.high.max()))

    @property
    def bits(self) -> int:
        """Bits of a two's complement number that holds every value."""
        return max(int(self.high.max()).bit_length(), (~int(self.low.min())).bit_length()) + 1


def bounds_of(nodes: Sequence[Node], shapes: Sequence[Shape], classic: bool) -> tuple[Bound, ...]:
    """The bound of every tensor. Cost: as one picture without its spatial positions.

    Raises:
        ModelError: if a value could pass LARGEST and the network is not a classic one, or a node that is not a
            polynomial (ReLU, max pool, requantise) reads a value that could.
    """
    bounds: list[Bound] = []
    for position, node in enumerate(nodes):
        given = [bounds[i] for i in node.inputs]
        low, high = _interval(node, given, [shapes[i] for i in node.inputs])
        bound = _bound(low, high, any(g.wraps for g in given))
        if isinstance(node, ReLU | MaxPool | Requantise) and (given[0].wraps or _rounded_passes(node, given[0])):
            raise ModelError(
                f"{title(position, node)} compares values that could pass {LARGEST} in magnitude, half the proof's "
                "field; requantise before it"
            )
        if bound.wraps and not classic:
            worst = max(-int(low.min()), int(high.max()))
            raise ModelError(
                f"{title(position, node)} could reach {worst:.3g} in magnitude, but only {LARGEST} can be proven; "
                "use fewer bits, or requantise before it"
            )
        bounds.append(bound)
    return tuple(bounds)


def _bound(low: Big, high: Big, wraps: bool) -> Bound:
    passes = bool((low < -LARGEST).any() or (high > LARGEST).any())
    low, high = np.clip(low, -LARGEST, LARGEST), np.clip(high, -LARGEST, LARGEST)
    return Bound(low.astype(np.int64, copy=False), high.astype(np.int64, copy=False), wraps or passes)


def _rounded_passes(node: Node, given: Bound) -> bool:
    return isinstance(node, Requantise) and given.largest + node.half > LARGEST


def _interval(node: Node, given: list[Bound], shapes: list[Shape]) -> tuple[Big, Big]:
    kind = np.int64 if _reach(node, given) < 1 << 62 else object
    low, high = [g.low.astype(kind, copy=False) for g in given], [g.high.astype(kind, copy=False) for g in given]
    match node:
        case Input(shape=shape):
            return np.full(shape[0], node.low), np.full(shape[0], node.high)
        case Offset(value=value):
            return low[0] + value, high[0] + value
        case Conv2d(weight=weight, bias=bias, groups=groups):
            return _with_bias(weighted_sum(weight.reshape(len(weight), weight.shape[1], -1), given[0], groups), bias)
        case Linear(weight=weight, bias=bias):
            return _with_bias(weighted_sum(weight[:, :, None], given[0]), bias)
        case Add(shifts=shifts):
            scaled = [(side * 2**s) for sides in (low, high) for side, s in zip(sides, shifts, strict=True)]
            return _sum(scaled[: len(low)]), _sum(scaled[len(low) :])
        case SumPool(kernel=kernel, padding=padding):
            count, outside = prod(kernel), any(padding)
            return (np.minimum(low[0] * count, 0) if outside else low[0] * count,
                    np.maximum(high[0] * count, 0) if outside else high[0] * count)  # fmt: skip
        case ReLU(start=start, stop=stop):
            return _rectified(low[0], start, stop), _rectified(high[0], start, stop)
        case Square():
            return _square(low[0], high[0])
        case Requantise():
            return _requantised(node, low[0]), _requantised(node, high[0])
        case Flatten():
            positions = prod(shapes[0][1:])
            return low[0].repeat(positions), high[0].repeat(positions)
        case Concat():
            return np.concatenate(low), np.concatenate(high)
        case PadChannels(before=before, after=after):
            return np.pad(low[0], (before, after)), np.pad(high[0], (before, after))
        case MaxPool() | Subsample():
            return low[0], high[0]


def _reach(node: Node, given: list[Bound]) -> int:
    """No number that this node's bound is worked out from is larger; weighted sums are worked out by themselves."""
    largest = max((g.largest for g in given), default=0)
    match node:
        case Offset():
            return largest + LARGEST
        case Add(shifts=shifts):
            return sum(g.largest << shift for g, shift in zip(given, shifts, strict=True))
        case SumPool(kernel=kernel):
            return largest * prod(kernel)
        case Square():
            return largest**2
        case Requantise():
            return largest + node.half
        case _:
            return largest


def _sum(terms: list[Big]) -> Big:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _with_bias(interval: tuple[Big, Big], bias: Ints) -> tuple[Big, Big]:
    return interval[0] + bias.astype(object), interval[1] + bias.astype(object)


def _rectified(side: Big, start: int, stop: int) -> Big:
    side = side.copy()
    side[start:stop] = np.maximum(side[start:stop], 0)
    return side


def _square(low: Big, high: Big) -> tuple[Big, Big]:
    inside = (low <= 0) & (high >= 0)
    squares = low * low, high * high
    return np.where(inside, 0, np.minimum(*squares)), np.maximum(*squares)


def _requantised(node: Requantise, side: Big) -> Big:
    q = np.clip((side + node.half) >> node.shift, node.low, node.high)
    return _rectified(q, node.start, node.stop)


def weighted_sum(weight: Ints, given: Bound, groups: int = 1) -> tuple[Big, Big]:
    """Bounds of Σ w·x for each output, and of every partial sum: zero counts as a value of each term.

    `weight` is `out in/groups taps`; `given` has groups · in entries. Exact: x is split at 2^30, so that no sum passes
    64 bits (`shapes` keeps Σ|w| below 2^32).
    """
    low, high = np.minimum(given.low, 0), np.maximum(given.high, 0)
    by_group = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    positive, negative = np.maximum(by_group, 0).sum(3), np.maximum(-by_group, 0).sum(3)  # groups, out, in
    bottom = _products(positive, low, groups) - _products(negative, high, groups)
    top = _products(positive, high, groups) - _products(negative, low, groups)
    return bottom, top


def _products(weight: Ints, x: Ints, groups: int) -> Big:
    """Σ over inputs of weight (groups, out, in) times x, as Python integers, one an output."""
    x = x.reshape(groups, -1, 1)
    upper, lower = x >> 30, x & ((1 << 30) - 1)
    parts = [np.matmul(weight, part).astype(object).ravel() for part in (upper, lower)]
    total: Big = parts[0] * 2**30 + parts[1]
    return total

"""The integer network as a list of operations on plain integers, in an order in which they can be carried out.

Node `i` computes tensor `i` from tensors with smaller numbers; node 0 is the input, the last one the output. Tensors of
one picture have the shape `c h w`, or `k` once they are flat; a batch has one more axis in front. Weights are int64
arrays that are never written to. `assay.integer.definition` says in plain Python what each operation gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

P = (1 << 61) - 1
"""The field in which values are proven; a value v stands for v mod P, so |v| must stay at or below `LARGEST`."""

LARGEST = (P - 1) // 2
"""Largest magnitude that has a representation of its own in the field: 2^60 - 1."""

Ints = NDArray[np.int64]
Pair = tuple[int, int]
"""Height, width."""
Sides = tuple[int, int, int, int]
"""Top, bottom, left, right."""
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """What every node has: the name of the layer that it came from."""

    name: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Input(Operation):
    """The picture: integers from `low` to `high`."""

    shape: tuple[int, int, int]
    low: int = 0
    high: int = 255

    @property
    def inputs(self) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class Unary(Operation):
    """A node that reads one tensor."""

    input: int

    @property
    def inputs(self) -> tuple[int, ...]:
        return (self.input,)


@dataclass(frozen=True, slots=True, eq=False)
class Offset(Unary):
    """x + value, one value a channel. Moves the mean of the pictures to 0, so that padding with 0 means the mean."""

    value: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Conv2d(Unary):
    """Cross-correlation with zero padding, plus bias. `weight` is `out in/groups kh kw`, `bias` is `out`."""

    weight: Ints
    bias: Ints
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Linear(Unary):
    """weight · x + bias on a flat tensor. `weight` is `out in`."""

    weight: Ints
    bias: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Add(Operation):
    """Σ 2^shift · x over tensors of one shape: residual connections, brought to one scale."""

    inputs: tuple[int, ...]
    shifts: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SumPool(Unary):
    """Sum over windows, zeros outside the picture. Average pooling is this one, its divisor kept in the scale."""

    kernel: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class MaxPool(Unary):
    """Largest value in each window; what lies outside the picture does not count. Padding is less than the window."""

    kernel: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class ReLU(Unary):
    """max(x, 0) on channels start ≤ c < stop; the others pass."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Square(Unary):
    """x²."""


@dataclass(frozen=True, slots=True, eq=False)
class Requantise(Unary):
    """q = (x + half) >> shift, rounded down, with half = 2^(shift-1) (0 if shift is 0); then clamped to [low, high].

    Channels start ≤ c < stop are rectified as well: they are clamped to [0, high].
    """

    shift: int
    low: int
    high: int
    start: int = 0
    stop: int = 0

    @property
    def half(self) -> int:
        return (1 << self.shift) >> 1


@dataclass(frozen=True, slots=True, eq=False)
class Flatten(Unary):
    """`c h w` to `c·h·w`, in that order."""


@dataclass(frozen=True, slots=True, eq=False)
class Concat(Operation):
    """Joined along the channels, or end to end if flat."""

    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Subsample(Unary):
    """Every `stride`-th row and column, from the first."""

    stride: Pair


@dataclass(frozen=True, slots=True, eq=False)
class PadChannels(Unary):
    """Channels of zeros before and after."""

    before: int
    after: int


Node = (
    Input
    | Offset
    | Conv2d
    | Linear
    | Add
    | SumPool
    | MaxPool
    | ReLU
    | Square
    | Requantise
    | Flatten
    | Concat
    | Subsample
    | PadChannels
)

OPERATIONS: dict[str, type[Operation]] = {
    "input": Input,
    "offset": Offset,
    "conv2d": Conv2d,
    "linear": Linear,
    "add": Add,
    "sum-pool": SumPool,
    "max-pool": MaxPool,
    "relu": ReLU,
    "square": Square,
    "requantise": Requantise,
    "flatten": Flatten,
    "concat": Concat,
    "subsample": Subsample,
    "pad-channels": PadChannels,
}
"""Every operation by the name it has in files and reports."""

NAMES: dict[type[Operation], str] = {operation: name for name, operation in OPERATIONS.items()}


def window_count(side: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """How many windows fit along one axis; 0 or less if none does."""
    return (side + before + after - dilation * (kernel - 1) - 1) // stride + 1

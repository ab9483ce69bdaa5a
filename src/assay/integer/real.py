"""The network as it was trained: the same graph over real numbers, before anything is rounded.

Operations without weights are those of `assay.integer.graph`; those with weights, and those that have no integer form
of their own, are here. Node 0 is the picture in [0, 1], the last node the logits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assay.integer.graph import (
    Concat,
    Flatten,
    Input,
    MaxPool,
    Operation,
    PadChannels,
    Pair,
    ReLU,
    Sides,
    Square,
    Subsample,
    Unary,
)

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Affine(Unary):
    """scale · x + shift, one of each a channel: batch normalisation, and the normalisation of pictures."""

    scale: Reals
    shift: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Convolution(Unary):
    """`Conv2d` with real weights."""

    weight: Reals
    bias: Reals
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Unary):
    """`Linear` with real weights."""

    weight: Reals
    bias: Reals


@dataclass(frozen=True, slots=True, eq=False)
class Sum(Operation):
    """Of tensors of one shape."""

    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AveragePool(Unary):
    """Window sums, zeros outside the picture, over a fixed divisor."""

    kernel: Pair
    stride: Pair
    padding: Sides
    divisor: float


@dataclass(frozen=True, slots=True, eq=False)
class Border(Unary):
    """Zeros around the picture; folded into the convolution or average that reads it."""

    padding: Sides


RealNode = (
    Input | Affine | Convolution | Dense | Sum | AveragePool | Border
    | MaxPool | ReLU | Square | Flatten | Concat | Subsample | PadChannels
)  # fmt: skip


def with_inputs(node: RealNode, inputs: Sequence[int]) -> RealNode:
    """The same node reading other tensors."""
    if isinstance(node, Sum | Concat):
        return replace(node, inputs=tuple(inputs))
    return node if isinstance(node, Input) else replace(node, input=inputs[0])


def uses(nodes: Sequence[RealNode]) -> Counter[int]:
    """How often each tensor is read; the output counts as read once."""
    return Counter([i for node in nodes for i in node.inputs] + [len(nodes) - 1])


def evaluate(nodes: Sequence[RealNode], x: Tensor) -> list[Tensor]:
    """Every tensor for pictures `n c h w` in [0, 1], in the type of `x`."""
    values: list[Tensor] = []
    for node in nodes:
        values.append(compute(node, [values[i] for i in node.inputs] or [x]))
    return values


def compute(node: RealNode, given: Sequence[Tensor]) -> Tensor:
    """One tensor, from those that its node reads (the picture, for the input)."""
    x = given[0]

    def like(array: Reals) -> Tensor:
        return torch.from_numpy(array).to(x)

    match node:
        case Input():
            return x
        case Affine(scale=scale, shift=shift):
            shape = (1, -1, 1, 1)[: x.ndim]
            return x * like(scale).view(shape) + like(shift).view(shape)
        case Convolution(weight=weight, bias=bias):
            return F.conv2d(
                _bordered(x, node.padding), like(weight), like(bias), node.stride, 0, node.dilation, node.groups
            )
        case Dense(weight=weight, bias=bias):
            return F.linear(x, like(weight), like(bias))
        case Sum():
            return torch.stack(list(given)).sum(0)
        case AveragePool(kernel=kernel, stride=stride, padding=padding, divisor=divisor):
            return F.avg_pool2d(_bordered(x, padding), kernel, stride, divisor_override=1) / divisor
        case Border(padding=padding):
            return _bordered(x, padding)
        case MaxPool():
            x = _bordered(x, node.padding, -torch.inf)
            return F.max_pool2d(x, node.kernel, node.stride, 0, node.dilation)
        case ReLU(start=start, stop=stop):
            return torch.cat([x[:, :start], x[:, start:stop].relu(), x[:, stop:]], 1)
        case Square():
            return x * x
        case Flatten():
            return x.flatten(1)
        case Concat():
            return torch.cat(list(given), 1)
        case Subsample(stride=(down, right)):
            return x[:, :, ::down, ::right]
        case PadChannels(before=before, after=after):
            return F.pad(x, (0, 0, 0, 0, before, after))


def _bordered(x: Tensor, padding: Sides, value: float = 0.0) -> Tensor:
    top, bottom, left, right = padding
    return F.pad(x, (left, right, top, bottom), value=value) if any(padding) else x

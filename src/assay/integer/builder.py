"""The real graph while it is being built, and what an exported operation may be given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.integer.graph import Pair, Shape, Sides
from assay.integer.real import RealNode, Reals


@dataclass(frozen=True, slots=True)
class Channels:
    """A slice of the channels of a tensor, perhaps rectified; only `cat` puts such slices together again."""

    tensor: int
    start: int
    stop: int
    rectified: bool = False


@dataclass(frozen=True, slots=True)
class Tensorial:
    """A tensor of the graph that is being built."""

    number: int


class Refused(Exception):
    """Why a node has no integer form; becomes a ModelError with the layer's name."""


class Builder:
    """Nodes so far, the shape of each tensor of one picture, and the name that new nodes get."""

    def __init__(self, first: RealNode, shape: Shape) -> None:
        self.nodes: list[RealNode] = [first]
        self.shapes: list[Shape] = [shape]
        self.name = ""

    def add(self, node: RealNode, shape: tuple[int, ...]) -> Tensorial:
        self.nodes.append(replace(node, name=self.name))
        self.shapes.append(shape)
        return Tensorial(len(self.nodes) - 1)

    def tensor(self, value: Any) -> int:
        """The number of a whole tensor that depends on the picture."""
        if isinstance(value, Channels):
            raise Refused("a slice of channels may only be rectified and concatenated with the rest of its tensor")
        if not isinstance(value, Tensorial):
            raise Refused("it combines the picture with a constant in a way that is not an affine map")
        return value.number

    def per_channel(self, constant: Any, number: int) -> Reals:
        """A constant as one value a channel of that tensor."""
        shape = self.shapes[number]
        if isinstance(constant, Channels):
            raise Refused("a slice of channels may only be rectified and concatenated with the rest of its tensor")
        array = np.asarray(torch.as_tensor(constant).double().numpy())
        if array.ndim > len(shape) + 1:
            raise Refused(f"a constant of shape {array.shape} does not fit a tensor of shape {shape}")
        array = array.reshape((1,) * (len(shape) + 1 - array.ndim) + array.shape)
        if array.shape[0] != 1 or any(side != 1 for side in array.shape[2:]):
            raise Refused("it adds or multiplies by a constant that differs from place to place")
        if array.size not in (1, shape[0]):
            raise Refused(f"a constant of {array.size} channels does not fit a tensor of {shape[0]}")
        return np.broadcast_to(array.ravel(), (shape[0],)).copy()


def pair(value: Any) -> Pair:
    sides = [value, value] if isinstance(value, int) else list(value) * (2 if len(value) == 1 else 1)
    return int(sides[0]), int(sides[1])


def sides(value: Any) -> Sides:
    down, across = pair(value)
    return down, down, across, across


def array(value: Any) -> Reals:
    if not isinstance(value, Tensor):
        raise Refused("its weights depend on the picture")
    return np.ascontiguousarray(value.double().numpy())


def bias_or_zeros(value: Any, out: int) -> Reals:
    return np.zeros(out) if value is None else array(value)

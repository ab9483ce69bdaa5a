"""The shape of every tensor, and whether the numbers of a node make sense: nothing is allocated before this was asked.

A network may come from a file that somebody else wrote; what does not fit is refused by the name of its layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from assay.errors import ModelError
from assay.integer.graph import (
    LARGEST,
    NAMES,
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
    Pair,
    ReLU,
    Requantise,
    Shape,
    Sides,
    Square,
    Subsample,
    SumPool,
    window_count,
)

MAX_NODES = 10_000
MAX_SIDE = 1 << 16
"""Of a kernel, a stride, a padding, a dilation or a channel count that a node adds."""
MAX_VALUES = 1 << 27
"""Values of one tensor of one picture."""
MAX_ALL_VALUES = 1 << 30
"""Values of all tensors of one picture together."""
MAX_CHANNELS = 1 << 22
"""Channels of one tensor, or values of a flat one: each has a bound of its own."""
MAX_ALL_CHANNELS = 1 << 24
"""Of all tensors together."""
MAX_WORK = 1 << 38
"""Multiplications a picture."""
MAX_WINDOW = 1 << 20
"""Values in a window."""
MAX_WEIGHT = 1 << 31
MAX_SHIFT = 62
MAX_SCALING = 30
"""Bits by which `Add` may shift to the left."""


def title(position: int, node: Node) -> str:
    """How messages call a node."""
    kind = NAMES[type(node)]
    return f"layer {node.name} ({kind})" if node.name else f"node {position} ({kind})"


def shapes_of(nodes: Sequence[Node]) -> tuple[Shape, ...]:
    """The shape of each tensor of one picture.

    Raises:
        ModelError: if a node does not fit those before it, or the whole is beyond the limits above.
    """
    if not 1 <= len(nodes) <= MAX_NODES:
        raise ModelError(f"an integer network has 1 to {MAX_NODES} nodes, got {len(nodes)}")
    shapes: list[Shape] = []
    values = channels = work = 0
    for position, node in enumerate(nodes):
        name = title(position, node)
        if isinstance(node, Input) != (position == 0):
            raise ModelError(f"{name}: the input is node 0 and no other")
        if any(not 0 <= i < position for i in node.inputs):
            raise ModelError(f"{name} reads tensors {node.inputs}, which are not all before it")
        shape = _shape(name, node, [shapes[i] for i in node.inputs])
        if min(shape) < 1 or prod(shape) > MAX_VALUES:
            raise ModelError(f"{name} gives a tensor of shape {shape}; 1 to {MAX_VALUES} values are allowed")
        channels += shape[0]
        if shape[0] > MAX_CHANNELS or channels > MAX_ALL_CHANNELS:
            raise ModelError(
                f"{name} gives a tensor of {shape[0]} channels; {MAX_CHANNELS} are allowed, {MAX_ALL_CHANNELS} in all"
            )
        values += prod(shape)
        work += _work(node, shape)
        if values > MAX_ALL_VALUES or work > MAX_WORK:
            raise ModelError(f"{name}: {values} values and {work} multiplications a picture so far, which is too much")
        shapes.append(shape)
    return tuple(shapes)


def multiplications(node: Conv2d | Linear, shape: Shape) -> int:
    """Products of a weight and a value for one picture; `shape` is that of the tensor which the node gives."""
    return int(node.weight.size) * prod(shape[1:])


def _work(node: Node, shape: Shape) -> int:
    match node:
        case Conv2d() | Linear():
            return multiplications(node, shape)
        case SumPool(kernel=kernel) | MaxPool(kernel=kernel):
            return prod(shape) * prod(kernel)
        case _:
            return prod(shape)


def _shape(name: str, node: Node, given: list[Shape]) -> Shape:
    match node:
        case Input(shape=shape, low=low, high=high):
            _need(-LARGEST <= low <= high <= LARGEST, name, f"its values go from {low} to {high}")
            _need(len(shape) == 3 and all(1 <= s <= MAX_SIDE for s in shape), name, f"its shape is {shape}")
            return shape
        case Offset(value=value):
            _array(name, "value", value, (_picture(name, given[0])[0],), LARGEST)
            return given[0]
        case Conv2d():
            return _convolution(name, node, _picture(name, given[0]))
        case Linear(weight=weight, bias=bias):
            _need(
                len(given[0]) == 1 and weight.ndim == 2, name, f"it reads a tensor of shape {given[0]}, not a flat one"
            )
            _weights(name, weight, bias, (weight.shape[0], given[0][0]))
            return (weight.shape[0],)
        case Add(shifts=shifts):
            _need(len(given) == len(shifts) >= 1, name, f"it has {len(given)} tensors and {len(shifts)} shifts")
            _need(len(given) <= 16 and all(g == given[0] for g in given), name, f"its tensors have the shapes {given}")
            _need(all(0 <= s <= MAX_SCALING for s in shifts), name, f"it shifts by {shifts}")
            return given[0]
        case SumPool(kernel=kernel, stride=stride, padding=padding):
            _need(
                all(p < kernel[i // 2] for i, p in enumerate(padding)),
                name,
                f"its padding {padding} is not less than its window",
            )
            return _windows(name, _picture(name, given[0]), kernel, stride, padding, (1, 1))
        case MaxPool():
            return _max_pool(name, node, _picture(name, given[0]))
        case ReLU(start=start, stop=stop):
            _need(0 <= start < stop <= given[0][0], name, f"it rectifies channels {start} to {stop} of {given[0][0]}")
            return given[0]
        case Requantise():
            _requantise(name, node, given[0][0])
            return given[0]
        case Square():
            return given[0]
        case Flatten():
            return (prod(_picture(name, given[0])),)
        case Concat():
            _need(
                2 <= len(given) <= 1000 and all(g[1:] == given[0][1:] for g in given),
                name,
                f"it joins tensors of the shapes {given}",
            )
            return (sum(g[0] for g in given), *given[0][1:])
        case Subsample(stride=stride):
            _sides(name, "stride", stride, 1)
            c, h, w = _picture(name, given[0])
            return (c, -(-h // stride[0]), -(-w // stride[1]))
        case PadChannels(before=before, after=after):
            _sides(name, "padding", (before, after), 0)
            c, h, w = _picture(name, given[0])
            return (before + c + after, h, w)


def _need(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise ModelError(f"{name} does not make sense: {what}")


def _sides(name: str, what: str, numbers: tuple[int, ...], least: int) -> None:
    _need(all(least <= n <= MAX_SIDE for n in numbers), name, f"its {what} is {numbers}")


def _picture(name: str, shape: Shape) -> tuple[int, int, int]:
    _need(len(shape) == 3, name, f"it reads a tensor of shape {shape}, not channels, height, width")
    return (shape[0], shape[1], shape[2])


def _array(name: str, what: str, array: Ints, shape: Shape, largest: int) -> None:
    _need(array.dtype == np.int64, name, f"its {what} is {array.dtype}, not int64")
    _need(array.shape == shape, name, f"its {what} has shape {array.shape}, where {shape} is needed")
    reach = max(-int(array.min()), int(array.max())) if array.size else 0
    _need(reach <= largest, name, f"its {what} holds {reach}; at most {largest} is allowed")


def _weights(name: str, weight: Ints, bias: Ints, shape: Shape) -> None:
    _array(name, "weight", weight, shape, MAX_WEIGHT - 1)
    _array(name, "bias", bias, (shape[0],), LARGEST)
    # Below this, no sum of weights times half a field element leaves 64 bits; see `bounds` and `execute`.
    rows = weight[:1, ...] if not any(weight.strides) else weight  # one number for all: of an architecture
    total = float(np.abs(rows).reshape(len(rows), -1).sum(1, dtype=np.float64).max())
    _need(total < 1 << 32, name, f"its weights add up to {total:.3g} in magnitude for one output")


def _windows(
    name: str, shape: tuple[int, int, int], kernel: Pair, stride: Pair, padding: Sides, dilation: Pair
) -> Shape:
    _sides(name, "kernel", kernel, 1)
    _sides(name, "stride", stride, 1)
    _sides(name, "dilation", dilation, 1)
    _sides(name, "padding", padding, 0)
    _need(prod(kernel) <= MAX_WINDOW, name, f"its window has {prod(kernel)} values")
    rows = window_count(shape[1], kernel[0], stride[0], dilation[0], padding[0], padding[1])
    columns = window_count(shape[2], kernel[1], stride[1], dilation[1], padding[2], padding[3])
    _need(rows > 0 and columns > 0, name, f"its window does not fit {shape[1]}x{shape[2]}")
    return (shape[0], rows, columns)


def _convolution(name: str, node: Conv2d, shape: tuple[int, int, int]) -> Shape:
    weight, groups = node.weight, node.groups
    _need(weight.ndim == 4, name, f"its weight has shape {weight.shape}")
    fits = 1 <= groups <= shape[0] and shape[0] % groups == 0 and weight.shape[0] % groups == 0
    _need(fits, name, f"{groups} groups do not divide {shape[0]} channels in and {weight.shape[0]} out")
    _weights(name, weight, node.bias, (weight.shape[0], shape[0] // groups, *weight.shape[2:]))
    kernel = (weight.shape[2], weight.shape[3])
    return (weight.shape[0], *_windows(name, shape, kernel, node.stride, node.padding, node.dilation)[1:])


def _max_pool(name: str, node: MaxPool, shape: tuple[int, int, int]) -> Shape:
    out = _windows(name, shape, node.kernel, node.stride, node.padding, node.dilation)
    for axis in (0, 1):
        starts = node.stride[axis] * np.arange(out[1 + axis]) - node.padding[2 * axis]
        first = -(np.minimum(starts, 0) // node.dilation[axis])  # of a window's places, that is not before the picture
        inside = (first < node.kernel[axis]) & (starts + node.dilation[axis] * first < shape[1 + axis])
        _need(bool(inside.all()), name, "a window lies outside the picture")
    return out


def _requantise(name: str, node: Requantise, channels: int) -> None:
    _need(0 <= node.shift <= MAX_SHIFT, name, f"it shifts by {node.shift}")
    _need(-LARGEST <= node.low <= 0 <= node.high <= LARGEST, name, f"it clamps to {node.low} to {node.high}")
    _need(
        0 <= node.start <= node.stop <= channels,
        name,
        f"it rectifies channels {node.start} to {node.stop} of {channels}",
    )

"""What each operation means, in plain Python: slow, and the oracle that every fast execution is compared with.

Tensors of one picture are numpy arrays of Python integers (dtype object), so nothing can overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.integer.graph import (
    LARGEST,
    Add,
    Concat,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Node,
    Offset,
    P,
    PadChannels,
    ReLU,
    Requantise,
    Square,
    Subsample,
    SumPool,
    window_count,
)

Plain = NDArray[np.object_]


def centred(value: int) -> int:
    """The representative of value mod P in [-LARGEST, LARGEST]."""
    residue = value % P
    return residue - P if residue > LARGEST else residue


def define(node: Node, tensors: Sequence[Plain]) -> Plain:
    """The tensor that `node` computes from the tensors before it, over the integers (no reduction mod P)."""
    x = [tensors[i] for i in node.inputs]
    match node:
        case Input():
            raise ValueError("the input is given, not computed")
        case Offset(value=value):
            return _array(x[0] + value.astype(object)[:, None, None])
        case Conv2d():
            return _convolution(node, x[0])
        case Linear(weight=weight, bias=bias):
            rows = zip(weight.tolist(), bias.tolist(), strict=True)
            return _array([b + sum(w * v for w, v in zip(row, x[0].tolist(), strict=True)) for row, b in rows])
        case Add(shifts=shifts):
            return _array(sum(v * 2**s for v, s in zip(x, shifts, strict=True)))
        case SumPool():
            return _pooled(node, x[0], (1, 1), sum)
        case MaxPool(dilation=dilation):
            return _pooled(node, x[0], dilation, max)
        case ReLU(start=start, stop=stop):
            return _by_channel(x[0], lambda c, v: max(v, 0) if start <= c < stop else v)
        case Square():
            return _array(x[0] * x[0])
        case Requantise():
            return _by_channel(x[0], lambda c, v: _requantised(node, c, v))
        case Flatten():
            return x[0].reshape(-1)
        case Concat():
            return np.concatenate(x)
        case Subsample(stride=(down, right)):
            return x[0][:, ::down, ::right]
        case PadChannels(before=before, after=after):
            return _zero_padded(x[0], (before, after), (0, 0), (0, 0))


def _array(values: Any) -> Plain:
    return np.array(values, dtype=object)


def _by_channel(x: Plain, compute: Callable[[int, int], int]) -> Plain:
    """`compute` of channel number and value, for each value."""
    values = [compute(c, int(v)) for c in range(len(x)) for v in np.atleast_1d(x[c]).flat]
    return _array(values).reshape(x.shape)


def _zero_padded(x: Plain, *sides: tuple[int, int]) -> Plain:
    padded = np.zeros([before + side + after for side, (before, after) in zip(x.shape, sides, strict=True)], object)
    padded[tuple(slice(before, before + side) for side, (before, _) in zip(x.shape, sides, strict=True))] = x
    return padded


def _requantised(node: Requantise, channel: int, value: int) -> int:
    low = 0 if node.start <= channel < node.stop else node.low
    return min(max((value + node.half) >> node.shift, low), node.high)


def _convolution(node: Conv2d, x: Plain) -> Plain:
    top, bottom, left, right = node.padding
    x = _zero_padded(x, (0, 0), (top, bottom), (left, right))
    out, inner, kh, kw = node.weight.shape
    (sy, sx), (dy, dx) = node.stride, node.dilation
    rows = window_count(x.shape[1], kh, sy, dy, 0, 0)
    columns = window_count(x.shape[2], kw, sx, dx, 0, 0)
    y = np.empty((out, rows, columns), dtype=object)
    for o, r, s in product(range(out), range(rows), range(columns)):
        first = o // (out // node.groups) * inner
        y[o, r, s] = int(node.bias[o]) + sum(
            int(node.weight[o, c, a, b]) * x[first + c, sy * r + dy * a, sx * s + dx * b]
            for c, a, b in product(range(inner), range(kh), range(kw))
        )
    return y


def _pooled(node: SumPool | MaxPool, x: Plain, dilation: tuple[int, int], gather: Any) -> Plain:
    top, bottom, left, right = node.padding
    (kh, kw), (sy, sx), (dy, dx) = node.kernel, node.stride, dilation
    channels, height, width = x.shape
    rows = window_count(height, kh, sy, dy, top, bottom)
    columns = window_count(width, kw, sx, dx, left, right)
    y = np.empty((channels, rows, columns), dtype=object)
    for c, r, s in product(range(channels), range(rows), range(columns)):
        places = ((sy * r + dy * a - top, sx * s + dx * b - left) for a, b in product(range(kh), range(kw)))
        y[c, r, s] = gather([x[c, i, j] for i, j in places if 0 <= i < height and 0 <= j < width] or [0])
    return y

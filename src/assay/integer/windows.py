"""Windows of pictures that lie as `n h w c`: all of them as rows of a matrix, or one tap of each as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.integer.graph import Conv2d, MaxPool, Pair, Sides, SumPool, window_count

Array = NDArray[Any]


def padded(x: Array, padding: Sides, value: int) -> Array:
    """A border of `value`; the same array where there is none."""
    top, bottom, left, right = padding
    if not any(padding):
        return x
    n, h, w, c = x.shape
    y = np.full((n, top + h + bottom, left + w + right, c), value, dtype=x.dtype)
    y[:, top : top + h, left : left + w] = x
    return y


def windows(x: Array, kernel: Pair, stride: Pair, dilation: Pair) -> Array:
    """A view `n rows columns kh kw c` of the padded pictures `n h w c`."""
    n, h, w, c = x.shape
    rows = window_count(h, kernel[0], stride[0], dilation[0], 0, 0)
    columns = window_count(w, kernel[1], stride[1], dilation[1], 0, 0)
    sn, sh, sw, sc = x.strides
    steps = (sn, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc)
    return np.lib.stride_tricks.as_strided(x, (n, rows, columns, *kernel, c), steps, writeable=False)


def geometry(node: Conv2d | SumPool | MaxPool) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride, dilation."""
    match node:
        case Conv2d(weight=weight, stride=stride, dilation=dilation):
            return (weight.shape[2], weight.shape[3]), stride, dilation
        case MaxPool(kernel=kernel, stride=stride, dilation=dilation):
            return kernel, stride, dilation
        case SumPool(kernel=kernel, stride=stride):
            return kernel, stride, (1, 1)


def taps(x: Array, node: Conv2d | SumPool | MaxPool, border: int) -> Iterator[Array]:
    """For each place in the window, row by row, the picture `n rows columns c` of what lies there."""
    kernel, stride, dilation = geometry(node)
    view = windows(padded(x, node.padding, border), kernel, stride, dilation)
    return (view[:, :, :, a, b] for a in range(kernel[0]) for b in range(kernel[1]))

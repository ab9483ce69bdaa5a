"""Tensors of a run as tables of field elements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.integer import graph as g
from assay.proof.field import Words, from_integers
from assay.proof.multilinear import variables

Ints = NDArray[np.int64]


def padded(values: Ints, fill: int = 0) -> Ints:
    """Each axis padded to a power of two."""
    shape = tuple(1 << variables(size) for size in values.shape)
    if shape == values.shape:
        return values
    out = np.full(shape, fill, values.dtype)
    out[tuple(slice(size) for size in values.shape)] = values
    return out


def requantised(node: g.Requantise, x: NDArray[np.integer]) -> Ints:
    """What the node makes of x, `b c …`."""
    channels = np.arange(x.shape[1])
    low = np.where((node.start <= channels) & (channels < node.stop), 0, node.low)
    q: Ints = (x.astype(np.int64) + node.half) >> node.shift
    return np.clip(q, low.reshape(-1, *[1] * (x.ndim - 2)), node.high)


def elements(values: Ints) -> Words:
    """The padded tensor in F_p², (padded size, 2)."""
    words = from_integers(padded(values))
    out = np.zeros((len(words), 2), np.uint64)
    out[:, 0] = words
    return out

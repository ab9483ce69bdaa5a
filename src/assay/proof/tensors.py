"""Tensors of a run as tables of field elements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def elements(values: Ints) -> Words:
    """The padded tensor in F_p², (padded size, 2)."""
    words = from_integers(padded(values))
    out = np.zeros((len(words), 2), np.uint64)
    out[:, 0] = words
    return out

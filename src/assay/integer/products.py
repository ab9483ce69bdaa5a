"""Convolutions and linear layers as exact matrix products, in the cheapest arithmetic that a bound allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.integer import modular
from assay.integer.bounds import Bound, weighted_sum
from assay.integer.graph import Conv2d, Ints, Linear
from assay.integer.windows import geometry, padded, taps, windows

Array = NDArray[Any]

FLOAT32 = 1 << 24
FLOAT64 = 1 << 53
MAX_PIECES = 4
"""A long sum is cut into so many float32 pieces before float64, at twice the cost of one, is the better choice."""

SCRATCH = 1 << 21
"""Bytes of windows that are copied out at a time, of several pictures: they should stay in the cache."""

SCRATCH_ROWS = 1 << 26
"""Bytes of windows of one picture; a larger one is cut into rows."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """In which type sums are exact, and where they are cut (`None`: not at all)."""

    dtype: type[np.generic]
    cuts: tuple[int, ...] = ()


def planned_product(
    node: Conv2d | Linear, given: Bound, bound: Bound
) -> Callable[[list[Array], bool], tuple[Array, int]]:
    """The step for one convolution or linear layer."""
    how = arithmetic(node, given)
    if how is None or bound.wraps:
        heaviest = int(np.abs(node.weight).reshape(len(node.weight), -1).sum(1).max())
        wide = {t: _product(node, Arithmetic(t)) for t in (np.float64, np.int64)}
        dispatch = lambda limb: wide[limb.dtype.type](limb)  # noqa: E731
        return lambda xs, free: modular.weighted(xs[0].astype(np.int64, copy=False), node.bias, dispatch, heaviest)
    multiply = _product(node, how)

    def step(xs: list[Array], free: bool) -> tuple[Array, int]:
        y = multiply(xs[0].astype(how.dtype, copy=False))
        y += node.bias.astype(y.dtype)
        return y, 0

    return step


def arithmetic(node: Conv2d | Linear, given: Bound) -> Arithmetic | None:
    """The cheapest exact way to sum; None if even float64 could round."""
    groups = node.groups if isinstance(node, Conv2d) else 1
    weight = node.weight.reshape(*node.weight.shape[:2], -1)
    low, high = weighted_sum(weight, given, groups)
    reach = int((np.maximum(-low, high) + np.abs(node.bias.astype(object))).max())
    if reach <= FLOAT32:
        return Arithmetic(np.float32)
    if reach > FLOAT64:
        return None
    cuts = _cuts(weight, given) if groups == 1 else None
    return Arithmetic(np.float64) if cuts is None else Arithmetic(np.float32, cuts)


def _cuts(weight: Ints, given: Bound) -> tuple[int, ...] | None:
    """Where to cut the sum, taps slowest, so that each piece stays within 2^24; None if that takes too many pieces."""
    magnitude = np.maximum(-given.low, given.high).astype(np.float64)
    terms = (np.abs(weight) * magnitude[:, None]).transpose(0, 2, 1).reshape(len(weight), -1)  # out, taps · in
    cuts, start = [0], 0
    while start < terms.shape[1]:
        sums = terms[:, start:].cumsum(1).max(0)  # exact below 2^53, and only compared with 2^24
        fits = int(np.searchsorted(sums, FLOAT32, side="right"))
        if fits == 0 or len(cuts) > MAX_PIECES:
            return None
        start += fits
        cuts.append(start)
    return tuple(cuts)


def _product(node: Conv2d | Linear, how: Arithmetic) -> Callable[[Array], Array]:
    """x → weight · x, without bias. `x` has the type `how.dtype`, `n h w c` or `n k`."""
    if isinstance(node, Linear):
        matrix = np.ascontiguousarray(node.weight.T.astype(how.dtype))
        return lambda x: _multiplied(x, matrix, how.cuts)
    out, inner, kh, kw = node.weight.shape
    if inner == 1 and out == node.groups and not how.cuts:
        weights = node.weight.reshape(out, kh * kw).T.astype(how.dtype)  # taps, channels
        return lambda x: _depthwise(x, node, weights)
    matrices = node.weight.astype(how.dtype).reshape(node.groups, out // node.groups, inner, kh * kw)
    matrices = np.ascontiguousarray(matrices.transpose(0, 3, 2, 1).reshape(node.groups, kh * kw * inner, -1))
    if inner == node.groups == 1 and not how.cuts:
        return lambda x: _of_one_channel(x, node, matrices[0])
    return lambda x: _correlated(x, node, matrices, how.cuts)


def _multiplied(rows: Array, matrix: Array, cuts: tuple[int, ...]) -> Array:
    if not cuts:
        found: Array = rows @ matrix
        return found
    total: Array = np.zeros((len(rows), matrix.shape[1]))
    for start, stop in pairwise(cuts):
        total += rows[:, start:stop] @ matrix[start:stop]
    return total


def _depthwise(x: Array, node: Conv2d, weights: Array) -> Array:
    parts = zip(taps(x, node, 0), weights, strict=True)
    part, weight = next(parts)
    total: Array = part * weight
    for part, weight in parts:
        total += part * weight
    return total


def _of_one_channel(x: Array, node: Conv2d, matrix: Array) -> Array:
    """Windows as columns of a matrix, a few pictures at a time: of one channel, rows of pixels are contiguous."""
    view = windows(padded(x, node.padding, 0), *geometry(node))[..., 0].transpose(3, 4, 0, 1, 2)
    n, rows, columns = view.shape[2:]
    terms, out = matrix.shape
    picture_bytes = rows * columns * terms * x.itemsize
    if picture_bytes > SCRATCH_ROWS:
        return _correlated(x, node, matrix[None], ())
    y = np.empty((n, rows, columns, out), x.dtype)
    size = max(1, min(n, SCRATCH // picture_bytes))
    for first in range(0, n, size):
        here = view[:, :, first : first + size]
        copied = _scratch(here.shape, x.dtype)
        np.copyto(copied, here)
        found = matrix.T @ copied.reshape(terms, -1)
        y[first : first + size] = found.reshape(out, *here.shape[2:]).transpose(1, 2, 3, 0)
    return y


def _correlated(x: Array, node: Conv2d, matrices: Array, cuts: tuple[int, ...]) -> Array:
    """Windows as rows of a matrix, a few pictures or rows at a time, times the weights of each group."""
    groups, terms, out = matrices.shape
    view = windows(padded(x, node.padding, 0), *geometry(node))
    n, rows, columns, kh, kw, channels = view.shape
    inner = channels // groups
    y = np.empty((n, rows, columns, groups * out), np.float64 if cuts else x.dtype)
    row_bytes = columns * terms * x.itemsize
    height = min(rows, max(1, SCRATCH_ROWS // row_bytes))
    size = max(1, min(n, SCRATCH // (height * row_bytes)))
    scratch = _scratch((size, height, columns, kh, kw, inner), x.dtype)
    for first, top, g in product(range(0, n, size), range(0, rows, height), range(groups)):
        place = (slice(first, first + size), slice(top, top + height))
        windows_here = view[(*place, ..., slice(g * inner, (g + 1) * inner))]
        copied = scratch[: windows_here.shape[0], : windows_here.shape[1]]
        np.copyto(copied, windows_here)
        found = y[(*place, ..., slice(g * out, (g + 1) * out))]
        if found.flags.c_contiguous and not cuts:
            np.matmul(copied.reshape(-1, terms), matrices[g], out=found.reshape(-1, out))
        else:
            found[...] = _multiplied(copied.reshape(-1, terms), matrices[g], cuts).reshape(found.shape)
    return y


class _Kept(local):
    """Memory of this thread that convolutions use one after the other: new pages for each cost as much as the copy."""

    block = np.zeros(0, np.uint8)


_KEPT = _Kept()


def _scratch(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = prod(shape) * dtype.itemsize
    if size > _KEPT.block.size:
        _KEPT.block = np.empty(size, np.uint8)
    return _KEPT.block[:size].view(dtype).reshape(shape)

"""Multilinear extensions of tables: equality polynomials, evaluation, binding of variables.

The extension of a table t of 2**n values is the one polynomial t̃ of degree at most 1 in each of n variables that agrees
with t on {0,1}**n. Points list the slowest variable first. Tables may be shorter than 2**n: what is missing is zero,
and costs nothing. Source: Thaler, "Proofs, Arguments, and Zero-Knowledge" (2022), section 3.5.

A tensor is padded axis by axis to powers of two, so a point is a list of variables per axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.kernels import kernel
from assay.proof.field import (
    ONE,
    ZERO,
    Element,
    P,
    Words,
    add,
    dot,
    ext_mul,
    from_integers,
    mul,
    pack,
    sub,
    unpack,
)

Point = Sequence[Element]
"""One challenge a variable, slowest variable first."""

_LIMB = np.uint64(31)
_LOW = np.uint64((1 << 31) - 1)
_CHUNK = 1 << 16
"""Rows between two reductions: 16 bits of value, 31 of limb and 2**16 summands stay below 2**63."""


def variables(size: int) -> int:
    """Number of variables of an axis of `size` ≥ 1 entries."""
    return (size - 1).bit_length()


def eq(a: Point, b: Point) -> Element:
    """eq(a, b) = Π (a·b + (1 − a)(1 − b)): on {0,1}**n, 1 where a = b and 0 elsewhere."""
    product = ONE
    for x, y in zip(a, b, strict=True):
        both = x * y
        product = product * (both + both - x - y + 1)
    return product


def at(point: Point, index: int) -> Element:
    """eq(point, the bits of `index`), slowest first."""
    product = ONE
    for k, r in enumerate(reversed(point)):
        product = product * (r if index >> k & 1 else 1 - r)
    return product


def below(point: Point, count: int) -> Element:
    """Σ_{j < count} eq(point, j): the extension of "is inside an axis of `count` entries". Cost: O(n)."""
    if count >> len(point):
        return ONE
    total, prefix = ZERO, ONE
    for k, r in enumerate(point):
        bit = count >> (len(point) - 1 - k) & 1
        if bit:
            total = total + prefix * (1 - r)
        prefix = prefix * (r if bit else 1 - r)
    return total


def index_sum(point: Point, count: int) -> Element:
    """Σ_{j < count} j · eq(point, j): the extension of "the index, inside `count` entries". Cost: O(n²)."""
    if count >> len(point):
        return _all_indices(point)
    total, prefix, start = ZERO, ONE, 0
    for k, r in enumerate(point):
        width = len(point) - 1 - k
        if count >> width & 1:
            # the block of indices start … start + 2**width − 1
            total = total + prefix * (1 - r) * (_all_indices(point[k + 1 :]) + start)
            prefix, start = prefix * r, start + (1 << width)
        else:
            prefix = prefix * (1 - r)
    return total


def _all_indices(point: Point) -> Element:
    total = ZERO
    for r in point:
        total = total + total + r
    return total


@kernel
def _eq_table(point: Words) -> Words:
    n = len(point)
    out = np.empty((1 << n, 2), np.uint64)
    out[0, 0], out[0, 1] = 1, 0
    for k in range(n):
        r0, r1 = point[k, 0], point[k, 1]
        for i in range((1 << k) - 1, -1, -1):
            re, im = out[i, 0], out[i, 1]
            high_re, high_im = ext_mul(re, im, r0, r1)
            out[2 * i + 1, 0], out[2 * i + 1, 1] = high_re, high_im
            out[2 * i, 0], out[2 * i, 1] = sub(re, high_re), sub(im, high_im)
    return out


def eq_table(point: Point) -> Words:
    """eq(point, j) for all j in [0, 2**n), shape (2**n, 2). Cost: 2**n multiplications."""
    table: Words = _eq_table(pack(list(point)))
    return table


@kernel
def fold(table: Words, r: Words) -> Words:
    """Bind the fastest variable to `r`: t[i] ← t[2i] + r (t[2i + 1] − t[2i]); from (n, 2) to (⌈n/2⌉, 2)."""
    half = (len(table) + 1) // 2
    out = np.empty((half, 2), np.uint64)
    for i in range(half):
        a0, a1 = table[2 * i, 0], table[2 * i, 1]
        b0, b1 = np.uint64(0), np.uint64(0)
        if 2 * i + 1 < len(table):
            b0, b1 = table[2 * i + 1, 0], table[2 * i + 1, 1]
        d0, d1 = ext_mul(sub(b0, a0), sub(b1, a1), r[0], r[1])
        out[i, 0], out[i, 1] = add(a0, d0), add(a1, d1)
    return out


def evaluate(table: Words, point: Point) -> Element:
    """t̃(point) for a table (n, 2) of at most 2**len(point) values."""
    return unpack(dot(table, eq_table(point)))[0]


Narrow = NDArray[Any]
"""Whole numbers as int8 or int16 where they fit, else canonical uint64 words of F_p."""


def narrow(values: NDArray[Any]) -> Narrow:
    """The smallest of the types that the binding kernels take; shape kept, contiguous.

    The kernels multiply narrow numbers by limbs of 31 bits, eight at a time, which is several times faster than
    products in the field.
    """
    if values.dtype in (np.int8, np.int16, np.uint64):
        return np.ascontiguousarray(values)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low >= -128 and high <= 127:
        return np.ascontiguousarray(values, np.int8)
    if low >= -(1 << 15) and high < 1 << 15:
        return np.ascontiguousarray(values, np.int16)
    return from_integers(values).reshape(values.shape)


@kernel
def _recombine(low: int, high: int) -> Any:
    """low + 2**31 · high in F_p, for |low|, |high| < 2**63."""
    p = np.int64(P)
    return add(np.uint64(low % p), mul(np.uint64(high % p), np.uint64(1 << 31)))


@kernel
def _limbs(weights: Words) -> NDArray[np.int32]:
    out = np.empty((len(weights), 4), np.int32)
    for k in range(len(weights)):
        for part in range(2):
            out[k, 2 * part] = np.int32(weights[k, part] & _LOW)
            out[k, 2 * part + 1] = np.int32(weights[k, part] >> _LIMB)
    return out


@kernel
def _combine_narrow(values: Narrow, limbs: NDArray[np.int32], out: Words) -> None:
    rows, columns = values.shape
    sums = np.empty((4, columns), np.int64)
    for start in range(0, rows, _CHUNK):
        sums[:] = 0
        for r in range(start, min(rows, start + _CHUNK)):
            e0, e1, e2, e3 = limbs[r, 0], limbs[r, 1], limbs[r, 2], limbs[r, 3]
            for c in range(columns):
                v = np.int64(values[r, c])
                sums[0, c] += v * np.int64(e0)
                sums[1, c] += v * np.int64(e1)
                sums[2, c] += v * np.int64(e2)
                sums[3, c] += v * np.int64(e3)
        for c in range(columns):
            out[c, 0] = add(out[c, 0], _recombine(sums[0, c], sums[1, c]))
            out[c, 1] = add(out[c, 1], _recombine(sums[2, c], sums[3, c]))


@kernel
def _contract_narrow(values: Narrow, limbs: NDArray[np.int32], out: Words) -> None:
    rows, columns = values.shape
    for r in range(rows):
        for start in range(0, columns, _CHUNK):
            s0, s1, s2, s3 = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            for c in range(start, min(columns, start + _CHUNK)):
                v = np.int64(values[r, c])
                s0 += v * np.int64(limbs[c, 0])
                s1 += v * np.int64(limbs[c, 1])
                s2 += v * np.int64(limbs[c, 2])
                s3 += v * np.int64(limbs[c, 3])
            out[r, 0] = add(out[r, 0], _recombine(s0, s1))
            out[r, 1] = add(out[r, 1], _recombine(s2, s3))


@kernel
def _combine_words(values: Words, weights: Words, out: Words) -> None:
    rows, columns = values.shape
    for r in range(rows):
        e0, e1 = weights[r, 0], weights[r, 1]
        for c in range(columns):
            out[c, 0] = add(out[c, 0], mul(values[r, c], e0))
            out[c, 1] = add(out[c, 1], mul(values[r, c], e1))


@kernel
def _contract_words(values: Words, weights: Words, out: Words) -> None:
    rows, columns = values.shape
    for r in range(rows):
        for c in range(columns):
            out[r, 0] = add(out[r, 0], mul(values[r, c], weights[c, 0]))
            out[r, 1] = add(out[r, 1], mul(values[r, c], weights[c, 1]))


def combine(values: NDArray[Any], weights: Words) -> Words:
    """Σ_r weights[r] · values[r, :], from whole numbers or F_p (rows, columns) to F_p² (columns, 2).

    `weights` may be longer than there are rows; the rows that are missing are zero.
    """
    table = narrow(values)
    out = np.zeros((table.shape[1], 2), np.uint64)
    weights = weights[: len(table)]
    if table.dtype == np.uint64:
        _combine_words(table, weights, out)
    else:
        _combine_narrow(table, _limbs(weights), out)
    return out


def contract(values: NDArray[Any], weights: Words) -> Words:
    """Σ_c weights[c] · values[:, c], from (rows, columns) to (rows, 2); `weights` may be longer."""
    table = narrow(values)
    out = np.zeros((len(table), 2), np.uint64)
    weights = weights[: table.shape[1]]
    if table.dtype == np.uint64:
        _contract_words(table, weights, out)
    else:
        _contract_narrow(table, _limbs(weights), out)
    return out


def split(point: Point, shape: Sequence[int]) -> list[list[Element]]:
    """The variables of each axis of a tensor of this shape; `point` has exactly as many."""
    parts, start = [], 0
    for size in shape:
        parts.append(list(point[start : start + variables(size)]))
        start += variables(size)
    return parts


def tensor_at(values: NDArray[Any], point: Point) -> Element:
    """The extension of a tensor, each axis padded to a power of two, at `point`. Cost: O(number of values)."""
    parts = split(point, values.shape)
    table = combine(values.reshape(values.shape[0], -1), eq_table(parts[0]))
    for size, part in zip(values.shape[1:], parts[1:], strict=True):
        table = combine_elements(table.reshape(size, -1, 2), eq_table(part))
    return unpack(table)[0]


@kernel
def _combine_elements(table: Words, weights: Words, out: Words) -> None:
    for r in range(table.shape[0]):
        e0, e1 = weights[r, 0], weights[r, 1]
        for c in range(table.shape[1]):
            x, y = ext_mul(table[r, c, 0], table[r, c, 1], e0, e1)
            out[c, 0], out[c, 1] = add(out[c, 0], x), add(out[c, 1], y)


def combine_elements(table: Words, weights: Words) -> Words:
    """Σ_r weights[r] · table[r, :] in F_p², from (rows, columns, 2) to (columns, 2)."""
    out = np.zeros((table.shape[1], 2), np.uint64)
    _combine_elements(np.ascontiguousarray(table), weights, out)
    return out


def outer(a: Words, b: Words) -> Words:
    """All products a[i]·b[j] in F_p², i slowest: (m, 2) and (n, 2) to (m·n, 2)."""
    out = np.zeros((len(a) * len(b), 2), np.uint64)
    _outer(a, b, out)
    return out


@kernel
def _outer(a: Words, b: Words, out: Words) -> None:
    for i in range(len(a)):
        for j in range(len(b)):
            k = i * len(b) + j
            out[k, 0], out[k, 1] = ext_mul(a[i, 0], a[i, 1], b[j, 0], b[j, 1])


def pad_axes(table: Words, shape: Sequence[int]) -> Words:
    """A tensor of F_p² elements (Π shape, 2), each axis padded with zeros to a power of two."""
    padded = np.zeros((*(1 << variables(size) for size in shape), 2), np.uint64)
    padded[tuple(slice(size) for size in shape)] = table.reshape(*shape, 2)
    return padded.reshape(-1, 2)

"""Reed–Solomon encoding at rate 1/4 over F_p², by a radix-2 number-theoretic transform.

A message of C = 2**c elements is a polynomial of degree below C, its codeword the values at all N = 4C roots of unity
of order N, in the order that the transform leaves them (`position_root`). Two of them differ in 3C + 1 places or more.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from assay.kernels import kernel
from assay.proof.field import Element, Words, add, ext_mul, pack, root_of_unity, sub

EXPANSION_BITS = 2
"""Rate 2**−2."""

LANES = 4
"""Rows that are transformed together: one twiddle serves four butterflies, and columns are written by the line."""


@kernel
def _powers(root: Words, count: int) -> Words:
    out = np.empty((count, 2), np.uint64)
    re, im = np.uint64(1), np.uint64(0)
    for k in range(count):
        out[k, 0], out[k, 1] = re, im
        re, im = ext_mul(re, im, root[0], root[1])
    return out


@lru_cache(maxsize=8)
def _tables(bits: int) -> tuple[Words, Words]:
    """Powers of the root of order 2**bits (half of them), and of the root of order 2**(bits + 2), for the cosets."""
    size = 1 << bits
    twiddles = _powers(pack([root_of_unity(bits)])[0], max(1, size // 2))
    return twiddles, _powers(pack([root_of_unity(bits + EXPANSION_BITS)])[0], size << EXPANSION_BITS)


@kernel
def _transform(work: Words, twiddles: Words) -> None:
    """In place on (size, LANES, 2): decimation in frequency, results in bit-reversed order."""
    half = len(work) // 2
    while half:
        step = len(work) // (2 * half)
        for start in range(0, len(work), 2 * half):
            for k in range(half):
                w0, w1 = twiddles[k * step, 0], twiddles[k * step, 1]
                i, j = start + k, start + k + half
                for lane in range(LANES):
                    a0, a1, b0, b1 = work[i, lane, 0], work[i, lane, 1], work[j, lane, 0], work[j, lane, 1]
                    work[i, lane, 0], work[i, lane, 1] = add(a0, b0), add(a1, b1)
                    work[j, lane, 0], work[j, lane, 1] = ext_mul(sub(a0, b0), sub(a1, b1), w0, w1)
        half //= 2


@kernel
def _encode(messages: Words, twiddles: Words, shifts: Words, first: int, last: int, out: Words) -> None:
    """Rows first … last − 1 of (rows, 2, C), real parts before imaginary ones, into columns (4C, rows, 2)."""
    size = messages.shape[2]
    work = np.empty((size, LANES, 2), np.uint64)
    for row in range(first, last, LANES):
        lanes = min(LANES, last - row)
        for coset in range(1 << EXPANSION_BITS):
            for k in range(size):
                w0, w1 = shifts[coset * k, 0], shifts[coset * k, 1]
                for lane in range(LANES):
                    if lane < lanes:
                        a0, a1 = messages[row + lane, 0, k], messages[row + lane, 1, k]
                        work[k, lane, 0], work[k, lane, 1] = ext_mul(a0, a1, w0, w1)
                    else:
                        work[k, lane, 0], work[k, lane, 1] = np.uint64(0), np.uint64(0)
            _transform(work, twiddles)
            for k in range(size):
                for lane in range(lanes):
                    out[coset * size + k, row + lane, 0] = work[k, lane, 0]
                    out[coset * size + k, row + lane, 1] = work[k, lane, 1]


def encode(messages: Words) -> Words:
    """Codewords of `rows` messages, as columns: from (rows, 2, C), parts apart, to (4C, rows, 2).

    Cost: about (log₂C + 1)/2 · 4C multiplications in F_p² a row.
    """
    rows, _, size = messages.shape
    out = np.empty((size << EXPANSION_BITS, rows, 2), np.uint64)
    twiddles, shifts = _tables(size.bit_length() - 1)
    _encode(messages, twiddles, shifts, 0, rows, out)
    return out


def encode_one(message: Words) -> Words:
    """The codeword of one message of elements: from (C, 2) to (4C, 2)."""
    return encode(np.ascontiguousarray(message.T)[None])[:, 0]


def position_root(position: int, bits: int) -> Element:
    """The root of unity at which `position` of a codeword of 4·2**bits elements is the value."""
    coset, k = position >> bits, position & ((1 << bits) - 1)
    reverse = int(format(k, f"0{bits}b")[::-1], 2) if bits else 0
    return root_of_unity(bits + EXPANSION_BITS) ** coset * root_of_unity(bits) ** reverse

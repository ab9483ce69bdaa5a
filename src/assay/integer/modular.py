"""Exact sums and products of field values in numpy, carried in two limbs, so that a wrap is seen when it happens.

A field value is an int64 in [-LARGEST, LARGEST]. Every function returns the field value of the true integer, and how
many of the true integers had no representative of their own, that is, wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from assay.integer.graph import LARGEST, Ints, P

LIMB = 30
"""Bits of the lower limb. A value is upper · 2^30 + lower, 0 <= lower < 2^30, |upper| <= 2^30."""

Floats = NDArray[np.float64]


def limbs(x: Ints) -> tuple[Ints, Ints]:
    """Upper and lower limb."""
    return x >> LIMB, x & ((1 << LIMB) - 1)


def field_value(upper: Ints, lower: Ints) -> tuple[Ints, int]:
    """upper · 2^30 + lower as a field value. Both limbs may be any int64 with |upper + (lower >> 30)| < 2^63."""
    upper = upper + (lower >> LIMB)
    lower = lower & ((1 << LIMB) - 1)
    edge = 1 << LIMB
    outside = (upper >= edge) | (upper < -edge) | ((upper == -edge) & (lower == 0))
    # upper = h · 2^31 + l, and 2^61 = 1 mod P, so upper · 2^30 = h + l · 2^30.
    value = (upper >> 31) + ((upper & ((1 << 31) - 1)) << LIMB) + lower
    return centred(value), int(outside.sum())


def centred(value: Ints) -> Ints:
    """Bring values in (-2^33, 2^61 + 2^33) to [-LARGEST, LARGEST]."""
    return np.where(value > LARGEST, value - P, value)


def weighted(x: Ints, bias: Ints, product: Callable[[Ints | Floats], Ints | Floats], heaviest: int) -> tuple[Ints, int]:
    """product(x) + bias, where `product` is linear with weights that add up to at most `heaviest` for one output.

    `product` is given float64 limbs where no sum can round (weights below 2^23 in all), int64 limbs otherwise.
    """
    exact_in_float = heaviest <= 1 << (53 - LIMB)
    parts = []
    for limb, b in zip(limbs(x), limbs(bias), strict=True):
        given = limb.astype(np.float64) if exact_in_float else limb
        parts.append(product(given).astype(np.int64) + b)
    return field_value(parts[0], parts[1])


def added(terms: Sequence[Ints], shifts: Sequence[int]) -> tuple[Ints, int]:
    """Σ 2^shift · term, for shifts of at most 30 bits and at most 2^20 terms (fewer bits, more terms)."""
    upper = sum(((t >> LIMB) << s for t, s in zip(terms, shifts, strict=True)), start=np.zeros_like(terms[0]))
    lower = sum(
        ((t & ((1 << LIMB) - 1)) << s for t, s in zip(terms, shifts, strict=True)), start=np.zeros_like(terms[0])
    )
    return field_value(upper, lower)


def squared(x: Ints) -> tuple[Ints, int]:
    """x². It wraps from |x| = 2^30 on."""
    x = np.abs(x)
    outside = x >= 1 << 30
    if not outside.any():
        return x * x, 0
    a, b = x >> 31, x & ((1 << 31) - 1)
    mixed = a * b
    # x² = 2 a² · 2^61 + ab · 2^32 + b²; ab = h · 2^29 + l, so ab · 2^32 = h + l · 2^32 mod P. All below 2^63.
    total = 2 * a * a + (mixed >> 29) + ((mixed & ((1 << 29) - 1)) << 32) + b * b
    return centred((total & P) + (total >> 61)), int(outside.sum())

"""Bit planes, and ring elements without the bits that are not wanted: how arrays look on the wire.

A bit plane is an array of 64-bit words: bit j of word w belongs to value 64·w + j. All integers are little-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.private.channel import Bytes
from assay.private.ntt import Words
from assay.private.words import pack, unpack

Bits = NDArray[np.uint8]
"""Zeros and ones."""


def plane_words(count: int) -> int:
    """Words of a bit plane for so many values."""
    return -(-count // 64)


def bits_of(planes: Words, count: int | None = None) -> Bits:
    """(…, words) → (…, count): the bits of each plane; all of them if no count is given."""
    return np.unpackbits(np.ascontiguousarray(planes).view(np.uint8), axis=-1, count=count, bitorder="little")


def planes_of(bits: NDArray[Any]) -> Words:
    """(…, count) → (…, words): zeros fill the last word."""
    count = bits.shape[-1]
    packed = np.zeros((*bits.shape[:-1], 8 * plane_words(count)), np.uint8)
    packed[..., : -(-count // 8)] = np.packbits(bits, axis=-1, bitorder="little")
    return packed.view(np.uint64)


def packed_words(values: NDArray[Any], bits: int) -> Bytes:
    """The lowest bits of integers, end to end; nothing above them is sent."""
    return pack(values.astype(np.uint64) & np.uint64((1 << bits) - 1), bits)


def unpacked_words(said: Bytes, count: int, bits: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """The integers again, in one row."""
    read: NDArray[Any] = unpack(said, count, bits).astype(dtype)
    return read

"""Bits in words, and ring elements in as few bytes as hold them: how arrays look on the wire.

A bit plane is an array of 64-bit words: bit j of word w belongs to value 64·w + j. All integers are little-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.private.aes import Words

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


def word_bytes(bits: int) -> int:
    """Bytes of a number of so many bits on the wire."""
    return -(-bits // 8)


def packed_words(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Integers → their lowest bytes, as many as `bits` need. Nothing above `bits` is sent."""
    kept = np.ascontiguousarray(values & values.dtype.type((1 << bits) - 1))
    return kept.view(np.uint8).reshape(-1, kept.itemsize)[:, : word_bytes(bits)]


def unpacked_words(said: NDArray[np.uint8], bits: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """The integers again, in one row; bits that should not be there are dropped."""
    words = np.zeros((said.size // word_bytes(bits), np.dtype(dtype).itemsize), np.uint8)
    words[:, : word_bytes(bits)] = said.reshape(-1, word_bytes(bits))
    read: NDArray[Any] = words.view(dtype).ravel() & dtype((1 << bits) - 1)
    return read

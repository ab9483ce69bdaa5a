"""Words on the wire, without the bits that are always zero; and words that nobody can guess."""

from __future__ import annotations

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from assay.kernels import kernel
from assay.private.channel import Bytes
from assay.private.ntt import Words


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` words of `bits` bits."""
    return -(-count * bits // 8)


def pack(words: Words, bits: int) -> Bytes:
    """Words below 2^bits, bits from 1 to 64, end to end, lowest bit first."""
    stream = np.zeros(-(-words.size * bits // 64) + 1, np.uint64)
    _pack(np.ascontiguousarray(words).reshape(-1), np.uint64(bits), stream)
    return stream.astype("<u8", copy=False).view(np.uint8)[: packed_size(words.size, bits)]


def unpack(data: Bytes, count: int, bits: int) -> Words:
    """What `pack` wrote.

    Raises:
        ValueError: if the data are not of that size.
    """
    if data.size != packed_size(count, bits):
        raise ValueError(f"{count} words of {bits} bits take {packed_size(count, bits)} bytes, got {data.size}")
    stream = np.zeros(-(-count * bits // 64) + 1, np.uint64)
    stream.view(np.uint8)[: data.size] = data
    words = np.empty(count, np.uint64)
    _unpack(stream.astype("<u8", copy=False), np.uint64(bits), words)
    return words


@kernel
def _pack(words, bits, stream):  # type: ignore[no-untyped-def]
    place = np.uint64(0)
    for i in range(len(words)):
        index, shift = place >> np.uint64(6), place & np.uint64(63)
        stream[index] |= words[i] << shift
        if shift + bits > np.uint64(64):
            stream[index + np.uint64(1)] |= words[i] >> (np.uint64(64) - shift)
        place += bits


@kernel
def _unpack(stream, bits, words):  # type: ignore[no-untyped-def]
    place = np.uint64(0)
    mask = ~np.uint64(0) >> (np.uint64(64) - bits)
    for i in range(len(words)):
        index, shift = place >> np.uint64(6), place & np.uint64(63)
        word = stream[index] >> shift
        if shift + bits > np.uint64(64):
            word |= stream[index + np.uint64(1)] << (np.uint64(64) - shift)
        words[i] = word & mask
        place += bits


def fresh_words(count: int) -> Words:
    """Uniform words: a key from the operating system, expanded by AES-256 in counter mode. Never the same twice."""
    encryptor = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(encryptor.update(bytes(8 * count)), np.uint64)

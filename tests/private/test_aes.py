"""AES and what is built on it: kernels against the `cryptography` package, and against the hash written plainly."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from assay.private.aes import HARDWARE, Permutation, Streams
from assay.private.words import fresh_words

KEY = bytes(range(16))
WAYS = [pytest.param(True, marks=pytest.mark.skipif(not HARDWARE, reason="no AES instructions here")), False]


def encrypted(block: bytes, key: bytes = KEY) -> bytes:
    return Cipher(algorithms.AES128(key), modes.ECB()).encryptor().update(block)


def xor(*blocks: bytes) -> bytes:
    return np.bitwise_xor.reduce([np.frombuffer(b, np.uint8) for b in blocks]).tobytes()


def plain_hash(x: bytes, tweak: int, domain: int) -> bytes:
    """H(x, i) = π(π(x) ⊕ i) ⊕ π(x), in bytes."""
    inner = encrypted(x)
    label = tweak.to_bytes(8, "little") + domain.to_bytes(8, "little")
    return xor(encrypted(xor(inner, label)), inner)


def blocks_of(count: int) -> np.ndarray:
    return fresh_words(2 * count).reshape(count, 2)


@pytest.mark.parametrize("hardware", WAYS)
@pytest.mark.parametrize("count", [1, 7, 8, 16, 37])
def test_every_block_is_encrypted_as_the_standard_says(hardware: bool, count: int) -> None:
    blocks = blocks_of(count)
    done = blocks.copy()
    Permutation(KEY, hardware).permute(done)
    assert done.tobytes() == b"".join(encrypted(block.tobytes()) for block in blocks)


@pytest.mark.parametrize("hardware", WAYS)
@pytest.mark.parametrize("count", [1, 16, 45])
def test_the_hash_is_the_papers(hardware: bool, count: int) -> None:
    x, tweaks = blocks_of(count), fresh_words(count)
    done = x.copy()
    Permutation(KEY, hardware).hash(done, 5, tweaks)
    assert done.tobytes() == b"".join(
        plain_hash(block.tobytes(), int(t), 5) for block, t in zip(x, tweaks, strict=True)
    )


@pytest.mark.parametrize("hardware", WAYS)
def test_streams_go_on_where_they_ended_and_are_counter_mode(hardware: bool) -> None:
    keys = fresh_words(6).view(np.uint8).reshape(3, 16)
    streams = Streams(keys, hardware)
    drawn = np.concatenate([streams.draw(5), streams.draw(2), streams.draw(20)], axis=1)
    for key, row in zip(keys, drawn, strict=True):
        counters = [i.to_bytes(16, "little") for i in range(27)]
        assert row.tobytes() == b"".join(encrypted(c, key.tobytes()) for c in counters)


def test_two_sources_of_randomness_differ_and_look_uniform() -> None:
    one, other = fresh_words(4096), fresh_words(4096)
    assert not np.intersect1d(one, other).size
    ones = int(np.bitwise_count(one).sum())
    assert abs(ones - 4096 * 32) < 6 * (4096 * 16) ** 0.5

"""What is put on the wire comes off it again, in as few bytes as said."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.private.wire import bits_of, packed_words, plane_words, planes_of, unpacked_words, word_bytes


@given(st.lists(st.lists(st.integers(0, 1), min_size=70, max_size=70), min_size=1, max_size=3), st.integers(0, 70))
def test_planes_hold_their_bits_lowest_first(rows: list[list[int]], count: int) -> None:
    bits = np.array(rows, np.uint8)[:, :count]
    planes = planes_of(bits)
    assert planes.shape == (len(rows), plane_words(count))
    assert (bits_of(planes, count) == bits).all()
    for row, plane in zip(bits.tolist(), planes, strict=True):
        assert sum(int(word) << 64 * i for i, word in enumerate(plane)) == sum(b << i for i, b in enumerate(row))


@given(st.integers(1, 48), st.lists(st.integers(0, 2**64 - 1), max_size=9))
def test_words_take_whole_bytes_and_lose_what_is_above(bits: int, values: list[int]) -> None:
    dtype = np.uint32 if bits <= 32 else np.uint64
    words = np.array([v & (2**32 - 1) for v in values] if bits <= 32 else values, dtype)
    packed = packed_words(words, bits)
    assert packed.nbytes == len(values) * word_bytes(bits) == len(values) * -(-bits // 8)
    assert unpacked_words(packed.ravel(), bits, dtype).tolist() == [v % 2**bits for v in words.tolist()]


@given(st.binary(min_size=6, max_size=6))
def test_bits_that_should_not_be_there_are_dropped(said: bytes) -> None:
    assert unpacked_words(np.frombuffer(said, np.uint8), 20, np.uint32).max() < 1 << 20

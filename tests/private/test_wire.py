"""What is put on the wire comes off it again, in as few bytes as said."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.private.wire import bits_of, packed_words, plane_words, planes_of, unpacked_words


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=70, max_size=70), min_size=1, max_size=3), st.integers(0, 70))
def test_planes_hold_their_bits_lowest_first(rows: list[list[int]], count: int) -> None:
    bits = np.array(rows, np.uint8)[:, :count]
    planes = planes_of(bits)
    assert planes.shape == (len(rows), plane_words(count))
    assert (bits_of(planes, count) == bits).all()
    for row, plane in zip(bits.tolist(), planes, strict=True):
        assert sum(int(word) << 64 * i for i, word in enumerate(plane)) == sum(b << i for i, b in enumerate(row))


@settings(deadline=None)
@given(st.integers(1, 48), st.lists(st.integers(0, 2**64 - 1), max_size=9))
def test_words_take_no_more_bits_than_said_and_lose_what_is_above(bits: int, values: list[int]) -> None:
    dtype = np.uint32 if bits <= 32 else np.uint64
    words = np.array([v & (2**32 - 1) for v in values] if bits <= 32 else values, dtype)
    packed = packed_words(words, bits)
    assert packed.nbytes == -(-len(values) * bits // 8)
    assert unpacked_words(packed, len(values), bits, dtype).tolist() == [v % 2**bits for v in words.tolist()]

"""Words lose no bit on the wire, and those that are drawn look drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.private.words import fresh_words, pack, packed_size, unpack


@settings(deadline=None)
@given(st.integers(1, 64), st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_words_come_back_as_they_were(bits: int, values: list[int]) -> None:
    words = np.array([v % 2**bits for v in values], np.uint64)
    data = pack(words, bits)
    assert data.size == packed_size(len(words), bits)
    assert int.from_bytes(data.tobytes(), "little") == sum(int(w) << (bits * i) for i, w in enumerate(words))
    assert (unpack(data, len(words), bits) == words).all()


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="take 15 bytes, got 16"):
        unpack(np.zeros(16, np.uint8), 2, 60)


def test_fresh_words_are_never_the_same() -> None:
    assert len(np.unique(np.concatenate([fresh_words(1000), fresh_words(1000)]))) == 2000
    assert fresh_words(0).size == 0

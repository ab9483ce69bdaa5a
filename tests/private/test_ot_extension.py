"""SoftSpokenOT: w = v + u·Δ for bits and for digits, in both fields, over several calls; moves of bits are exact."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assay.private import ot_extension as extension
from assay.private.channel import pair
from assay.private.wire import bits_of
from assay.private.words import fresh_words

SESSION = b"a session of tests"


def set_up(field: int):  # type: ignore[no-untyped-def]
    one, other = pair()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(extension.sender, one, SESSION, field)
        receiver = extension.receiver(other, SESSION, field)
        return one, other, sending.result(), receiver


def lanes(rows: np.ndarray, field: int) -> np.ndarray:
    """128 bits → 128/f numbers below 2^f."""
    data = rows.view(np.uint8)
    return data if field == 8 else np.stack([data & 15, data >> 4], axis=2).reshape(len(data), -1)


@pytest.mark.parametrize("field", [4, 8])
def test_the_sender_has_the_receivers_bits_plus_choice_times_delta(field: int) -> None:
    one, other, sender, receiver = set_up(field)
    for words in (3, 1, 8):
        u, v = receiver.extend(other, words)
        w = sender.extend(one, words)
        choices = bits_of(u)
        v, w = lanes(extension.rows_of(v), field), lanes(extension.rows_of(w), field)
        assert (w == v ^ choices[:, None] * sender.delta).all()
        assert 0 < choices.sum() < len(choices)
    assert sender.used == receiver.used == 64 * 12


@pytest.mark.parametrize("field", [4, 8])
def test_four_transfers_make_one_with_a_digit(field: int) -> None:
    one, other, sender, receiver = set_up(field)
    u, v = receiver.extend(other, 8)
    w = sender.extend(one, 8)
    digits = (bits_of(u).reshape(4, -1) << np.arange(4)[:, None]).sum(axis=0)
    rows = extension.rows_of(extension.digits_of(v, field)) ^ sender.multiples[digits]
    assert (rows == extension.rows_of(extension.digits_of(w, field))).all()
    assert len(np.unique(digits)) == 16
    distances = sender.multiples[:, None] ^ sender.multiples
    assert (distances.any(axis=2) | np.eye(16, dtype=bool)).all()


@pytest.mark.parametrize("field", [4, 8])
def test_multiplication_in_the_field_is_a_group_of_all_but_zero(field: int) -> None:
    for a in range(1, 1 << field):
        assert sorted(extension.times(a, b, field) for b in range(1 << field)) == list(range(1 << field))
    assert extension.times(2, 1 << (field - 1), field) == extension.FIELDS[field] ^ 1 << field


@pytest.mark.parametrize("words", [1, 8, 11])
def test_rows_are_the_planes_turned(words: int) -> None:
    planes = fresh_words(128 * words).reshape(128, words)
    plain = bits_of(planes).T
    assert (bits_of(extension.rows_of(planes)) == plain).all()

"""Bit times word, by transfers: the shares add up to the product, whoever chooses, at every width."""

from __future__ import annotations

import numpy as np
import pytest
from two_parties import both, parties

from assay.private.multiplexer import Direction, choose, offer, signed
from assay.private.ot_store import Demand
from assay.private.ring import Ring
from assay.private.wire import bits_of
from assay.private.words import fresh_words

ROWS, COUNT = 2, 75


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("k,width", [(8, 8), (32, 32), (32, 5), (33, 33), (48, 48), (48, 12)])
def test_the_shares_add_up_to_bit_times_word(direction: Direction, k: int, width: int) -> None:
    ring = Ring(k)
    server, client = parties(ring, Demand(**{direction: ROWS * COUNT}), fresh=False)
    offering, choosing = (server, client) if direction == "down" else (client, server)
    bits = bits_of(fresh_words(2 * ROWS).reshape(ROWS, 2), COUNT)
    words = ring.reduce(fresh_words(ROWS * COUNT).reshape(ROWS, COUNT))

    def work(i: int) -> list[np.ndarray]:
        if i:
            chosen = choose(choosing, direction, bits)
            return [chosen.receive(row, width) for row in range(ROWS)]
        offered = offer(offering, direction, ROWS, COUNT)
        return [offered.send(row, words[row], width) for row in range(ROWS)]

    one, other = (np.stack(shares).astype(object) for shares in both(work))
    assert ((one + other - bits * words.astype(object)) % 2**width == 0).all()
    assert server.store.left == client.store.left == Demand()


def test_a_signed_word_is_the_word_or_its_negative() -> None:
    words = np.array([1, 2, 2**32 - 1, 0], np.uint32)
    assert signed(np.array([0, 1, 1, 1], np.uint8), words).tolist() == [1, 2**32 - 2, 1, 0]

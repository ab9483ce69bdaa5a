"""Truncation is exact for every value that is not negative, however it is shared."""

from __future__ import annotations

import numpy as np
import pytest
from two_parties import both, parties, shared

from assay.private import truncation
from assay.private.multiplexer import choose, offer
from assay.private.ot_store import Demand
from assay.private.ring import Ring
from assay.private.wire import bits_of, planes_of


@pytest.mark.parametrize("k,shift", [(8, 1), (8, 6), (16, 4), (32, 8), (32, 16), (33, 9), (48, 16)])
def test_the_shares_add_up_to_the_shifted_value(k: int, shift: int) -> None:
    ring, top = Ring(k), 1 << (k - 1)
    edges = [0, 1, (1 << shift) - 1, 1 << shift, top - 1, top - 2, top // 2]
    x = np.array(edges + [int(v) for v in np.random.default_rng(k).integers(0, top, 64 - len(edges))])
    values = shared(ring, x)
    carry = planes_of((values[0] % 2**shift + values[1] % 2**shift) >> shift)
    mask = planes_of(np.random.default_rng(1).integers(0, 2, len(x)))
    carries = [bits_of(carry ^ mask, len(x)), bits_of(mask, len(x))]
    two = parties(ring, Demand(down=truncation.ROWS * len(x)), fresh=False)

    def work(i: int) -> np.ndarray:
        if i:
            chosen = choose(two[1], "down", np.stack(truncation.choices(ring, values[1], carries[1])))
            return truncation.clients(ring, shift, values[1], chosen, 0)
        offered = offer(two[0], "down", truncation.ROWS, len(x))
        return truncation.servers(ring, shift, values[0], carries[0], offered, 0)

    one, other = (share.astype(object) for share in both(work))
    assert ((one + other) % 2**k == x >> shift).all()


def test_the_highest_bit_is_that_of_the_width() -> None:
    assert truncation.highest_bit(np.array([0x80, 0x7F, 0x180], np.uint32), 8).tolist() == [1, 0, 1]

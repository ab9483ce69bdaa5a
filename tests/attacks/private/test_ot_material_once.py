"""Prepared material serves once: not after use, not in another session, not out of turn."""

from __future__ import annotations

import numpy as np
import pytest
from overheard import overheard
from two_parties import SESSION, both, parties, shared

from assay.integer.bounds import Bound
from assay.integer.graph import ReLU
from assay.private.channel import ProtocolError, pair
from assay.private.nonlinear import compute, demand_of
from assay.private.ot_store import Demand, Store
from assay.private.party import Party
from assay.private.ring import Ring

RING, NODE, BOUND = Ring(16), ReLU(0, start=0, stop=1), Bound(np.array([-900]), np.array([900]))
SHAPE = (1, 1, 1, 64)
X = np.arange(-32, 32).reshape(SHAPE)


def test_a_second_inference_finds_nothing() -> None:
    two = parties(RING, demand_of(NODE, BOUND, RING, SHAPE))
    shares = shared(RING, X)
    both(lambda i: compute(two[i], NODE, BOUND, shares[i]))
    with pytest.raises(ProtocolError, match="prepare more"):
        compute(two[1], NODE, BOUND, shares[1])


def test_pads_of_two_preparations_have_nothing_in_common() -> None:
    ends, stores = pair(20), [Store(SESSION, RING) for _ in range(2)]
    taken = []
    for _ in range(2):
        both(lambda i: stores[i].prepare(ends[i], ("server", "client")[i], Demand(digits=500, down=500)))
        taken.append([store.take(kind, 500)[0] for store in stores for kind in ("digits", "down")])
    (pads, m0, held, _), (pads2, m02, held2, _) = taken
    assert not np.intersect1d(pads, pads2).size
    assert np.mean(m0 == m02) < 0.05 and np.mean(held == held2) < 0.05


def test_two_sessions_between_the_same_two_have_nothing_in_common() -> None:
    taken = []
    for _ in range(2):
        one, _ = parties(RING, Demand(digits=500))
        taken.append(one.store.take("digits", 500)[0])
    assert not np.intersect1d(*taken).size


@pytest.mark.parametrize("name", [b"another session of tests", SESSION])
def test_a_message_of_another_session_or_of_an_earlier_step_spends_nothing(name: bytes) -> None:
    """The server's material is for the step after: replayed, the first step's messages meet another place."""
    two = parties(RING, demand_of(NODE, BOUND, RING, SHAPE) + demand_of(NODE, BOUND, RING, SHAPE))
    shares = shared(RING, X)
    client, end = overheard(two[1])
    both(lambda i: compute((two[0], client)[i], NODE, BOUND, shares[i]))
    left = two[0].store.left

    here, there = pair(1)
    server = Party("server", here, RING, two[0].store)
    if name != SESSION:
        there.send(np.frombuffer(Store(name, RING).place, np.uint8))
    for message in end.sent:
        there.send(message)
    with pytest.raises(ProtocolError, match="same place"):
        compute(server, NODE, BOUND, shares[0])
    assert server.store.left == left and left != Demand()


def test_what_was_taken_is_overwritten_and_what_is_left_dies_with_the_session() -> None:
    two = parties(RING, demand_of(NODE, BOUND, RING, SHAPE) + Demand(digits=64, down=64, up=64))
    pieces = [piece for party in two for pool in party.store._pools.values() for piece in pool.pieces]
    pools = [array for piece in pieces for array in piece]
    assert all(array.any() for array in pools)
    shares = shared(RING, X)
    both(lambda i: compute(two[i], NODE, BOUND, shares[i]))
    for party in two:
        party.store.close()
        assert party.store.left == Demand()
    assert not any(array.any() for array in pools)


def test_a_preparation_that_breaks_off_leaves_nothing_of_itself() -> None:
    ends = pair(0.3)
    store = Store(SESSION, RING)
    with pytest.raises(ProtocolError):
        store.prepare(ends[0], "server", Demand(digits=64))
    assert store.left == Demand() and not store._pools

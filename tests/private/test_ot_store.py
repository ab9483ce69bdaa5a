"""What is prepared is what the kinds say, each piece of it once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assay.private.channel import ProtocolError, pair
from assay.private.ot_store import Demand, Store
from assay.private.ring import Ring
from assay.private.wire import bits_of

SESSION = b"a session of tests"
SOME = Demand(digits=1000, singles=17, doubles=9, down=130, up=70, products=50)


def prepared(ring: Ring, *demands: Demand, field: int = 4) -> tuple[Store, Store]:
    """Server's and client's stores."""
    ends, stores = pair(), (Store(SESSION, ring, field), Store(SESSION, ring, field))

    def work(store: Store, end, role) -> None:  # type: ignore[no-untyped-def]
        for demand in demands:
            store.prepare(end, role, demand)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, stores[0], ends[0], "server")
        work(stores[1], ends[1], "client")
        done.result()
    return stores


@pytest.mark.parametrize("bits,field", [(32, 4), (8, 4), (48, 4), (33, 8)])
def test_every_kind_is_as_described(bits: int, field: int) -> None:
    ring = Ring(bits)
    server, client = prepared(ring, SOME, SOME, field=field)
    assert server.left == client.left == SOME + SOME

    (pads,), (held,) = server.take("digits", 2000), client.take("digits", 2000)
    digit = held & 15
    assert ((pads >> (4 * digit.astype(np.uint64)) & 15) == held >> 4).all()
    assert set(digit.tolist()) == set(range(16))

    (one,), (other,) = server.take("singles", 34), client.take("singles", 34)
    a, b, c = one ^ other
    assert (c == a & b).all() and a.any() and b.any() and (a != b).any()

    (one,), (other,) = server.take("doubles", 18), client.take("doubles", 18)
    a, b, b2, c, c2 = one ^ other
    assert (c == a & b).all() and (c2 == a & b2).all() and (b != b2).any()
    for plane in (a, b, b2):
        assert abs(bits_of(plane).mean() - 0.5) < 0.1

    for kind, sender, receiver in (("down", server, client), ("up", client, server)):
        count = getattr(SOME + SOME, kind)
        (m0, m1), (choice, m) = sender.take(kind, count), receiver.take(kind, count)
        assert (m == np.where(choice, m1, m0)).all() and 0 < choice.sum() < count
        assert m0.dtype == ring.dtype and int(m0.max()) <= ring.mask and (m0 != m1).any()

    (a, one), (b, other) = server.take("products", 100), client.take("products", 100)
    half = ring.dtype(ring.mask >> 1)
    assert (((one + other) & half) == ((a * b) & half)).all()
    assert server.left == client.left == Demand()
    assert server.taken == SOME + SOME


def test_material_is_given_once_and_overwritten() -> None:
    server, _ = prepared(Ring(16), SOME)
    pool = server._pools["digits"].pieces[0][0]
    (first,) = server.take("digits", 600)
    (second,) = server.take("digits", 400)
    assert not pool.any() and first.any() and second.any()
    assert not np.intersect1d(first, second).size
    with pytest.raises(ProtocolError, match="0 of the 1 digits"):
        server.take("digits", 1)


def test_a_closed_store_holds_nothing() -> None:
    server, _ = prepared(Ring(16), SOME)
    arrays = [array for pool in server._pools.values() for piece in pool.pieces for array in piece]
    server.close()
    assert not any(array.any() for array in arrays)
    with pytest.raises(ProtocolError, match="0 of the 1 up"):
        server.take("up", 1)


def test_sessions_need_names_that_cannot_be_met_twice() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Store(b"short", Ring(16))


def test_what_is_taken_across_two_preparations_fits_together_and_used_pieces_are_gone() -> None:
    stores = prepared(Ring(32), SOME, SOME)
    (pads,), (held,) = (store.take("digits", 1500) for store in stores)
    assert ((pads >> (4 * (held & 15).astype(np.uint64)) & 15) == held >> 4).all()
    for store in stores:
        assert store.left.digits == 500
        assert len(store._pools["digits"].pieces) == 1, "the first piece gives its memory back"
    (pads,), (held,) = (store.take("digits", 500) for store in stores)
    assert ((pads >> (4 * (held & 15).astype(np.uint64)) & 15) == held >> 4).all()
    for store in stores:
        assert not store._pools["digits"].pieces
        with pytest.raises(ProtocolError, match="only 0 of the 1 digits"):
            store.take("digits", 1)


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_none_and_more_than_there_are_cannot_be_taken(count: int) -> None:
    server, _ = prepared(Ring(32), Demand(digits=1000))
    with pytest.raises(ProtocolError, match="prepare more"):
        server.take("digits", count)
    assert server.left == Demand(digits=1000)

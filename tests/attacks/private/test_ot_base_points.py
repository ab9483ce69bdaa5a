"""Points that are not of the prime-order group are refused by both sides of a base transfer, wherever they stand."""

from __future__ import annotations

import nacl.bindings as sodium
import numpy as np
import pytest

from assay.private import base_ot
from assay.private.channel import ProtocolError, pair

SESSION = b"a session of attacks"
GOOD = sodium.crypto_core_ed25519_from_uniform(bytes(range(32)))
FIELD = 2**255 - 19
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
BAD = {
    "the neutral element": b"\1" + bytes(31),
    "order 2": (FIELD - 1).to_bytes(32, "little"),
    "order 4": bytes(32),
    "order 4, the other": bytes(31) + b"\x80",
    "order 8": ORDER_8,
    "order 8, negated": ORDER_8[:31] + bytes([ORDER_8[31] | 0x80]),
    "order 8 times a good point": sodium.crypto_core_ed25519_add(GOOD, ORDER_8),
    "neutral element, not canonical": (FIELD + 1).to_bytes(32, "little"),
    "not canonical": b"\xff" * 31 + b"\x7f",
    "off the curve": b"\2" + bytes(31),
    "all ones": b"\xff" * 32,
}


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_sender_refuses_every_bad_point_at_every_place(bad: bytes, place: int) -> None:
    here, there = pair(1)
    points = [GOOD] * 4
    points[place] = bad
    there.send(np.frombuffer(b"".join(points), np.uint8))
    with pytest.raises(ProtocolError, match="no point of the curve"):
        base_ot.send(here, 2, SESSION)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_receiver_refuses_every_bad_point(bad: bytes) -> None:
    here, there = pair(1)
    there.send(np.frombuffer(bad, np.uint8))
    with pytest.raises(ProtocolError, match="no point of the curve"):
        base_ot.receive(here, np.array([0, 1], np.uint8), SESSION)


def test_points_that_cancel_their_hash_are_refused() -> None:
    """r_0 = -H_0(r_1) makes the sender's base the neutral element, and its key one that anybody knows."""
    from assay.private.base_ot import _hashed

    here, there = pair(1)
    nothing = b"\1" + bytes(31)
    cancelling = sodium.crypto_core_ed25519_sub(nothing, _hashed(SESSION, 0, 0, GOOD))
    there.send(np.frombuffer(cancelling + GOOD, np.uint8))
    with pytest.raises(ProtocolError, match="neutral element"):
        base_ot.send(here, 1, SESSION)


def test_the_choice_does_not_show_in_what_the_receiver_sends() -> None:
    """Both points are uniform: their bytes are spread alike for either choice, at either place."""
    counts = np.zeros((2, 2, 16))
    here, there = pair(1)
    for choice in (0, 1):
        there.send(np.frombuffer(GOOD, np.uint8))
        base_ot.receive(here, np.full(400, choice, np.uint8), SESSION)
        said = there.receive(400 * 64).reshape(400, 2, 32)
        for place in (0, 1):
            counts[choice, place] = np.bincount(said[:, place, 7] & 15, minlength=16)
    expected = 400 / 16
    assert (((counts - expected) ** 2 / expected).sum(axis=2) < 60).all()  # 15 degrees of freedom: p < 3e-7

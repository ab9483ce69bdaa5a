"""Residues stand for integers, and a message of another size ends the session."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import ModelError
from assay.private.channel import ProtocolError, pair
from assay.private.ring import Ring


@given(st.integers(2, 48), st.lists(st.integers(-(2**60), 2**60), min_size=1, max_size=5))
def test_a_residue_stands_for_the_integer_of_least_magnitude(bits: int, values: list[int]) -> None:
    ring, half = Ring(bits), 1 << (bits - 1)
    residues = ring.reduce(np.array(values))
    assert residues.dtype == ring.dtype
    assert residues.tolist() == [v % 2**bits for v in values]
    assert ring.signed(residues).tolist() == [(v + half) % 2**bits - half for v in values]


@pytest.mark.parametrize("bits", [1, 49])
def test_a_ring_without_room_is_refused(bits: int) -> None:
    with pytest.raises(ModelError, match="2 to 48 bits"):
        Ring(bits)


def test_messages_arrive_in_order_and_are_counted_by_part() -> None:
    server, client = pair()
    with server.part("sign"):
        server.send(np.arange(3, dtype=np.uint32))
    assert client.receive(12).view(np.uint32).tolist() == [0, 1, 2]
    client.send(np.zeros(5, np.uint8))
    with server.part("sign"):
        server.receive(5)
    assert (server.ledger["sign"].sent, server.ledger["sign"].received, server.ledger["sign"].rounds) == (12, 5, 1)


def test_a_message_of_another_size_ends_the_session() -> None:
    server, client = pair(timeout_s=0.01)
    server.send(np.zeros(4, np.uint8))
    with pytest.raises(ProtocolError, match="expected a message of 5 bytes, got 4"):
        client.receive(5)
    with pytest.raises(ProtocolError, match="said nothing"):
        client.receive(5)

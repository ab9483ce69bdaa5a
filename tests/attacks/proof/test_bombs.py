"""Small files that would take memory far beyond their size; and when memory does run out, that is no crash."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

import assay.proof.api as api
import assay.proof.hidden as hidden
from assay.integer import IntegerNetwork
from assay.proof import (
    HiddenNetwork,
    Receipt,
    UnreadableReceipt,
    VerificationError,
    accept_commitment,
    standalone,
    verify,
)
from assay.proof.receipt import parse

NONCE = bytes(range(16))
MIB = 1 << 20

BOMBS: dict[str, Callable[[Receipt], bytes]] = {
    "an array of a million zeros": lambda r: b"\xdd" + MIB.to_bytes(4, "big") + bytes(MIB),
    "an array of sixty thousand zeros": lambda r: b"\xdc\xff\xff" + bytes(0xFFFF),
    "its format is a million zeros": lambda r: b"\x9c\xdd" + MIB.to_bytes(4, "big") + bytes(MIB),
    "its version is a million zeros": lambda r: b"\x9c\xadassay receipt\xdd" + MIB.to_bytes(4, "big") + bytes(MIB),
    "ranges of a million nodes": lambda r: msgspec.msgpack.encode(
        [r.format, r.version, r.model, b"", b"", [(0, 0, 0)] * MIB, r.queries, r.batch, r.nonce, b"", b"", b""]
    ),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_receipt_takes_little_more_memory_than_its_size_until_it_is_refused(what: str, honest: Receipt) -> None:
    data = BOMBS[what](honest)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableReceipt):
            parse(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB
    with pytest.raises(standalone.Unreadable):
        standalone.read_receipt(data)


def exhausted(*given: object) -> None:
    raise MemoryError


def test_where_memory_runs_out_nothing_is_accepted_and_nothing_crashes(
    victim: IntegerNetwork, pictures: np.ndarray, honest: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    commitment = HiddenNetwork(victim).to_bytes()
    monkeypatch.setattr(api, "verify_network", exhausted)
    with pytest.raises(VerificationError, match="memory"):
        verify(honest, pictures, nonce=NONCE, model=victim)
    monkeypatch.setattr(hidden, "read_architecture", exhausted)
    with pytest.raises(VerificationError, match="memory"):
        accept_commitment(commitment)

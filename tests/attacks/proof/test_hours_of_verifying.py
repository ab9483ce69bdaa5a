"""Networks that a server could choose so that a client verifies for hours: neither prover nor verifier takes them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.files import to_bytes
from assay.proof import UnprovableError, VerificationError, prove, standalone, verify

NONCE = bytes(range(16))


def network(side: int, reduced: g.Node) -> IntegerNetwork:
    nodes = (g.Input((1, side, 1)), reduced, g.Subsample(1, (1 << 16, 1)), g.Flatten(2))
    return IntegerNetwork(nodes, ("a",), 1.0)


HOSTILE = {
    "a maximum of 1089 values": (network(1089, g.MaxPool(0, (1089, 1), (1, 1))), [(1, 0, 255)]),
    "a window as long as the picture, at every row": (
        network(1 << 12, g.SumPool(0, (1 << 12, 1), (1, 1), ((1 << 12) - 1, 0, 0, 0))),
        [],
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_unprovable_and_no_receipt_for_it_is_read_further(what: str) -> None:
    hostile, ranges = HOSTILE[what]
    x = np.zeros((1, *hostile.input_shape), np.uint8)
    with pytest.raises(UnprovableError):
        prove(hostile, x, nonce=NONCE)
    harmless = IntegerNetwork((g.Input((1, 1, 1)), g.Flatten(0)), ("a",), 1.0)
    _, receipt = prove(harmless, x[:, :, :1], nonce=NONCE)
    forged = msgspec.structs.replace(
        receipt, model=bytes.fromhex(hostile.digest), intervals=ranges, inputs=x.tobytes(), proof=bytes(1 << 20)
    )
    with pytest.raises(VerificationError, match="no proof of this kind"):
        verify(forged, x, nonce=NONCE, model=hostile)
    with pytest.raises(standalone.Rejected, match="too large"):
        standalone.verify(
            standalone.read_receipt(forged.to_bytes()), standalone.read_network(to_bytes(hostile)), None, None, NONCE
        )

"""What is predicted of bytes and rounds is what is measured, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import NETWORKS, pictures

from assay.private import Server, connect
from assay.private.rehearsal import rehearse


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_rehearsal_says_and_hears_as_many_bytes_in_as_many_rounds(name: str, size: int) -> None:
    network = NETWORKS[name]
    with Server(network) as server, connect(f"127.0.0.1:{server.port}", insecure_plaintext=True) as session:
        session.infer(pictures(network, size))
        measured = dict(session._channel.ledger)
        rehearsed = rehearse(session.architecture, size)
    assert set(rehearsed) == set(measured)
    for part, traffic in measured.items():
        told = rehearsed[part]
        assert (told.sent, told.received, told.rounds, told.messages) == (
            traffic.sent, traffic.received, traffic.rounds, traffic.messages,
        ), part  # fmt: skip
    assert np.all([t.seconds >= 0 for t in rehearsed.values()])

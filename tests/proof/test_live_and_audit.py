"""Live proofs over a socket, and Freivalds' audit."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from assay.errors import InputError
from assay.integer import IntegerNetwork
from assay.proof import HiddenNetwork, UnreadableReceipt, VerificationError
from assay.proof.audit import audit, record
from assay.proof.live import SocketStream, prove_live, verify_live

Pictures = Callable[[IntegerNetwork, int], np.ndarray]


class Counted(SocketStream):
    """A stream that remembers what it received, and may change one byte of it."""

    def __init__(self, connection: socket.socket, flip: int | None = None) -> None:
        super().__init__(connection)
        object.__setattr__(self, "received", 0)
        object.__setattr__(self, "flip", flip)

    def receive(self, count: int) -> bytes:
        data = bytearray(super().receive(count))
        if self.flip is not None and self.received <= self.flip < self.received + count:
            data[self.flip - self.received] ^= 1
        object.__setattr__(self, "received", self.received + count)
        return bytes(data)


def converse(prover: Callable[[SocketStream], object], verifier: Callable[[SocketStream], object]) -> object:
    """Run both ends; the prover's errors are its own, the verifier's are raised."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    theirs.settimeout(60)

    def serve() -> None:
        with theirs:
            try:
                prover(SocketStream(theirs))
            except OSError:
                return  # the verifier has hung up

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours:
            return verifier(ours)
    finally:
        thread.join()


def test_a_live_proof_convinces_and_draws_its_own_challenges(any_network: IntegerNetwork, pictures: Pictures) -> None:
    x = pictures(any_network, 2)
    answer = converse(
        lambda stream: prove_live(stream, any_network, x),
        lambda connection: verify_live(SocketStream(connection), x, model=any_network),
    )
    assert (answer.outputs == any_network.run(x)).all()
    assert answer.ledger.bits > 99


def test_a_live_proof_of_committed_weights_convinces(
    named_network: Callable[[str], IntegerNetwork], pictures: Pictures
) -> None:
    network = named_network("perceptron")
    hidden, x = HiddenNetwork(network), pictures(network, 1)
    answer = converse(
        lambda stream: prove_live(stream, network, x, hidden=hidden),
        lambda connection: verify_live(SocketStream(connection), x, commitment=hidden.digest),
    )
    assert (answer.outputs == network.run(x)).all()
    with pytest.raises(VerificationError, match="another model"):
        converse(
            lambda stream: prove_live(stream, network, x, hidden=hidden),
            lambda connection: verify_live(SocketStream(connection), x, commitment=bytes(32)),
        )


def test_a_live_proof_of_a_classic_network_is_small(
    named_network: Callable[[str], IntegerNetwork], pictures: Pictures
) -> None:
    network = named_network("classic")
    x = pictures(network, 4)
    seen = []

    def verify(connection: socket.socket) -> object:
        stream = Counted(connection)
        found = verify_live(stream, x, model=network)
        seen.append(stream.received)
        return found

    converse(lambda stream: prove_live(stream, network, x), verify)
    assert 500 < seen[0] < 8000


@pytest.mark.parametrize("flip", [17, 60, 700, 5000])
def test_a_byte_changed_on_the_way_is_noticed(
    flip: int, named_network: Callable[[str], IntegerNetwork], pictures: Pictures
) -> None:
    network = named_network("perceptron")
    x = pictures(network, 2)
    with pytest.raises(VerificationError):
        converse(
            lambda stream: prove_live(stream, network, x),
            lambda connection: verify_live(Counted(connection, flip), x, model=network),
        )


def test_a_prover_that_leaves_or_that_has_other_pictures_is_refused(
    named_network: Callable[[str], IntegerNetwork], pictures: Pictures
) -> None:
    network = named_network("perceptron")
    x = pictures(network, 2)
    with pytest.raises(VerificationError, match="left before"):
        converse(
            lambda stream: stream.send(b"goodbye"),
            lambda connection: verify_live(SocketStream(connection), x, model=network),
        )
    with pytest.raises(VerificationError, match="another picture"):
        converse(
            lambda stream: prove_live(stream, network, x[::-1]),
            lambda connection: verify_live(SocketStream(connection), x, model=network),
        )
    with pytest.raises(InputError):
        converse(
            lambda stream: prove_live(stream, network, x),
            lambda connection: verify_live(SocketStream(connection), x[:, :, :2], model=network),
        )


def test_an_audit_gives_the_outputs_and_needs_no_run(
    any_network: IntegerNetwork, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pictures(any_network, 3)
    answer, kept = record(any_network, x)
    monkeypatch.setattr("assay.integer.execute.execute", None)
    assert (audit(kept.to_bytes(), any_network, x) == answer).all()


def test_an_audit_notices_one_wrong_value_in_any_layer(any_network: IntegerNetwork, pictures: Pictures) -> None:
    x = pictures(any_network, 3)
    _, kept = record(any_network, x)
    for layer in range(len(kept.layers)):
        layers = [bytearray(data) for data in kept.layers]
        layers[layer][8] ^= 1
        wrong = msgspec.structs.replace(kept, layers=[bytes(data) for data in layers])
        with pytest.raises(VerificationError):
            audit(wrong.to_bytes(), any_network, x)


def test_records_that_do_not_fit_are_refused(any_network: IntegerNetwork, pictures: Pictures) -> None:
    x = pictures(any_network, 2)
    _, kept = record(any_network, x)
    for wrong in (
        msgspec.structs.replace(kept, layers=kept.layers[1:]),
        msgspec.structs.replace(kept, layers=[data[:-1] for data in kept.layers]),
        msgspec.structs.replace(kept, model=bytes(32)),
        msgspec.structs.replace(kept, batch=1),
    ):
        with pytest.raises(VerificationError):
            audit(wrong.to_bytes(), any_network, x)
    for data in (b"", b"nothing", kept.to_bytes()[:-1], msgspec.structs.replace(kept, version=2).to_bytes()):
        with pytest.raises(UnreadableReceipt):
            audit(data, any_network, x)

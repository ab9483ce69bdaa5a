"""Live mode: the verifier draws the challenges itself, over a stream.

A receipt's challenges are hashes, so a prover may try again in private, and a network built to predict its own
challenge could cheat (Khovratovich, Rothblum, Soukhanov 2025). A live prover has one try at challenges that nobody can
know before; where the prover chose the inputs, this is the mode to use. The protocol is the same code. Both sides hold
the pictures.

The prover speaks first: (if weights are committed: length of the architecture, architecture, root), the ranges of
looked-up values, the outputs. Then the proof, message by message.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.integer import IntegerNetwork
from assay.proof.api import plan_for
from assay.proof.errors import UnprovableError, VerificationError
from assay.proof.hidden import (
    MAX_ARCHITECTURE,
    HiddenNetwork,
    KnowHidden,
    SayHidden,
    WeightPlan,
    commitment_of,
    read_architecture,
)
from assay.proof.plan import Architecture, Interval, Plan, looked_up, with_nodes
from assay.proof.protocol import Tick, no_tick, prove_network, verify_network
from assay.proof.receipt import DIGEST_BYTES, check_pictures, decode_outputs, encode_outputs
from assay.proof.soundness import Ledger, ledger_for
from assay.proof.tensors import Ints
from assay.proof.transcript import LiveProver, LiveVerifier, Stream, VerifierChannel
from assay.proof.weights import NothingToSay, PublicWeights, architecture_of


@dataclass(frozen=True, slots=True)
class SocketStream:
    """A connected socket as a `Stream`; set its timeout, which is the only protection against a silent peer."""

    connection: socket.socket

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def receive(self, count: int) -> bytes:
        """Raises ConnectionError if the peer closes before `count` bytes."""
        parts, missing = [], count
        while missing:
            part = self.connection.recv(min(missing, 1 << 20))
            if not part:
                raise ConnectionError(f"the connection was closed with {missing} bytes missing")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """Outputs that a live proof has shown to be right, and how sure that is."""

    outputs: Ints
    ledger: Ledger


def prove_live(
    stream: Stream,
    network: IntegerNetwork,
    pictures: NDArray[np.integer],
    *,
    hidden: HiddenNetwork | None = None,
    tick: Tick = no_tick,
) -> Ints:
    """Answer and prove to whoever is at the other end; the outputs.

    Raises:
        OSError: if the stream breaks.
        UnprovableError: as for `prove`.
    """
    if hidden is not None and hidden.network is not network:
        raise ValueError("the commitment is to another network")
    plan = plan_for(network, len(pictures), hidden)
    values = list(network.trace(pictures).values)
    channel = LiveProver(stream)
    if hidden is not None:
        channel.say_bytes(len(hidden.description).to_bytes(8, "little") + hidden.description + hidden.root)
    ranges = [bound for _, interval in sorted(plan.intervals.items()) for bound in interval]
    channel.say_bytes(encode_outputs(np.array(ranges, np.int64)))
    channel.say_bytes(encode_outputs(values[-1]))
    channel.flush()
    weights = NothingToSay() if hidden is None else SayHidden(hidden)
    prove_network(channel, with_nodes(plan, architecture_of(network).nodes), values, weights, tick)
    channel.flush()
    return values[-1]


def verify_live(
    stream: Stream,
    pictures: NDArray[np.integer],
    *,
    model: IntegerNetwork | None = None,
    commitment: bytes | None = None,
) -> LiveAnswer:
    """The outputs for one's own pictures, proven by the other end while it waits.

    Raises:
        InputError: if the pictures do not fit the network.
        VerificationError: if the proof does not convince or the other end leaves.
    """
    if (model is None) == (commitment is None):
        raise ValueError("give the network or a commitment to it")
    channel = LiveVerifier(stream)
    weights: PublicWeights | KnowHidden
    if model is not None:
        architecture = architecture_of(model)
        plan = _plan(channel, architecture, pictures)
        weights = PublicWeights(plan)
    else:
        architecture, root = _hear_architecture(channel, commitment)
        plan = _plan(channel, architecture, pictures)
        weights = KnowHidden(WeightPlan(architecture), root)
    classes = architecture.shapes[-1][0]
    outputs = decode_outputs(channel.hear_bytes(8 * plan.batch * classes), plan.batch, classes)
    verify_network(channel, plan, pictures, outputs, weights)
    claims = weights.layout_and_claims if isinstance(weights, KnowHidden) else None
    return LiveAnswer(outputs, ledger_for(plan, claims))


def _hear_architecture(channel: VerifierChannel, commitment: bytes | None) -> tuple[Architecture, bytes]:
    length = int.from_bytes(channel.hear_bytes(8), "little")
    if length > MAX_ARCHITECTURE:
        raise VerificationError(f"an architecture of {length} bytes is larger than {MAX_ARCHITECTURE >> 20} MiB")
    description, root = channel.hear_bytes(length), channel.hear_bytes(DIGEST_BYTES)
    if commitment_of(description, root) != commitment:
        raise VerificationError("the other end speaks for another model than the committed one")
    return read_architecture(description), root


def _plan(channel: VerifierChannel, architecture: Architecture, pictures: NDArray[np.integer]) -> Plan:
    check_pictures(architecture.input, pictures)
    nodes = looked_up(architecture.nodes)
    data = channel.hear_bytes(16 * len(nodes))
    bounds = np.frombuffer(data, "<i8").reshape(-1, 2).tolist()
    intervals: dict[int, Interval] = {k: (low, high) for k, (low, high) in zip(nodes, bounds, strict=True)}
    try:
        return Plan(architecture, len(pictures), intervals)
    except UnprovableError as error:
        raise VerificationError(f"no proof of this kind is accepted: {error}") from error

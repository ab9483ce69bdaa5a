"""`prove` and `verify`: an answer with its receipt, and whether to believe it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.integer import IntegerNetwork
from assay.integer.files import graph_text
from assay.integer.graph import Input
from assay.proof.commitment import QUERIES
from assay.proof.errors import UnprovableError, VerificationError
from assay.proof.hidden import HiddenNetwork, KnowHidden, SayHidden, WeightPlan, commitment_of, read_architecture
from assay.proof.plan import Architecture, Plan, with_nodes
from assay.proof.protocol import Tick, no_tick, prove_network, verify_network
from assay.proof.receipt import (
    FORMAT,
    VERSION,
    Receipt,
    check_nonce,
    decode_outputs,
    decode_pictures,
    encode_outputs,
    encode_pictures,
    parse,
)
from assay.proof.soundness import Ledger, ledger_for
from assay.proof.tensors import Ints
from assay.proof.transcript import ProverChannel, Reader, Recorder, VerifierChannel
from assay.proof.weights import NothingToSay, PublicWeights, architecture_of, intervals_of


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verifier may rely on.

    Attributes:
        outputs: (pictures, classes), of the integer network.
        statement: what was proven, for people and programs.
        ledger: the soundness of it, term by term.
        notes: what was not checked because the caller said so.
        verify_s: seconds it took.
    """

    outputs: Ints
    statement: dict[str, object]
    ledger: Ledger
    notes: tuple[str, ...]
    verify_s: float

    @property
    def labels(self) -> list[int]:
        """The class of each picture: the first of the largest outputs."""
        return [int(label) for label in self.outputs.argmax(1)]


@dataclass(frozen=True, slots=True)
class Statement:
    """All that a proof is about; bound into the transcript before anything is drawn.

    Attributes:
        architecture: graph and scales as text; where weights are committed, with their shapes.
        model: digest of the network, or commitment to its weights.
        root: Merkle root of committed weights; empty otherwise.
    """

    architecture: bytes
    model: bytes
    root: bytes
    plan: Plan
    nonce: bytes
    inputs: bytes
    outputs: bytes

    def bind(self, channel: ProverChannel | VerifierChannel) -> None:
        """In the order of the design; domain and version are the transcript's first item."""
        channel.bind(_numbers([QUERIES]))
        channel.bind(self.architecture)
        channel.bind(self.model + self.root)
        channel.bind(self._quantisation())
        channel.bind(_numbers([self.plan.batch]))
        channel.bind(self.nonce)
        channel.bind(self.inputs)
        channel.bind(self.outputs)

    def _quantisation(self) -> bytes:
        """Ranges of looked-up values, from which all tables follow."""
        return _numbers([number for k, (low, high) in sorted(self.plan.intervals.items()) for number in (k, low, high)])


def _numbers(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


def prove(
    network: IntegerNetwork,
    pictures: NDArray[np.integer],
    *,
    nonce: bytes,
    hidden: HiddenNetwork | None = None,
    tick: Tick = no_tick,
) -> tuple[Ints, Receipt]:
    """The answer for a batch of pictures, and a receipt that proves it.

    Args:
        pictures: `n c h w`, integers in the network's range.
        nonce: 16 to 64 bytes that the client drew after the network was fixed.
        hidden: the network with committed weights, where the client holds only the commitment.
        tick: told what is being done.

    Raises:
        InputError: if the pictures do not fit.
        UnprovableError: naming the layer that cannot be proven; nothing is proven in part.

    *Security*: integrity, about 100 bits (`soundness`). Not zero-knowledge: the receipt holds inputs, outputs and
    evaluations of activations, and with a committed network of weights as well.
    """
    check_nonce(nonce)
    plan_for(network, len(pictures), hidden)  # before the work of running it
    values = list(network.trace(pictures).values)
    return values[-1], prove_run(network, values, nonce, hidden, tick)


def plan_for(network: IntegerNetwork, batch: int, hidden: HiddenNetwork | None = None) -> Plan:
    """What an honest prover proves; errors as for `prove`."""
    known = architecture_of(network) if hidden is None else hidden.plan.architecture
    return Plan(known, batch, intervals_of(network, known))


def soundness_of(network: IntegerNetwork, batch: int, hidden: HiddenNetwork | None = None) -> Ledger:
    """The ledger that a verifier of such a proof will print."""
    claims = None if hidden is None else (hidden.plan.layout, 2 * len(hidden.plan.layers))
    return ledger_for(plan_for(network, batch, hidden), claims)


def prove_run(
    network: IntegerNetwork, values: list[Ints], nonce: bytes, hidden: HiddenNetwork | None = None, tick: Tick = no_tick
) -> Receipt:
    """A receipt for a run that was made already: `values` holds the tensor of every node, batch first."""
    pictures = values[0]
    plan = plan_for(network, len(pictures), hidden)
    statement = _statement(network, hidden, plan, nonce, encode_pictures(pictures, network.input), values[-1])
    channel = Recorder()
    statement.bind(channel)
    weights = NothingToSay() if hidden is None else SayHidden(hidden)
    prove_network(channel, with_nodes(plan, architecture_of(network).nodes), values, weights, tick)
    return Receipt(
        format=FORMAT,
        version=VERSION,
        model=statement.model,
        architecture=b"" if hidden is None else statement.architecture,
        weights_root=statement.root,
        intervals=[(k, low, high) for k, (low, high) in sorted(plan.intervals.items())],
        queries=QUERIES,
        batch=plan.batch,
        nonce=nonce,
        inputs=statement.inputs,
        outputs=statement.outputs,
        proof=bytes(channel.proof),
    )


def _statement(
    network: IntegerNetwork, hidden: HiddenNetwork | None, plan: Plan, nonce: bytes, inputs: bytes, outputs: Ints
) -> Statement:
    if hidden is None:
        named = (graph_text(network).encode(), bytes.fromhex(network.digest), b"")
    elif hidden.network is network:
        named = (hidden.description, hidden.digest, hidden.root)
    else:
        raise ValueError("the commitment is to another network")
    return Statement(*named, plan, nonce, inputs, encode_outputs(outputs))


def verify(
    receipt: Receipt | bytes,
    pictures: NDArray[np.integer] | None,
    answer: NDArray[np.integer] | None = None,
    *,
    nonce: bytes | None,
    model: IntegerNetwork | None = None,
    commitment: bytes | None = None,
    trust_receipt_inputs: bool = False,
    allow_replay: bool = False,
) -> Verified:
    """Return what was proven, or raise.

    Args:
        receipt: as it came.
        pictures: the client's own inputs; None only with `trust_receipt_inputs`.
        answer: outputs that came beside the receipt, compared with those in it; None to take the receipt's.
        nonce: the client's own; None only with `allow_replay`.
        model: the network the client holds, or else
        commitment: 32 bytes that `accept_commitment` gave for it.

    Raises:
        VerificationError: if the receipt does not convince, whatever it is made of.

    Never runs the network. Cost: one pass over the pictures, and over the weights if the client holds them.
    """
    if (model is None) == (commitment is None):
        raise ValueError("give the network or a commitment to it")
    if pictures is None and not trust_receipt_inputs:
        raise ValueError("give your own pictures; those of the receipt are trusted only with trust_receipt_inputs=True")
    if nonce is None and not allow_replay:
        raise ValueError("give your own nonce; without it an old receipt passes, which takes allow_replay=True")
    try:
        return _verified(receipt, pictures, answer, nonce, model, commitment)
    except MemoryError as error:
        raise VerificationError("verifying this receipt takes more memory than there is") from error


def _verified(
    receipt: Receipt | bytes,
    pictures: NDArray[np.integer] | None,
    answer: NDArray[np.integer] | None,
    nonce: bytes | None,
    model: IntegerNetwork | None,
    commitment: bytes | None,
) -> Verified:
    begun = time.perf_counter()
    parsed = parse(receipt if isinstance(receipt, bytes) else receipt.to_bytes())
    if nonce is not None and parsed.nonce != nonce:
        raise VerificationError("this receipt answers another nonce: it was made for another request")
    if parsed.queries != QUERIES:
        raise VerificationError(f"the receipt opens {parsed.queries} columns a commitment, {QUERIES} are required")
    statement, given, weights = _known(parsed, model, commitment)
    theirs = decode_pictures(parsed.inputs, parsed.batch, given)
    if pictures is not None and not _equal(pictures, theirs):
        raise VerificationError("this receipt is about other pictures than yours")
    classes = statement.plan.architecture.shapes[-1][0]
    outputs = decode_outputs(parsed.outputs, parsed.batch, classes)
    if answer is not None and not _equal(answer, outputs):
        raise VerificationError("the answer is not the one that the receipt proves")
    channel = Reader(parsed.proof)
    statement.bind(channel)
    verify_network(channel, statement.plan, theirs, outputs, weights)
    channel.finish()
    notes = _notes(pictures is None, nonce is None)
    hidden_layout = weights.layout_and_claims if isinstance(weights, KnowHidden) else None
    ledger = ledger_for(statement.plan, hidden_layout)
    return Verified(outputs, _described(parsed, ledger), ledger, notes, time.perf_counter() - begun)


def _equal(ours: NDArray[np.integer], theirs: NDArray[np.integer]) -> bool:
    return ours.shape == theirs.shape and ours.dtype.kind in "iu" and bool(np.array_equal(ours, theirs))


def _known(
    receipt: Receipt, model: IntegerNetwork | None, commitment: bytes | None
) -> tuple[Statement, Input, PublicWeights | KnowHidden]:
    """The statement as this verifier knows it, and its source of weights."""
    if model is not None:
        if receipt.architecture:
            raise VerificationError("this receipt is about committed weights; verify it with the commitment")
        if receipt.model != bytes.fromhex(model.digest):
            raise VerificationError(f"this receipt is about another model: {receipt.model.hex()}, not {model.digest}")
        plan = _plan(architecture_of(model), receipt)
        return _bound(receipt, graph_text(model).encode(), plan), model.input, PublicWeights(plan)
    if receipt.model != commitment:
        raise VerificationError(f"this receipt is about another model: {receipt.model.hex()}")
    if commitment_of(receipt.architecture, receipt.weights_root) != commitment:
        raise VerificationError("the architecture in this receipt is not the committed one")
    weights = WeightPlan(read_architecture(receipt.architecture))
    plan = _plan(weights.architecture, receipt)
    known = KnowHidden(weights, receipt.weights_root)
    return _bound(receipt, receipt.architecture, plan), plan.architecture.input, known


def _plan(architecture: Architecture, receipt: Receipt) -> Plan:
    try:
        return Plan(architecture, receipt.batch, receipt.ranges)
    except UnprovableError as error:
        raise VerificationError(f"no proof of this kind is accepted: {error}") from error


def _bound(receipt: Receipt, architecture: bytes, plan: Plan) -> Statement:
    return Statement(
        architecture, receipt.model, receipt.weights_root, plan, receipt.nonce, receipt.inputs, receipt.outputs
    )


def _notes(inputs_trusted: bool, replay_allowed: bool) -> tuple[str, ...]:
    notes = []
    if inputs_trusted:
        notes.append("the pictures are those that the receipt names; nobody compared them with yours")
    if replay_allowed:
        notes.append("the nonce was not compared: this receipt may be an old one")
    return tuple(notes)


def _described(receipt: Receipt, ledger: Ledger) -> dict[str, object]:
    return {
        "model": receipt.model.hex(),
        "weights": "committed" if receipt.architecture else "held by the verifier",
        "pictures": receipt.batch,
        "pictures_sha256": hashlib.sha256(receipt.inputs).hexdigest(),
        "nonce": receipt.nonce.hex(),
        "proves": "these are the outputs of exactly this integer network on exactly these pictures",
        "does_not_prove": "anything about the float network, or that the receipt hides anything (not zero-knowledge)",
    }

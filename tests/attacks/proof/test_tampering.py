"""Receipts that were changed after they were made, or made for something else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof import (
    HiddenNetwork,
    Receipt,
    UnreadableReceipt,
    VerificationError,
    accept_commitment,
    parse,
    prove,
    verify,
)

NONCE = bytes(range(16))


def changed(receipt: Receipt, **fields: object) -> Receipt:
    return msgspec.structs.replace(receipt, **fields)


def flipped(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


TAMPERED = {
    "format": lambda r: changed(r, format="another"),
    "version": lambda r: changed(r, version=2),
    "model": lambda r: changed(r, model=flipped(r.model)),
    "model of another length": lambda r: changed(r, model=r.model[:31]),
    "architecture": lambda r: changed(r, architecture=b"{}", weights_root=bytes(32)),
    "architecture without root": lambda r: changed(r, architecture=b"{}"),
    "weights_root": lambda r: changed(r, weights_root=bytes(32)),
    "intervals wider": lambda r: changed(r, intervals=[(k, low - 40, high + 40) for k, low, high in r.intervals]),
    "intervals narrower": lambda r: changed(r, intervals=[(k, 0, 0) for k, _, _ in r.intervals]),
    "intervals huge": lambda r: changed(r, intervals=[(k, -(1 << 59), 1 << 59) for k, _, _ in r.intervals]),
    "intervals of no node": lambda r: changed(r, intervals=[(k + 1, low, high) for k, low, high in r.intervals]),
    "intervals missing": lambda r: changed(r, intervals=r.intervals[1:]),
    "intervals twice": lambda r: changed(r, intervals=[r.intervals[0], *r.intervals]),
    "queries": lambda r: changed(r, queries=1),
    "batch smaller": lambda r: changed(r, batch=2),
    "batch larger": lambda r: changed(r, batch=4),
    "batch huge": lambda r: changed(r, batch=1 << 20),
    "batch zero": lambda r: changed(r, batch=0),
    "batch cut off": lambda r: changed(r, batch=2, inputs=r.inputs[:60], outputs=r.outputs[:48]),
    "nonce": lambda r: changed(r, nonce=flipped(r.nonce)),
    "nonce short": lambda r: changed(r, nonce=r.nonce[:15]),
    "inputs": lambda r: changed(r, inputs=flipped(r.inputs)),
    "inputs cut off": lambda r: changed(r, inputs=r.inputs[:-1]),
    "outputs": lambda r: changed(r, outputs=flipped(r.outputs)),
    "outputs beyond the field": lambda r: changed(r, outputs=b"\xff" * 7 + b"\x7f" + r.outputs[8:]),
    "outputs of another length": lambda r: changed(r, outputs=r.outputs + bytes(8)),
    "proof": lambda r: changed(r, proof=flipped(r.proof, 40)),
    "proof cut off": lambda r: changed(r, proof=r.proof[:-1]),
    "proof empty": lambda r: changed(r, proof=b""),
    "proof with more behind it": lambda r: changed(r, proof=r.proof + b"\0"),
}


def test_every_field_of_a_receipt_is_tampered_with_here() -> None:
    assert {name.split()[0] for name in TAMPERED} == set(Receipt.__struct_fields__)


@pytest.mark.parametrize("what", TAMPERED)
def test_a_receipt_with_one_field_changed_is_rejected(what: str, honest: Receipt, victim: IntegerNetwork) -> None:
    """Even where the verifier trusts the receipt's own pictures and nonce."""
    receipt = TAMPERED[what](honest)
    with pytest.raises(VerificationError):
        verify(receipt, None, None, nonce=None, model=victim, trust_receipt_inputs=True, allow_replay=True)


def test_the_honest_receipt_passes(honest: Receipt, victim: IntegerNetwork, pictures: np.ndarray) -> None:
    assert verify(honest, pictures, None, nonce=NONCE, model=victim).labels


@given(st.data())
def test_no_byte_of_a_proof_can_be_changed(honest: Receipt, victim: IntegerNetwork, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(honest.proof) - 1))
    value = data.draw(st.integers(1, 255))
    proof = bytearray(honest.proof)
    proof[place] ^= value
    with pytest.raises(VerificationError):
        verify(
            changed(honest, proof=bytes(proof)),
            None,
            nonce=NONCE,
            model=victim,
            trust_receipt_inputs=True,
        )


def test_an_answer_inputs_and_nonce_that_are_not_the_receipts_are_rejected(
    honest: Receipt, victim: IntegerNetwork, pictures: np.ndarray
) -> None:
    answer = victim.run(pictures)
    with pytest.raises(VerificationError, match="answer"):
        verify(honest, pictures, answer + 1, nonce=NONCE, model=victim)
    with pytest.raises(VerificationError, match="other pictures"):
        verify(honest, pictures[::-1], answer, nonce=NONCE, model=victim)
    with pytest.raises(VerificationError, match="other pictures"):
        verify(honest, pictures[:2], answer, nonce=NONCE, model=victim)
    with pytest.raises(VerificationError, match="another nonce"):
        verify(honest, pictures, answer, nonce=bytes(16), model=victim)


def another(victim: IntegerNetwork, change: str) -> IntegerNetwork:
    nodes = list(victim.nodes)
    last = nodes[-1]
    assert isinstance(last, g.Linear)
    if change == "cheaper weights":
        nodes[-1] = g.Linear(input=last.input, weight=last.weight // 2 * 2, bias=last.bias)
    elif change == "swapped layers":
        nodes[4:6] = [
            g.SumPool(input=3, kernel=(2, 2), stride=(2, 2)),
            g.MaxPool(input=3, kernel=(2, 2), stride=(2, 2)),
        ]
    else:
        nodes[3] = g.Requantise(input=2, shift=4, low=-64, high=63, start=0, stop=3)
    return IntegerNetwork(tuple(nodes), victim.class_names, 1.0)


@pytest.mark.parametrize("change", ["cheaper weights", "swapped layers", "another activation"])
def test_an_answer_of_another_model_is_rejected_whatever_it_calls_itself(
    change: str, victim: IntegerNetwork, pictures: np.ndarray
) -> None:
    other = another(victim, change)
    answer, receipt = prove(other, pictures, nonce=NONCE)
    with pytest.raises(VerificationError, match="another model"):
        verify(receipt, pictures, answer, nonce=NONCE, model=victim)
    disguised = changed(receipt, model=bytes.fromhex(victim.digest))
    with pytest.raises(VerificationError):
        verify(disguised, pictures, answer, nonce=NONCE, model=victim)


@pytest.fixture(scope="module")
def hidden(victim: IntegerNetwork) -> HiddenNetwork:
    return HiddenNetwork(victim)


def test_a_provider_that_runs_other_weights_than_it_committed_to_is_caught(
    victim: IntegerNetwork, hidden: HiddenNetwork, pictures: np.ndarray
) -> None:
    other = another(victim, "cheaper weights")
    impostor = HiddenNetwork(other)
    answer, receipt = prove(other, pictures, nonce=NONCE, hidden=impostor)
    with pytest.raises(VerificationError, match="another model"):
        verify(receipt, pictures, answer, nonce=NONCE, commitment=hidden.digest)
    disguised = changed(receipt, model=hidden.digest, architecture=hidden.description, weights_root=hidden.root)
    with pytest.raises(VerificationError):
        verify(disguised, pictures, answer, nonce=NONCE, commitment=hidden.digest)
    with pytest.raises(VerificationError, match="not the committed one"):
        verify(changed(receipt, model=hidden.digest), pictures, answer, nonce=NONCE, commitment=hidden.digest)


def test_a_prover_that_opens_its_commitment_wrongly_is_caught(
    victim: IntegerNetwork, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits to the agreed weights, computes with cheaper ones."""
    other = another(victim, "cheaper weights")
    swindler = HiddenNetwork(victim)
    swindler.network = other
    answer, receipt = prove(other, pictures, nonce=NONCE, hidden=swindler)
    with pytest.raises(VerificationError):
        verify(receipt, pictures, answer, nonce=NONCE, commitment=swindler.digest)


@pytest.mark.parametrize(
    ("kind", "value"), [("weight 0", 128), ("weight 0", -129), ("limb 1", 1 << 16), ("limb 0", -1)]
)
def test_a_commitment_to_a_weight_or_bias_out_of_range_is_not_accepted(
    victim: IntegerNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path, kind: str, value: int
) -> None:
    fill = HiddenNetwork._fill

    def lie(self: HiddenNetwork):
        vector, places = fill(self)
        vector[self.plan.blocks[kind, 10].offset] = value
        return vector, places

    monkeypatch.setattr(HiddenNetwork, "_fill", lie)
    with pytest.raises(VerificationError, match=r"out of range|disagrees"):
        accept_commitment(HiddenNetwork(victim).save(tmp_path / "c").read_bytes())


def test_a_commitment_file_with_any_part_changed_is_not_accepted(hidden: HiddenNetwork, tmp_path) -> None:
    good = hidden.save(tmp_path / "c").read_bytes()
    assert accept_commitment(good) == hidden.digest
    for place in range(3, len(good), len(good) // 60):
        with pytest.raises(VerificationError):
            accept_commitment(flipped(good, place))
    with pytest.raises(UnreadableReceipt):
        accept_commitment(good + b"\0")
    with pytest.raises(UnreadableReceipt):
        accept_commitment(good[:-1])


HEADERS = {
    "nothing": b"",
    "text": b"hello, I am a receipt",
    "a map": msgspec.msgpack.encode({"format": "assay receipt"}),
    "ten gigabytes of proof in the header": b"\x9c\xadassay receipt\x01\xc6\xff\xff\xff\xff",
    "four billion entries": b"\xdd\xff\xff\xff\xff",
    "deeply nested": b"\x91" * 100_000,
    "a later version": msgspec.msgpack.encode(["assay receipt", 99]),
    "a version that is no number": msgspec.msgpack.encode(["assay receipt", "1"]),
    "a bare name": msgspec.msgpack.encode(["assay receipt"]),
}


@pytest.mark.parametrize("what", HEADERS)
def test_what_is_no_receipt_is_called_unreadable(what: str) -> None:
    with pytest.raises(UnreadableReceipt) as caught:
        parse(HEADERS[what])
    assert caught.value.exit_code == 2


def test_a_receipt_in_another_encoding_is_refused(honest: Receipt) -> None:
    data = honest.to_bytes()
    position = data.index(b"assay receipt")
    longer = data[: position - 1] + b"\xd9\x0d" + data[position:]
    with pytest.raises(UnreadableReceipt, match="one encoding"):
        parse(longer)


@given(st.binary(max_size=300))
def test_random_bytes_are_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableReceipt):
        parse(data)


@given(st.data())
@settings(max_examples=150)
def test_mutated_receipts_raise_verification_errors_only(
    honest: Receipt, victim: IntegerNetwork, pictures: np.ndarray, data: st.DataObject
) -> None:
    good = honest.to_bytes()
    first = data.draw(st.integers(0, len(good)))
    last = data.draw(st.integers(first, min(len(good), first + 40)))
    mutated = good[:first] + data.draw(st.binary(max_size=40)) + good[last:]
    if mutated != good:
        with pytest.raises(VerificationError):
            verify(mutated, pictures, None, nonce=NONCE, model=victim)

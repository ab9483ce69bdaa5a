"""The whole: every operation proven, answers equal to the run in the clear, refusals by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from assay.errors import InputError
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof import (
    HiddenNetwork,
    Receipt,
    UnprovableError,
    VerificationError,
    accept_commitment,
    parse,
    prove,
    verify,
)
from assay.proof.api import plan_for
from assay.proof.commitment import QUERIES
from assay.proof.plan import SUPPORTED

Pictures = Callable[[IntegerNetwork, int], np.ndarray]


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_every_network_is_proven_and_its_answer_is_that_of_the_run(
    any_network: IntegerNetwork, batch: int, pictures: Pictures, nonce: bytes
) -> None:
    x = pictures(any_network, batch)
    answer, receipt = prove(any_network, x, nonce=nonce)
    assert (answer == any_network.run(x)).all()
    verified = verify(receipt.to_bytes(), x, answer, nonce=nonce, model=any_network)
    assert (verified.outputs == answer).all()
    assert verified.labels == any_network.predict(x).tolist()
    assert verified.ledger.bits > 99
    assert verified.notes == ()


def test_the_networks_of_these_tests_use_every_operation_that_can_be_proven(
    named_network: Callable[[str], IntegerNetwork],
) -> None:
    names = ("perceptron", "classic", "convolutional", "residual", "shared_sum")
    assert {type(node) for name in names for node in named_network(name).nodes} == set(SUPPORTED)


@pytest.mark.parametrize("name", ["perceptron", "convolutional", "residual", "classic", "shared_sum"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_client_that_holds_only_a_commitment_is_convinced_as_well(
    name: str, batch: int, named_network: Callable[[str], IntegerNetwork], pictures: Pictures, nonce: bytes, tmp_path
) -> None:
    network = named_network(name)
    hidden = HiddenNetwork(network)
    commitment = accept_commitment(hidden.save(tmp_path / "net.commitment").read_bytes())
    assert commitment == hidden.digest
    x = pictures(network, batch)
    answer, receipt = prove(network, x, nonce=nonce, hidden=hidden)
    verified = verify(receipt, x, answer, nonce=nonce, commitment=commitment)
    assert (verified.outputs == network.run(x)).all()
    assert verified.ledger.bits > 99


@pytest.mark.parametrize("name", ["convolutional", "residual"])
def test_many_groups_of_lookups_are_proven_as_one(
    name: str,
    named_network: Callable[[str], IntegerNetwork],
    pictures: Pictures,
    nonce: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path,
) -> None:
    """Groups are for large batches; here they are made so small that tensors and weights span several."""
    monkeypatch.setattr("assay.proof.blocks.GROUP_BITS", 7)
    network, x = named_network(name), pictures(named_network(name), 3)
    plan = plan_for(network, 3)
    assert plan.lookups.bits > 3
    answer, receipt = prove(network, x, nonce=nonce)
    assert (verify(receipt, x, answer, nonce=nonce, model=network).outputs == network.run(x)).all()
    hidden = HiddenNetwork(network)
    assert hidden.plan.lookups.bits > 1
    commitment = accept_commitment(hidden.save(tmp_path / "net.commitment").read_bytes())
    answer, receipt = prove(network, x, nonce=nonce, hidden=hidden)
    verify(receipt, x, answer, nonce=nonce, commitment=commitment)


def test_networks_whose_weights_cannot_be_committed_are_refused_by_layer(
    named_network: Callable[[str], IntegerNetwork],
) -> None:
    last = named_network("classic").nodes[-1]
    assert isinstance(last, g.Linear)
    squares = (g.Input((7, 1, 1)), g.Flatten(input=0), g.ReLU(input=1, start=0, stop=7))
    compared = IntegerNetwork((*squares, replace(last, input=2)), ("a", "b", "c"), 1.0, classic=True)
    with pytest.raises(UnprovableError, match="classic network with lookups"):
        HiddenNetwork(compared)
    wide = IntegerNetwork(
        (
            g.Input((1, 1, 2)),
            g.Flatten(input=0),
            g.Linear(input=1, weight=np.array([[200, 1]]), bias=np.array([0]), name="head"),
        ),
        ("one",),
        1.0,
    )
    with pytest.raises(UnprovableError, match=r"layer head.* beyond 8 bits"):
        HiddenNetwork(wide)


def test_verification_never_runs_the_network(
    any_network: IntegerNetwork, pictures: Pictures, nonce: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = pictures(any_network, 2)
    answer, receipt = prove(any_network, x, nonce=nonce)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the verifier ran the network")

    monkeypatch.setattr(IntegerNetwork, "run", forbidden)
    monkeypatch.setattr(IntegerNetwork, "trace", forbidden)
    monkeypatch.setattr("assay.integer.execute.execute", forbidden)
    assert verify(receipt, x, answer, nonce=nonce, model=any_network).labels == answer.argmax(1).tolist()


def test_a_table_that_would_be_too_large_is_refused_by_the_layers_name() -> None:
    network = IntegerNetwork(
        (
            g.Input((1, 4, 4), low=0, high=1 << 30),
            g.Flatten(input=0),
            g.ReLU(input=1, start=0, stop=16, name="act"),
            g.Linear(input=2, weight=np.ones((1, 16), np.int64), bias=np.zeros(1, np.int64)),
        ),
        ("one",),
        1.0,
    )
    with pytest.raises(UnprovableError, match="layer act"):
        prove(network, np.zeros((1, 1, 4, 4), np.int64), nonce=bytes(16))


@pytest.fixture
def proven(
    named_network: Callable[[str], IntegerNetwork], pictures: Pictures, nonce: bytes
) -> tuple[IntegerNetwork, np.ndarray, np.ndarray, Receipt]:
    network = named_network("perceptron")
    x = pictures(network, 2)
    return network, x, *prove(network, x, nonce=nonce)


def test_inputs_and_nonce_may_be_left_out_only_when_that_is_said_and_noted(proven, nonce: bytes) -> None:
    network, x, answer, receipt = proven
    with pytest.raises(ValueError, match="trust_receipt_inputs"):
        verify(receipt, None, answer, nonce=nonce, model=network)
    with pytest.raises(ValueError, match="allow_replay"):
        verify(receipt, x, answer, nonce=None, model=network)
    with pytest.raises(ValueError, match="commitment"):
        verify(receipt, x, answer, nonce=nonce)
    verified = verify(receipt, None, None, nonce=None, model=network, trust_receipt_inputs=True, allow_replay=True)
    assert len(verified.notes) == 2 and (verified.outputs == answer).all()


def test_short_nonces_and_pictures_of_another_kind_are_refused(proven) -> None:
    network, x, _, _ = proven
    with pytest.raises(VerificationError, match="16 to 64 bytes"):
        prove(network, x, nonce=bytes(15))
    with pytest.raises(InputError):
        prove(network, x[:, :, :3], nonce=bytes(16))
    with pytest.raises(UnprovableError, match="at least one picture"):
        prove(network, x[:0], nonce=bytes(16))


def test_the_same_receipt_comes_out_of_the_same_request(proven, nonce: bytes) -> None:
    network, x, _, receipt = proven
    assert prove(network, x, nonce=nonce)[1].to_bytes() == receipt.to_bytes()


def test_a_receipt_survives_its_file(proven, tmp_path) -> None:
    receipt = proven[3]
    assert parse(receipt.save(tmp_path / "a.receipt").read_bytes()) == receipt


def test_progress_names_the_layers(proven, nonce: bytes) -> None:
    network, x, _, _ = proven
    seen: list[tuple[str, int, int]] = []
    prove(network, x, nonce=nonce, tick=lambda *said: seen.append(said))
    assert [what for what, _, _ in seen][:2] == ["committing", "lookups"]
    assert any("linear" in what for what, _, _ in seen)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_the_ledger_adds_up_and_names_its_bound(proven, nonce: bytes) -> None:
    network, x, answer, receipt = proven
    ledger = verify(receipt, x, answer, nonce=nonce, model=network).ledger
    assert min(term.bits for term in ledger.terms) > ledger.bits
    assert 2**-ledger.bits == pytest.approx(sum(term.error for term in ledger.terms))
    assert any(str(QUERIES) in term.step and "unique decoding" in term.bound for term in ledger.terms)

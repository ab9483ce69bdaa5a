"""A picture that is rounded before all else: the verifier rounds it too, and nothing of it is committed."""

from __future__ import annotations

import numpy as np
import pytest

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.files import to_bytes
from assay.proof import HiddenNetwork, VerificationError, prove, soundness_of, standalone, verify
from assay.proof.api import plan_for, prove_run
from integer_networks import drawing, network

X = np.random.default_rng(5).integers(-20, 21, (3, 3, 2, 3))


def rounded(high: int = 4) -> IntegerNetwork:
    """Of three channels one is rectified; what is rounded is read twice."""
    weights = drawing(33)
    return network(
        g.Input((3, 2, 3), low=-20, high=20),
        g.Requantise(input=0, shift=2, low=-4, high=high, start=1, stop=2),
        g.SumPool(input=1, kernel=(2, 2), stride=(1, 1)),
        g.Flatten(input=1),
        g.Flatten(input=2),
        g.Concat(inputs=(3, 4)),
        g.Linear(input=5, weight=weights(5, 24), bias=weights(5)),
        g.Square(input=6),
        g.Linear(input=7, weight=weights(3, 5), bias=weights(3)),
        classic=True,
    )


def alone(receipt: bytes, of: IntegerNetwork) -> list[list[int]]:
    pictures = standalone.whole_numbers("q", X.tobytes(), X.shape)
    known = standalone.read_network(to_bytes(of))
    return standalone.verify(standalone.read_receipt(receipt), known, None, pictures, bytes(16))


def test_it_is_proven_without_a_lookup_and_believed_by_both_verifiers() -> None:
    answer, receipt = prove(rounded(), X, nonce=bytes(16))
    assert plan_for(rounded(), len(X)).looked_up == [] == receipt.intervals
    assert (answer == rounded().run(X)).all()
    assert verify(receipt, X, answer, nonce=bytes(16), model=rounded()).labels == answer.argmax(1).tolist()
    assert alone(receipt.to_bytes(), rounded()) == answer.tolist()
    assert not any("lookups" in term.step for term in soundness_of(rounded(), len(X)).terms)


def test_its_weights_can_be_committed() -> None:
    hidden = HiddenNetwork(rounded())
    answer, receipt = prove(hidden.network, X, nonce=bytes(16), hidden=hidden)
    assert (verify(receipt, X, answer, nonce=bytes(16), commitment=hidden.digest).outputs == answer).all()
    assert (
        standalone.verify(standalone.read_receipt(receipt.to_bytes()), None, hidden.digest, None, None)
        == answer.tolist()
    )


def test_a_prover_that_rounds_it_otherwise_is_caught_by_both_verifiers() -> None:
    honest, otherwise = rounded(), rounded(high=3)
    values = list(otherwise.trace(X).values)
    assert (values[1] != honest.trace(X).values[1]).any()
    receipt = prove_run(honest, values, bytes(16))
    with pytest.raises(VerificationError, match="another picture"):
        verify(receipt, X, values[-1], nonce=bytes(16), model=honest)
    with pytest.raises(standalone.Rejected, match="another picture"):
        alone(receipt.to_bytes(), honest)

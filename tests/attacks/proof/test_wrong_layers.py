"""A prover that computes one step otherwise, and everything after it as it should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import assay.proof.lookup as lookup
import assay.proof.protocol as protocol
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof import VerificationError, verify
from assay.proof.api import prove_run
from assay.proof.field import Element, P, pack, unpack
from assay.proof.multilinear import variables
from assay.proof.plan import Plan
from assay.proof.witness import Witness, make_witness

NONCE = bytes(range(16))
Values = list[np.ndarray]
Patch = pytest.MonkeyPatch
Change = Callable[[Plan, Witness], Witness]


def forged(network: IntegerNetwork, values: Values, pictures: np.ndarray) -> None:
    """Prove these tensors and hand the receipt to a verifier, who must not believe it."""
    receipt = prove_run(network, values, NONCE)
    with pytest.raises(VerificationError):
        verify(receipt, pictures, values[-1], nonce=NONCE, model=network)


def lenient(plan: Plan, values: Values) -> Witness:
    """As `make_witness`, but values without a row in their table point at some row instead of being an error."""
    rows = sum(1 << table.bits for table in plan.tables)
    count = np.bincount

    def bincount(places: np.ndarray, minlength: int) -> np.ndarray:
        places %= rows
        return count(places, minlength=minlength)

    with Patch.context() as patch:
        patch.setattr("assay.proof.witness.np.bincount", bincount)
        return make_witness(plan, values)


def true_leaves(plan: Plan, witness: Witness, draws: lookup.Draws) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of what is committed, in the table or not: their sum is then not zero."""
    numerators, denominators = honest_leaves(plan, witness, draws)
    for (kind, about), block in plan.fractions.items():
        if kind != "window":
            continue
        here = slice(block.offset, block.offset + (1 << block.bits))
        values = witness.windows[about].ravel()
        denominators[here] = pack([draws.alphas[0] - 1 - int(value) for value in values])
    return numerators, denominators


honest_leaves = lookup._leaves


@pytest.mark.parametrize("leaves", [honest_leaves, true_leaves], ids=["rows of the table", "true values"])
def test_the_tools_of_these_attacks_convince_when_they_change_nothing(
    victim: IntegerNetwork, run: Values, pictures: np.ndarray, monkeypatch: Patch, leaves: Any
) -> None:
    monkeypatch.setattr(lookup, "_leaves", leaves)
    changed(monkeypatch, lambda plan, witness: witness)
    receipt = prove_run(victim, run, NONCE)
    assert (verify(receipt, pictures, run[-1], nonce=NONCE, model=victim).outputs == run[-1]).all()


@pytest.mark.parametrize("position", range(1, 11))
@pytest.mark.parametrize("error", [1, -1, 1 << 20])
@pytest.mark.parametrize("leaves", [honest_leaves, true_leaves], ids=["rows of the table", "true values"])
def test_a_layer_that_is_wrong_in_one_value_is_noticed(
    victim: IntegerNetwork,
    wrong_run: Callable[[int, int], Values],
    pictures: np.ndarray,
    monkeypatch: Patch,
    position: int,
    error: int,
    leaves: Any,
) -> None:
    monkeypatch.setattr(protocol, "make_witness", lenient)
    monkeypatch.setattr(lookup, "_leaves", leaves)
    forged(victim, wrong_run(position, error), pictures)


def changed(monkeypatch: Patch, change: Change) -> None:
    """Let the prover commit to something else than what its run gives."""
    monkeypatch.setattr(protocol, "make_witness", lambda plan, values: change(plan, lenient(plan, values)))


def with_vector(witness: Witness, place: int, value: int) -> Witness:
    vector = witness.vector.copy()
    vector[place] = value % P
    return replace(witness, vector=vector)


@pytest.fixture
def run(victim: IntegerNetwork, pictures: np.ndarray) -> Values:
    return [np.array(v) for v in victim.trace(pictures).values]


def requantised(plan: Plan) -> int:
    return next(k for k, node in enumerate(plan.nodes) if isinstance(node, g.Requantise))


@pytest.mark.parametrize("by_whole_step", [True, False], ids=["a whole step", "one"])
def test_a_remainder_out_of_range_or_off_by_one_is_noticed(
    victim: IntegerNetwork, run: Values, pictures: np.ndarray, monkeypatch: Patch, by_whole_step: bool
) -> None:
    """Rounding the other way: x + half = 2^s·(q − 1) + (rem + 2^s), or a q that is no whole number."""

    def change(plan: Plan, witness: Witness) -> Witness:
        k = requantised(plan)
        block = plan.columns["remainder", k]
        step = 1 << plan.shift(k) if by_whole_step else 1
        return with_vector(witness, block.offset, int(witness.vector[block.offset]) + step)

    changed(monkeypatch, change)
    forged(victim, run, pictures)


def test_a_quotient_that_wraps_around_the_field_is_noticed(
    victim: IntegerNetwork, run: Values, pictures: np.ndarray, monkeypatch: Patch
) -> None:
    """rem = x + half − 2^s·q mod p for a q of the prover's choice is a field element, but not in [0, 2^s)."""

    def change(plan: Plan, witness: Witness) -> Witness:
        k = requantised(plan)
        node = plan.nodes[k]
        assert isinstance(node, g.Requantise)
        raised = int(run[node.input].flat[0]) + node.half
        remainder = (raised - (5 << node.shift)) % P
        witness = with_vector(witness, plan.columns["remainder", k].offset, remainder)
        return with_vector(witness, plan.columns["output", k].offset, 5)

    changed(monkeypatch, change)
    forged(victim, run, pictures)


def test_padding_that_is_not_zero_is_noticed(
    victim: IntegerNetwork, run: Values, pictures: np.ndarray, monkeypatch: Patch
) -> None:
    """The fourth picture of a batch of three, and the last row of padding of the last channel."""
    for place in (-1, 3 << 7):

        def change(plan: Plan, witness: Witness, place: int = place) -> Witness:
            block = plan.columns["output", requantised(plan)]
            return with_vector(witness, block.offset + place % (1 << block.bits), 1)

        with monkeypatch.context() as patch:
            changed(patch, change)
            forged(victim, run, pictures)


def test_counts_chosen_after_the_challenge_are_noticed(
    victim: IntegerNetwork, wrong_run: Callable[[int, int], Values], pictures: np.ndarray, monkeypatch: Patch
) -> None:
    """Once α is known, one count can make any sum zero; but counts are committed before α is drawn."""

    def solved(plan: Plan, witness: Witness, draws: lookup.Draws) -> tuple[np.ndarray, np.ndarray]:
        numerators, denominators = true_leaves(plan, witness, draws)
        place = plan.fractions["table", 0].offset
        total = Element(0)
        for k, (p, d) in enumerate(zip(unpack(numerators), unpack(denominators), strict=True)):
            if k != place:
                total = total + p * (d + 1).inverse()
        numerators[place] = pack([-total * (unpack(denominators[place])[0] + 1)])[0]
        return numerators, denominators

    monkeypatch.setattr(protocol, "make_witness", lenient)
    monkeypatch.setattr(lookup, "_leaves", solved)
    forged(victim, wrong_run(4, -1), pictures)


def test_the_challenges_of_the_lookups_depend_on_the_commitment(
    victim: IntegerNetwork, run: Values, monkeypatch: Patch
) -> None:
    seen = []

    def spy(plan: Plan, witness: Witness, draws: lookup.Draws) -> tuple[np.ndarray, np.ndarray]:
        seen.append(draws)
        return honest_leaves(plan, witness, draws)

    monkeypatch.setattr(lookup, "_leaves", spy)
    prove_run(victim, run, NONCE)
    changed(monkeypatch, lambda plan, w: with_vector(w, plan.columns["counts", 0].offset, 1))
    prove_run(victim, run, NONCE)
    assert seen[0] != seen[1]


def test_outputs_that_differ_by_a_multiple_of_p_are_not_the_same(
    victim: IntegerNetwork, run: Values, pictures: np.ndarray
) -> None:
    run[-1] = run[-1].copy()
    run[-1][0, 0] += P
    forged(victim, run, pictures)


def test_a_logit_of_padding_cannot_win(victim: IntegerNetwork, run: Values, pictures: np.ndarray) -> None:
    """Three classes are padded to four; an answer with a fourth is refused, and labels stay below three."""
    run[-1] = np.concatenate([run[-1], np.full((3, 1), 10**6)], axis=1)
    with pytest.raises((VerificationError, ValueError)):
        receipt = prove_run(victim, run, NONCE)
        verify(receipt, pictures, run[-1], nonce=NONCE, model=victim)
    assert variables(3) == variables(4)

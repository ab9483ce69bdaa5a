"""Codewords, trees and openings."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.proof import commitment as c
from assay.proof import merkle
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, P, unpack
from assay.proof.multilinear import tensor_at
from assay.proof.reed_solomon import encode, position_root
from assay.proof.transcript import Reader, Recorder

words = st.integers(0, P - 1)
elements = st.builds(Element, words, words)


@pytest.mark.parametrize(("bits", "rows"), [(0, 1), (1, 3), (3, 5)])
def test_a_codeword_lists_the_values_of_its_polynomial_at_all_roots(bits: int, rows: int) -> None:
    messages = np.random.default_rng(bits).integers(0, P, (rows, 2, 1 << bits), dtype=np.uint64)
    columns = encode(messages)
    for row in range(rows):
        coefficients = [Element(int(re), int(im)) for re, im in messages[row].T]
        for position in range(4 << bits):
            root = position_root(position, bits)
            value = sum((a * root**k for k, a in enumerate(coefficients)), ZERO)
            assert unpack(columns[position, row]) == [value]
    assert len({hash(position_root(k, bits)) for k in range(4 << bits)}) == 4 << bits


@given(st.integers(0, 5), st.data())
def test_a_tree_proves_any_set_of_leaves_and_no_other_leaf(depth: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(bytes([k])) for k in range(1 << depth)]
    tree = merkle.MerkleTree(leaves)
    chosen = data.draw(st.lists(st.integers(0, (1 << depth) - 1), min_size=1, max_size=6))
    opened = {k: leaves[k] for k in chosen}
    siblings = b"".join(tree.siblings(chosen))
    merkle.check_leaves(tree.root, depth, opened, io.BytesIO(siblings).read)
    with pytest.raises(VerificationError):
        merkle.check_leaves(
            tree.root, depth, opened | {chosen[0]: merkle.leaf_hash(b"another")}, io.BytesIO(siblings).read
        )


def test_an_inner_node_cannot_stand_for_a_leaf() -> None:
    assert merkle.leaf_hash(b"a" * 64) != merkle.node_hash(b"a" * 32, b"a" * 32)


def claims_on(values: np.ndarray, points: list[list[Element]]) -> list[c.Claim]:
    """One claim on a block of 4, one on a block of 8, and one on a combination of two blocks."""
    small, large = tuple(points[0][:2]), tuple(points[1][:3])
    at = lambda offset, point: tensor_at(values[offset : offset + (1 << len(point))], point)  # noqa: E731
    two = Element(5, 6)
    return [
        c.Claim((c.Term(12, small),), at(12, small)),
        c.Claim((c.Term(0, large),), at(0, large)),
        c.Claim((c.Term(8, small), c.Term(4, small, two)), at(8, small) + two * at(4, small)),
    ]


@given(st.integers(16, 200), st.lists(st.lists(elements, min_size=3, max_size=3), min_size=2, max_size=2))
@settings(max_examples=15)
def test_true_claims_are_proven_and_false_ones_are_not(size: int, points: list[list[Element]]) -> None:
    values = np.random.default_rng(size).integers(0, P, size, dtype=np.uint64)
    committed, recorder = c.Committed(values), Recorder()
    claims = claims_on(values, points)
    committed.prove(recorder, claims)
    reader = Reader(bytes(recorder.proof))
    c.verify_claims(reader, committed.root, committed.layout, claims)
    reader.finish()
    for k, claim in enumerate(claims):
        wrong = [*claims]
        wrong[k] = c.Claim(claim.terms, claim.value + ONE)
        with pytest.raises(VerificationError):
            c.verify_claims(Reader(bytes(recorder.proof)), committed.root, committed.layout, wrong)


@given(st.integers(1, 1 << 26))
def test_a_layout_holds_its_values_and_states_a_bound_of_a_hundred_bits(size: int) -> None:
    layout = c.layout_for(size)
    assert layout.rows * layout.row_values >= size
    assert 1 << layout.variables >= size
    assert layout.query_bits > 104
    assert layout.gap <= c.MAX_GAP


@given(st.binary(max_size=400))
@settings(max_examples=30)
def test_bytes_that_are_no_opening_raise_verification_errors(proof: bytes) -> None:
    layout = c.layout_for(16)
    point = (Element(3, 4),) * 4
    with pytest.raises(VerificationError):
        c.verify_claims(Reader(proof), bytes(32), layout, [c.Claim((c.Term(0, point),), ONE)])

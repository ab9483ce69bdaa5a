"""Sum-checks: honest ones convince and end at the right value, any changed byte does not."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.proof import standalone
from assay.proof import sumcheck as s
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, P, pack, unpack
from assay.proof.fraction_sum import prove_zero_sum, verify_zero_sum
from assay.proof.multilinear import at, evaluate, variables
from assay.proof.transcript import Reader, Recorder

words = st.integers(0, P - 1)
elements = st.builds(Element, words, words)
tables = st.lists(elements, min_size=1, max_size=9)


def total(terms: list[Element]) -> Element:
    return sum(terms, ZERO)


def sizes(*lists: list[Element]) -> int:
    return variables(max(len(values) for values in lists))


@given(tables, elements)
def test_interpolation_is_lagranges_formula_for_both_verifiers(values: list[Element], x: Element) -> None:
    expected = ZERO
    for k, value in enumerate(values):
        others = [j for j in range(len(values)) if j != k]
        expected = expected + prod((x - j for j in others), start=value) * pow(prod(k - j for j in others), -1, P)
    assert s.interpolate(values, x) == expected
    reader, point = standalone.Reader(b""), list[standalone.E]()
    reader.draw = lambda count: [standalone.E(x.re, x.im)]  # type: ignore[method-assign]
    alone = reader.bound([standalone.E(value.re, value.im) for value in values], point)
    assert (alone.real, alone.imag) == (expected.re, expected.im)


def test_interpolation_takes_a_few_multiplications_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a receipt costs its verifier grows with its length, and not with the square of a pooling window."""
    values, multiply, done = [Element(k, 1) for k in range(1000)], Element.__mul__, [0]

    def counted(a: Element, b: Element | int) -> Element:
        done[0] += 1
        return multiply(a, b)

    monkeypatch.setattr(Element, "__mul__", counted)
    s.interpolate(values, Element(12345, 6))
    assert done[0] < 10 * len(values)


@given(tables, tables)
def test_a_sum_of_products_is_reduced_to_one_point(a: list[Element], b: list[Element]) -> None:
    n, claim = sizes(a, b), total([x * y for x, y in zip(a, b, strict=False)])
    recorder = Recorder()
    point, at_a, at_b = s.prove_pair(recorder, claim, pack(a), pack(b), n)
    reader = Reader(bytes(recorder.proof))
    heard, last = s.verify_pair(reader, claim, n)
    reader.finish()
    assert heard == point and last == at_a * at_b
    assert at_a == evaluate(pack(a), point) and at_b == evaluate(pack(b), point)


@given(tables, tables, elements)
def test_a_wrong_sum_of_products_ends_at_a_wrong_value(a: list[Element], b: list[Element], error: Element) -> None:
    n, claim = sizes(a, b), total([x * y for x, y in zip(a, b, strict=False)])
    recorder = Recorder()
    s.prove_pair(recorder, claim, pack(a), pack(b), n)
    wrong = claim + error if error != ZERO else claim + 1
    point, last = s.verify_pair(Reader(bytes(recorder.proof)), wrong, n)
    assert last != evaluate(pack(a), point) * evaluate(pack(b), point)


@given(tables, st.lists(elements.filter(lambda e: e != ZERO), min_size=4, max_size=4))
def test_a_weighted_sum_of_squares_is_reduced_to_one_point(values: list[Element], corner: list[Element]) -> None:
    claim = total([at(corner, k) * v * v for k, v in enumerate(values)])
    recorder = Recorder()
    point, value = s.prove_square(recorder, claim, pack(values), corner)
    heard, last = s.verify_weighted(Reader(bytes(recorder.proof)), claim, corner, 2)
    assert heard == point and last == value * value and value == evaluate(pack(values), point)


@given(st.integers(1, 4), st.integers(1, 8), st.data())
@settings(max_examples=25)
def test_a_weighted_sum_of_products_of_many_is_reduced_to_one_point(count: int, size: int, data: st.DataObject) -> None:
    many = [data.draw(st.lists(elements, min_size=size, max_size=size)) for _ in range(count)]
    corner = data.draw(st.lists(elements, min_size=3, max_size=3))
    claim = ZERO
    for k in range(size):
        product = at(corner, k)
        for values in many:
            product = product * values[k]
        claim = claim + product
    recorder = Recorder()
    point, found = s.prove_product(recorder, np.stack([pack(values) for values in many]), corner)
    heard, last = s.verify_weighted(Reader(bytes(recorder.proof)), claim, corner, count)
    assert heard == point and found == [evaluate(pack(values), point) for values in many]
    product = ONE
    for value in found:
        product = product * value
    assert product == last


@given(st.lists(elements, min_size=1, max_size=5), elements)
def test_interpolation_goes_through_its_values(values: list[Element], x: Element) -> None:
    assert [s.interpolate(values, Element(k)) for k in range(len(values))] == values
    if len(values) == 3:
        assert s.quadratic(*values, x) == s.interpolate(values, x)


def fractions(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """1/(α − f) for each lookup and −m/(α − t) for each row of a table of four."""
    looked_up = [row for row, count in enumerate(counts) for _ in range(count)]
    alpha = Element(987654321, 123456789)
    d = [alpha - 1 - row for row in [*looked_up, *range(4)]]
    p = [ONE] * len(looked_up) + [Element(-count) for count in counts]
    return pack(p), pack(d)


@given(st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_fractions_that_cancel_are_proven_to_and_leave_a_true_claim(counts: list[int]) -> None:
    p, d = fractions(counts)
    recorder = Recorder()
    said = prove_zero_sum(recorder, p, d)
    reader = Reader(bytes(recorder.proof))
    heard = verify_zero_sum(reader, len(p))
    reader.finish()
    assert said == heard
    assert (heard.numerator, heard.denominator) == (evaluate(p, heard.point), evaluate(d, heard.point))


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4), st.integers(0, 3))
def test_fractions_that_do_not_cancel_cannot_be_proven(counts: list[int], wrong: int) -> None:
    p, d = fractions(counts)
    p[len(p) - 4 + wrong, 0] = np.uint64((int(p[len(p) - 4 + wrong, 0]) + 1) % P)
    recorder = Recorder()
    prove_zero_sum(recorder, p, d)
    with pytest.raises(VerificationError):
        verify_zero_sum(Reader(bytes(recorder.proof)), len(p))


def test_a_zero_denominator_is_refused() -> None:
    p, d = pack([ZERO, ZERO]), pack([Element(-1), ZERO])
    recorder = Recorder()
    prove_zero_sum(recorder, p, d)
    with pytest.raises(VerificationError, match="denominator"):
        verify_zero_sum(Reader(bytes(recorder.proof)), 2)


def _weighted(proof: bytes) -> None:
    s.verify_weighted(Reader(proof), Element(5), [Element(3), Element(4)], 2)


def _pair(proof: bytes) -> None:
    s.verify_pair(Reader(proof), Element(5), 2)


@pytest.mark.parametrize("verify", [_weighted, _pair])
@given(proof=st.binary(max_size=100))
@settings(max_examples=30)
def test_bytes_that_are_no_proof_raise_only_verification_errors(verify: Callable[[bytes], None], proof: bytes) -> None:
    try:
        verify(proof)
    except VerificationError:
        return
    assert len(proof) >= 64  # a plain sum-check has no check of its own before its last value


def test_unpacked_words_are_what_was_packed() -> None:
    assert unpack(pack([Element(7, 8)])) == [Element(7, 8)]

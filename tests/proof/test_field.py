"""F_p and F_p²: laws, kernels against the plain twin, redundant encodings, roots of unity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.proof import field
from assay.proof.field import ONE, ZERO, Element, I, P, pack, unpack

# words at the edges come up often; p itself is the redundant word for 0
words = st.one_of(st.sampled_from([0, 1, 2, P - 1, P, P // 2, (1 << 60) - 1]), st.integers(0, P))
elements = st.builds(Element, words, words)


@given(elements, elements, elements)
def test_the_plain_twin_obeys_the_field_laws(a: Element, b: Element, c: Element) -> None:
    assert a + b == b + a and a * b == b * a
    assert (a + b) + c == a + (b + c) and (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + ZERO == a and a * ONE == a and a - a == ZERO and a + -a == 0
    assert a * a.inverse() == (0 if a == ZERO else 1)
    assert 3 - a == Element(3) - a and 2 * a + 1 == a + a + ONE


@given(st.lists(st.tuples(words, words, words, words), min_size=1, max_size=5))
def test_kernels_agree_with_the_plain_twin_on_redundant_words(rows: list[tuple[int, int, int, int]]) -> None:
    a = np.array([row[:2] for row in rows], np.uint64)
    b = np.array([row[2:] for row in rows], np.uint64)
    for kernel, plain in (
        (field.products, Element.__mul__),
        (field.sums, Element.__add__),
        (field.differences, Element.__sub__),
    ):
        found = kernel(a, b)
        assert field.is_canonical(found)
        assert unpack(found) == [plain(x, y) for x, y in zip(unpack(a), unpack(b), strict=True)]
    assert unpack(field.dot(a, b))[0] == sum((x * y for x, y in zip(unpack(a), unpack(b), strict=True)), ZERO)


@given(elements)
def test_conjugation_is_the_p_th_power_and_i_squared_is_minus_one(a: Element) -> None:
    assert a.conjugate() == a**P
    assert I * I == -1


@pytest.mark.parametrize("bits", [0, 1, 5, 20, field.ROOT_BITS])
def test_roots_of_unity_have_exactly_their_order(bits: int) -> None:
    root = field.root_of_unity(bits)
    assert root ** (1 << bits) == ONE
    assert bits == 0 or root ** (1 << (bits - 1)) == -1


@given(st.lists(st.integers(-(1 << 60) + 1, (1 << 60) - 1), max_size=6))
def test_negative_integers_become_p_minus_their_size(values: list[int]) -> None:
    assert field.from_integers(np.array(values, np.int64)).tolist() == [v % P for v in values]


@given(words, words)
def test_only_words_below_p_are_canonical(a: int, b: int) -> None:
    assert field.is_canonical(np.array([a, b], np.uint64)) == (a < P and b < P)


@given(st.lists(elements, max_size=4))
def test_packing_keeps_elements(values: list[Element]) -> None:
    assert unpack(pack(values)) == values
    assert all(hash(x) == hash(y) for x, y in zip(unpack(pack(values)), values, strict=True))

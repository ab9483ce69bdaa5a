"""Extensions against their definition: a sum over {0,1}ⁿ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.proof import multilinear as m
from assay.proof.field import ZERO, Element, P, from_integers, pack, unpack

words = st.integers(0, P - 1)
elements = st.builds(Element, words, words)
points = st.lists(elements, min_size=0, max_size=5)


def total(terms: list[Element]) -> Element:
    return sum(terms, ZERO)


@given(points)
def test_the_eq_table_lists_eq_with_every_corner(point: list[Element]) -> None:
    assert unpack(m.eq_table(point)) == [m.at(point, k) for k in range(1 << len(point))]


@given(st.lists(st.tuples(elements, elements), max_size=4))
def test_eq_is_the_sum_over_corners_of_both(pairs: list[tuple[Element, Element]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert m.eq(a, b) == total([m.at(a, k) * m.at(b, k) for k in range(1 << len(pairs))])


@given(points, st.integers(0, 40))
def test_below_and_index_sum_are_sums_over_the_first_corners(point: list[Element], count: int) -> None:
    inside = min(count, 1 << len(point))
    assert m.below(point, count) == total([m.at(point, k) for k in range(inside)])
    assert m.index_sum(point, count) == total([k * m.at(point, k) for k in range(inside)])


@given(st.lists(elements, min_size=1, max_size=8), st.lists(elements, min_size=3, max_size=3))
def test_folding_all_variables_evaluates_a_table_whose_tail_is_missing(
    table: list[Element], point: list[Element]
) -> None:
    expected = total([m.at(point, k) * value for k, value in enumerate(table)])
    folded = pack(table)
    for r in reversed(point):
        folded = m.fold(folded, pack([r])[0])
    assert unpack(folded) == [expected]
    assert m.evaluate(pack(table), point) == expected


@pytest.mark.parametrize("largest", [100, 30_000, 1 << 59])
@given(data=st.data())
@settings(max_examples=15)
def test_binding_agrees_with_the_definition_for_every_width_of_number(largest: int, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    values = np.array(
        data.draw(st.lists(st.integers(-largest, largest), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])),
        np.int64,
    ).reshape(shape)
    weights = data.draw(st.lists(elements, min_size=4, max_size=4))
    rows, columns = shape
    assert unpack(m.combine(values, pack(weights))) == [
        total([weights[r] * int(values[r, c]) for r in range(rows)]) for c in range(columns)
    ]
    assert unpack(m.contract(values, pack(weights))) == [
        total([weights[c] * int(values[r, c]) for c in range(columns)]) for r in range(rows)
    ]


def test_sums_of_more_rows_than_a_chunk_do_not_overflow() -> None:
    values = np.full((m._CHUNK + 3, 1), -(1 << 15), np.int16)
    weights = np.full((len(values), 2), P - 1, np.uint64)
    expected = Element(-1, -1) * (-(1 << 15) * len(values))
    assert unpack(m.combine(values, weights)) == [expected]
    assert unpack(m.contract(np.ascontiguousarray(values.T), weights)) == [expected]


@given(st.lists(elements, min_size=6, max_size=6))
def test_a_tensor_is_padded_axis_by_axis(point: list[Element]) -> None:
    values = np.arange(-10, 20, dtype=np.int64).reshape(3, 2, 5)
    parts = m.split(point, values.shape)
    assert [len(part) for part in parts] == [2, 1, 3]
    expected = total(
        [m.at(parts[0], a) * m.at(parts[1], b) * m.at(parts[2], c) * int(v) for (a, b, c), v in np.ndenumerate(values)]
    )
    assert m.tensor_at(values, point) == expected
    plain = np.stack([from_integers(values), np.zeros(values.size, np.uint64)], axis=1)
    assert m.evaluate(m.pad_axes(plain, values.shape), point) == expected


@given(st.lists(elements, min_size=2, max_size=3), st.lists(elements, min_size=1, max_size=3))
def test_outer_products_list_the_second_factor_fastest(a: list[Element], b: list[Element]) -> None:
    assert unpack(m.outer(pack(a), pack(b))) == [x * y for x in a for y in b]

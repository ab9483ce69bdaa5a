"""Arithmetic mod p = 2^61 − 1 in numpy agrees with Python's integers, and sees every value that wraps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_oracle import defined, network_of, pictures, seeds, wraps

from assay.integer import LARGEST, FieldWrapWarning, modular
from assay.integer.definition import centred
from assay.integer.graph import Add, Conv2d, Flatten, Linear, Offset, Square, SumPool

edges = [0, 1, -1, 2**30 - 1, 2**30, -(2**30), 2**31, LARGEST - 1, LARGEST, -LARGEST, 2**59]
elements = st.lists(st.integers(-LARGEST, LARGEST) | st.sampled_from(edges), min_size=1, max_size=20)


def expected(values: list[int]) -> tuple[list[int], int]:
    return [centred(v) for v in values], sum(abs(v) > LARGEST for v in values)


@given(elements)
def test_squares(values):
    found, wrapped = modular.squared(np.array(values))
    assert (found.tolist(), wrapped) == expected([v * v for v in values])


@given(elements, st.data())
def test_scaled_sums(values, data):
    others = data.draw(st.lists(st.integers(-LARGEST, LARGEST), min_size=len(values), max_size=len(values)))
    shift = data.draw(st.integers(0, 30))
    found, wrapped = modular.added([np.array(values), np.array(others), np.array(values)], (0, shift, 1))
    sums = [3 * a + b * 2**shift for a, b in zip(values, others, strict=True)]
    assert (found.tolist(), wrapped) == expected(sums)


@given(elements, st.data())
def test_weighted_sums(values, data):
    heaviest = data.draw(st.sampled_from([2**10, 2**23, 2**24, 2**32 - 1]))
    most, n = heaviest // len(values), len(values)
    weights = data.draw(st.lists(st.integers(-most, most), min_size=n, max_size=n))
    bias = data.draw(st.integers(-LARGEST, LARGEST))
    row = np.array(weights)
    found, wrapped = modular.weighted(
        np.array([values]), np.array([bias]), lambda limb: limb @ row.astype(limb.dtype)[:, None], heaviest
    )
    total = bias + sum(w * v for w, v in zip(weights, values, strict=True))
    assert (found.ravel().tolist(), wrapped) == expected([total])


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([2**4, 2**12, 2**20]))
def test_a_classic_network_is_its_definition_mod_p_and_counts_what_wraps(seed, largest):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.integers(-largest, largest + 1, shape)  # noqa: E731
    network = network_of(
        (2, 5, 5),
        Offset(0, np.array([-100, 7])),
        Conv2d(1, draw(3, 2, 2, 2), draw(3), padding=(1, 0, 1, 0)),
        Square(2),
        SumPool(3, (2, 2), (2, 2)),
        Add((4, 4), (0, 5)),
        Square(5),
        Conv2d(6, draw(3, 1, 1, 1), draw(3), groups=3),
        Offset(7, np.array([LARGEST, 0, -1])),
        Flatten(8),
        Linear(9, draw(2, 12), draw(2)),
        classic=True,
    )
    x = pictures(network, 2, seed)
    trace = network.trace(x)
    assert trace.wrapped == wraps(network, x)
    for n, picture in enumerate(x):
        for position, value in enumerate(defined(network, picture)):
            assert np.array_equal(trace.values[position][n], value), position


def test_a_wrap_is_reported_with_its_layer():
    network = network_of((1, 1, 1), Square(0), Square(1), Square(2, name="third"), high=255, classic=True)
    fine, wrapping = np.full((1, 1, 1, 1), 180), np.full((1, 1, 1, 1), 182)
    assert network.run(fine).item() == 180**8
    with pytest.warns(FieldWrapWarning, match="1 values .* layer third"):
        assert network.run(wrapping).item() == centred(182**8)

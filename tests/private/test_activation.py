"""ReLU and requantisation between two parties give the integers of the definition, at every edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_parties import both, opened, parties, shared

from assay.errors import ModelError
from assay.integer.bounds import Bound
from assay.integer.definition import define
from assay.integer.graph import ReLU, Requantise
from assay.private.nonlinear import compute, demand_of, ring_bits
from assay.private.ot_store import Demand
from assay.private.ring import Ring

Node = ReLU | Requantise


def bound_of(low: int, high: int, channels: int) -> Bound:
    return Bound(np.full(channels, low), np.full(channels, high))


def run(node: Any, bound: Bound, ring: Ring, x: np.ndarray) -> np.ndarray:
    """What two parties compute; all that was prepared must be used up, and not more."""
    demand = demand_of(node, bound, ring, x.shape)
    two = parties(ring, demand, fresh=False)
    shares = shared(ring, x)
    out = both(lambda i: compute(two[i], node, bound, shares[i]))
    assert two[0].store.left == two[1].store.left == Demand()
    assert two[0].store.taken == demand
    for share in out:
        assert share.dtype == ring.dtype and int(share.max(initial=0)) <= ring.mask
    return opened(ring, out)


def defined(node: Any, x: np.ndarray) -> np.ndarray:
    return np.stack([define(node, [picture.astype(object)]) for picture in x]).astype(np.int64)


def edges(low: int, high: int, shift: int, limits: list[int]) -> list[int]:
    """Values at which something changes: ends, zero, exact halves, and where clamping begins."""
    half = 1 << shift >> 1
    near = [low, high, 0, -1, 1, half, -half, half - 1, -half - 1, 3 * half, -3 * half]
    near += [(limit << shift) + d - half for limit in limits for d in (-1, 0, 1)]
    return [v for v in near if low <= v <= high]


@st.composite
def requantisations(draw: Any) -> tuple[Requantise, Bound, Ring, np.ndarray]:
    shift = draw(st.integers(0, 16))
    channels = 3
    start = draw(st.integers(0, channels))
    stop = draw(st.integers(start, channels))
    high = draw(st.integers(0, 255))
    node = Requantise(0, shift=shift, low=draw(st.integers(-128, 0)), high=high, start=start, stop=stop)
    reach = draw(st.integers(0, 36))
    low, top = draw(st.integers(-(1 << reach), 1 << reach)), draw(st.integers(-(1 << reach), 1 << reach))
    low, top = min(low, top), max(low, top)
    bound = bound_of(low, top, channels)
    ring = Ring(min(48, max(8, ring_bits(node, bound), bound.bits) + draw(st.integers(0, 3))))
    values = edges(low, top, shift, [0, node.low, high, high + 1])
    values += draw(st.lists(st.integers(low, top), min_size=1, max_size=20))
    x = np.resize(np.array(values, np.int64), (2, channels, len(values), 1))
    return node, bound, ring, x


@settings(max_examples=150, deadline=None)
@given(requantisations())
def test_requantisation_is_the_definition(case: tuple[Requantise, Bound, Ring, np.ndarray]) -> None:
    node, bound, ring, x = case
    assert (run(node, bound, ring, x) == defined(node, x)).all()


@st.composite
def rectifications(draw: Any) -> tuple[ReLU, Bound, Ring, np.ndarray]:
    k = draw(st.integers(8, 48))
    start = draw(st.integers(0, 3))
    node = ReLU(0, start=start, stop=draw(st.integers(start, 3)))
    low, high = -(1 << draw(st.integers(0, k - 1))), (1 << draw(st.integers(0, k - 1))) - 1
    values = edges(low, high, 0, [0]) + draw(st.lists(st.integers(low, high), min_size=1, max_size=70))
    return node, bound_of(low, high, 3), Ring(k), np.resize(np.array(values, np.int64), (1, 3, len(values), 1))


@settings(max_examples=100, deadline=None)
@given(rectifications())
def test_relu_is_the_definition_up_to_the_ends_of_the_ring(case: tuple[ReLU, Bound, Ring, np.ndarray]) -> None:
    node, bound, ring, x = case
    assert (run(node, bound, ring, x) == defined(node, x)).all()


@pytest.mark.parametrize("low,high,expected", [
    (-(1 << 20), 1 << 20, (True, True)), (0, 1 << 20, (False, True)), (-(1 << 20), 1000, (True, False)),
    (0, 1000, (False, False)), (-32768 - 128, 32767 - 128, (False, False)), (-32768 - 129, 0, (True, False)),
    (0, 32768 - 128, (False, True)),
])  # fmt: skip
def test_a_limit_is_compared_with_only_if_the_bound_does_not_keep_it(
    low: int, high: int, expected: tuple[bool, bool]
) -> None:
    node, bound = Requantise(0, shift=8, low=-128, high=127), bound_of(low, high, 1)
    kinds = demand_of(node, bound, Ring(32), (1, 1, 1, 64))
    assert kinds.down == 64 * (2 + any(expected) + expected[1])
    x = np.array(edges(low, high, 8, [-128, 127, 128]), np.int64).reshape(1, 1, -1, 1)
    assert (run(node, bound, Ring(32), x) == defined(node, x)).all()


def test_flat_tensors_have_a_channel_an_entry() -> None:
    node = Requantise(0, shift=2, low=-8, high=7, start=1, stop=3)
    x = np.array([[-9, -9, 9, 9], [40, -40, 40, -40], [-2, -2, 2, 2]])
    assert (run(node, bound_of(-64, 64, 4), Ring(12), x) == defined(node, x)).all()


def test_nothing_to_do_costs_nothing() -> None:
    ring = Ring(16)
    assert demand_of(ReLU(0, start=0, stop=2), bound_of(0, 9, 2), ring, (1, 2, 4, 4)) == Demand()
    assert demand_of(ReLU(0, start=1, stop=1), bound_of(-9, 9, 2), ring, (1, 2, 4, 4)) == Demand()
    x = np.array([[[[0, 5, 9]]]])
    assert (run(Requantise(0, shift=0, low=0, high=9), bound_of(0, 9, 1), ring, x) == x).all()


def test_a_ring_that_is_too_small_is_refused() -> None:
    node, bound = Requantise(0, shift=8, low=0, high=255), bound_of(-(1 << 31), (1 << 31) - 1, 1)
    assert ring_bits(node, bound) == 33
    two = parties(Ring(32), Demand())
    with pytest.raises(ModelError, match="33 bits are shared in 32"):
        compute(two[1], node, bound, shared(Ring(32), [[1]])[1])

"""Bounds hold, are met by the worst picture, decide the arithmetic, and refuse what a proof could not hold."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_oracle import assert_as_defined, network_of, seeds

from assay.errors import ModelError
from assay.integer import LARGEST
from assay.integer.bounds import Bound
from assay.integer.bounds import _interval as interval
from assay.integer.graph import (
    Add,
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    Offset,
    ReLU,
    Requantise,
    Square,
    Subsample,
    SumPool,
)
from assay.integer.products import arithmetic


def linear(rows: list[list[int]], bias: list[int], number: int = 1, name: str = "") -> Linear:
    return Linear(number, np.array(rows), np.array(bias), name=name)


@given(
    st.lists(st.integers(-127, 127), min_size=1, max_size=9),
    st.integers(-1000, 1000),
    st.integers(-9, 0),
    st.integers(0, 255),
)
def test_the_worst_picture_of_a_linear_layer_meets_its_bound(weights, bias, low, high):
    network = network_of((len(weights), 1, 1), Flatten(0), linear([weights], [bias]), low=low, high=high)
    worst = np.where(np.array(weights) > 0, high, low).reshape(1, -1, 1, 1)
    best = np.where(np.array(weights) > 0, low, high).reshape(1, -1, 1, 1)
    assert network.bounds[-1].high.item() == network.run(worst).item()
    assert network.bounds[-1].low.item() == network.run(best).item()


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([2**23, 2**24 - 300, 2**24, 2**25, 2**52, 2**53]))
def test_near_the_edges_of_float_arithmetic_every_integer_is_still_right(seed, reach):
    """Odd values next to 2^24 and 2^53 are the first that a float would lose."""
    rng = np.random.default_rng(seed)
    high = reach // 128
    weights = rng.integers(120, 128, (3, 1)) * rng.choice([-1, 1], (3, 1))
    node = Linear(1, weights, np.array([1, -1, 0]))
    network = network_of((1, 1, 1), Flatten(0), node, low=-high, high=high)
    x = np.array([high, high - 1, -high, 1 - high]).reshape(4, 1, 1, 1)
    assert_as_defined(network, x)


def test_float32_is_used_as_long_as_no_sum_can_pass_2_to_the_24():
    within = linear([[127, -127]], [2**24 - 255 * 127])
    beyond = linear([[127, -127]], [2**24 - 255 * 127 + 1])
    bounds = network_of((2, 1, 1), Flatten(0), within).bounds
    assert arithmetic(within, bounds[1]).dtype is np.float32
    assert arithmetic(beyond, bounds[1]).cuts  # summed in float32 pieces, added in float64
    assert arithmetic(linear([[2**20] * 2], [0]), bounds[1]).dtype is np.float64


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_long_sum_is_cut_into_float32_pieces_and_stays_exact(kernel):
    rng = np.random.default_rng(0)
    weight = np.full((4, 700, kernel, kernel), 127) * rng.choice([-1, 1], (4, 1, 1, 1))
    network = network_of((700, 3, 3), Conv2d(0, weight, np.arange(4), padding=(kernel // 2,) * 4))
    how = arithmetic(network.nodes[1], network.bounds[0])
    assert (how.dtype is np.float32 and len(how.cuts) > 2) or kernel == 3
    x = np.full((1, 700, 3, 3), 255)
    x[0, 0, 1, 1] = 254
    expected = 127 * 255 * 700 * (9 if kernel == 3 else 1) - 127
    values = network.trace(x).values[1][0, :, 1, 1]
    assert values.tolist() == [int(np.sign(weight[o, 0, 0, 0])) * expected + o for o in range(4)]


def test_the_ring_holds_the_largest_value_and_its_rounding():
    network = network_of((1, 1, 1), Flatten(0), linear([[127]], [0]), Requantise(2, 15, 0, 255, 0, 1))
    assert network.bounds[2].bits == 16  # 127 · 255 = 32385, and a sign
    assert network.ring_bits == 17  # 32385 + 2^14 needs 16 bits, and a sign
    table = network.bound_table()
    assert [row["bits"] for row in table] == [9, 9, 16, 2]  # (32385 + 2^14) >> 15 is 1
    assert table[2]["largest"] == 32385


ADVERSARIAL = {
    "squares": [Square(0), Square(1), Square(2, name="deep")],
    "products": [Flatten(0), linear([[2**31 - 1]], [0]), linear([[2**22]], [1], 2, name="deep")],
    "biases": [Flatten(0), linear([[1]], [LARGEST], name="deep")],
    "shifts": [Add((0, 0), (30, 30)), Add((1, 1), (22, 21), name="deep")],
    "sums": [Add((0,), (30,)), Add((1,), (22,)), SumPool(2, (3, 3), (1, 1), (1, 1, 1, 1), name="deep")],
}


@pytest.mark.parametrize("nodes", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_a_network_that_could_pass_half_the_field_is_refused_by_its_layer(nodes):
    with pytest.raises(ModelError, match=r"layer deep .* could reach"):
        network_of((1, 1, 1), *nodes)
    assert network_of((1, 1, 1), *nodes, classic=True).bounds[len(nodes)].wraps


def test_one_less_than_half_the_field_is_accepted():
    network = network_of((1, 1, 1), Flatten(0), linear([[1]], [LARGEST - 255]))
    assert network.bounds[-1].largest == LARGEST
    assert network.run(np.full((1, 1, 1, 1), 255)).item() == LARGEST


@pytest.mark.parametrize("node", [ReLU(3, 0, 1), MaxPool(3, (1, 1), (1, 1)), Requantise(3, 3, 0, 9)])
def test_what_may_have_wrapped_is_never_compared(node):
    with pytest.raises(ModelError, match="compares values"):
        network_of((1, 1, 1), Square(0), Square(1), Square(2), node, classic=True)


def test_rounding_may_not_reach_half_the_field_either():
    shift = 60
    with pytest.raises(ModelError, match="compares values"):
        network_of((1, 1, 1), Flatten(0), linear([[1]], [2**59]), Requantise(2, shift, 0, 9))


@pytest.mark.parametrize("high", [2**15, 2**29, LARGEST])
def test_bounds_of_large_values_are_those_of_python_integers(high):
    """Some nodes are worked out in int64, and in Python integers where these would not hold what lies between."""
    nodes = (
        Flatten(0), Offset(0, np.array([LARGEST])), Square(0), Add((0, 0), (30, 0)), SumPool(0, (1, 1), (1, 1)),
    )  # fmt: skip
    expected = {Flatten: high, Offset: high + LARGEST, Square: high**2, Add: (high << 30) + high, SumPool: high}
    for node in nodes:
        given = Bound(np.array([-high]), np.array([high]))
        count = len(node.inputs)
        low, top = interval(node, [given] * count, [(1, 1, 1)] * count)
        assert int(top[0]) == expected[type(node)]
        assert int(low[0]) == {Square: 0, Offset: LARGEST - high}.get(type(node), -expected[type(node)])


@pytest.mark.parametrize("shift", [1, 30, 62])
def test_the_bound_of_a_requantised_tensor_is_its_definition(shift):
    node = Requantise(0, shift, -LARGEST, LARGEST)
    low, high = interval(node, [Bound(np.array([-LARGEST]), np.array([LARGEST]))], [(1, 1, 1)])
    assert (int(low[0]), int(high[0])) == ((node.half - LARGEST) >> shift, (node.half + LARGEST) >> shift)


def test_bounds_of_a_flat_tensor_take_bytes_and_no_python_integers():
    tracemalloc.start()
    try:
        network_of((1, 1024, 1024), Flatten(0), Subsample(0, (1024, 1024)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20


def test_a_tensor_of_too_many_channels_is_refused_before_it_has_bounds():
    with pytest.raises(ModelError, match="channels"):
        network_of((1, 4096, 1025), Flatten(0), Subsample(0, (4096, 4096)))
    with pytest.raises(ModelError, match="in all"):
        network_of((1, 2048, 2048), *[Flatten(0)] * 5, Subsample(0, (4096, 4096)))

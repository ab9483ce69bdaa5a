"""Every operation, run fast, gives the integers of its definition: any shape, stride, padding, dilation, groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from integer_oracle import assert_as_defined, network_of, paddings, pairs, pictures, seeds

from assay.errors import ModelError
from assay.integer import IntegerNetwork, Node, products
from assay.integer.graph import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    Offset,
    PadChannels,
    ReLU,
    Requantise,
    Square,
    Subsample,
    SumPool,
)

few = settings(max_examples=40, deadline=None)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))


def weights(rng: np.random.Generator, largest: int, *shape: int) -> np.ndarray:
    return rng.integers(-largest, largest + 1, shape)


def conv3(rng: np.random.Generator, number: int, out: int, channels: int, stride: int = 1) -> Conv2d:
    weight, bias = weights(rng, 127, out, channels, 3, 3), weights(rng, 900, out)
    return Conv2d(number, weight, bias, (stride, stride), (1, 1, 1, 1))


def built(shape: tuple[int, int, int], *nodes: Node, **more: int) -> IntegerNetwork:
    """The network, or a discarded example where the windows do not fit."""
    try:
        return network_of(shape, *nodes, **more)
    except ModelError:
        assume(False)
        raise


@few
@given(shapes, st.data(), seeds, st.sampled_from([1, 127, 2**20]), st.sampled_from([1, 255, 2**28]))
def test_a_convolution_is_its_definition(shape, data, seed, largest, high):
    """The ranges make every arithmetic appear: float32, cut float32, float64, two limbs."""
    groups = data.draw(st.sampled_from([g for g in (1, 2, 3, 4) if shape[0] % g == 0]))
    out = groups * data.draw(st.integers(1, 3))
    kernel, stride, dilation = data.draw(pairs), data.draw(pairs), data.draw(pairs)
    padding = data.draw(paddings((3, 3)))
    rng = np.random.default_rng(seed)
    weight = weights(rng, largest, out, shape[0] // groups, *kernel)
    bias = weights(rng, 10**6, out)
    network = built(shape, Conv2d(0, weight, bias, stride, padding, dilation, groups), low=-high // 2, high=high)
    assert_as_defined(network, pictures(network, 3, seed))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("scratch", "of_one_picture"), [(1, 1 << 26), (3000, 1 << 26), (1 << 21, 1), (1, 1)])
def test_a_convolution_is_the_same_however_little_is_copied_at_a_time(
    channels: int, scratch: int, of_one_picture: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    node = Conv2d(0, weights(rng, 127, 3, channels, 3, 2), weights(rng, 900, 3), (1, 2), (1, 0, 2, 1))
    network = network_of((channels, 6, 7), node)
    monkeypatch.setattr(products, "SCRATCH", scratch)
    monkeypatch.setattr(products, "SCRATCH_ROWS", of_one_picture)
    assert_as_defined(network, pictures(network, 5, 0))


@few
@given(
    st.integers(1, 300), st.integers(1, 5), seeds, st.sampled_from([127, 2**15]), st.sampled_from([255, 2**16, 2**30])
)
def test_a_linear_layer_is_its_definition(inputs, outputs, seed, largest, high):
    rng = np.random.default_rng(seed)
    node = Linear(1, weights(rng, largest, outputs, inputs), weights(rng, 10**6, outputs))
    network = network_of((inputs, 1, 1), Flatten(0), node, high=high)
    assert_as_defined(network, pictures(network, 2, seed))


@few
@given(shapes, st.data(), seeds, st.sampled_from([255, 2**23, 2**40]))
def test_pooling_is_its_definition(shape, data, seed, high):
    kernel, stride, dilation = data.draw(pairs), data.draw(pairs), data.draw(pairs)
    padding = data.draw(paddings((kernel[0] - 1, kernel[1] - 1)))
    node = data.draw(
        st.sampled_from([SumPool(0, kernel, stride, padding), MaxPool(0, kernel, stride, padding, dilation)])
    )
    network = built(shape, node, low=-high, high=high // 2)
    assert_as_defined(network, pictures(network, 3, seed))


@few
@given(shapes, st.data(), seeds, st.sampled_from([255, 2**24, 2**29]))
def test_elementwise_operations_are_their_definitions(shape, data, seed, high):
    start = data.draw(st.integers(0, shape[0] - 1))
    stop = data.draw(st.integers(start + 1, shape[0]))
    shift = data.draw(st.integers(0, 30))
    limit = data.draw(st.integers(0, 300))
    rng = np.random.default_rng(seed)
    node = data.draw(
        st.sampled_from([
            Offset(0, weights(rng, high, shape[0])),
            Add((0, 0, 0), (shift, 0, 3)),
            ReLU(0, start, stop),
            Square(0),
            Requantise(0, shift, -limit // 2, limit, start, stop),
            Requantise(0, shift, -limit, limit),
            Concat((0, 0)),
            Subsample(0, (1 + shift % 3, 1 + shift % 2)),
            PadChannels(0, shift % 3, shift % 4),
            Flatten(0),
        ])
    )  # fmt: skip
    network = network_of(shape, node, low=-high, high=high)
    assert_as_defined(network, pictures(network, 3, seed))


@pytest.mark.parametrize("value", [-385, -384, -129, -128, -127, -1, 0, 127, 128, 129, 383, 384, 10**6])
def test_requantising_rounds_halves_up_and_clamps(value):
    network = network_of((1, 1, 1), Requantise(0, 8, -1, 2), low=-(10**6), high=10**6)
    expected = min(max(int(np.floor(value / 256 + 0.5)), -1), 2)
    assert network.run(np.full((1, 1, 1, 1), value)).item() == expected


def test_a_global_average_over_36_places_keeps_every_integer():
    network = network_of(
        (1, 6, 6), SumPool(0, (6, 6), (6, 6)), Flatten(1), Linear(2, np.array([[1], [-1]]), np.zeros(2, np.int64))
    )
    x = np.arange(36).reshape(1, 1, 6, 6)
    assert network.run(x).tolist() == [[630, -630]]


@few
@given(seeds)
def test_a_residual_network_with_every_kind_of_node_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    network = network_of(
        (2, 7, 7),
        Offset(0, np.array([-120, -3])),
        conv3(rng, 1, 4, 2), Requantise(2, 9, 0, 255, 0, 4),
        conv3(rng, 3, 6, 4, 2), Subsample(3, (2, 2)), PadChannels(5, 0, 2), Add((4, 6), (0, 7)),
        Requantise(7, 8, -128, 127, 1, 5),
        MaxPool(8, (2, 2), (1, 1)), Concat((9, 9)), ReLU(10, 3, 9), Requantise(11, 2, -128, 127), Square(12),
        SumPool(13, (3, 3), (1, 1)), Flatten(14), Linear(15, weights(rng, 127, 3, 12), weights(rng, 99, 3)),
    )  # fmt: skip
    assert_as_defined(network, pictures(network, 2, seed))


@few
@given(st.sampled_from([(3, 1, 1), (1, 2, 3), (2, 2, 2)]), st.data(), seeds)
def test_a_wide_tensor_that_is_read_directly_and_through_views_is_its_definition(shape, data, seed):
    """Whichever of them is requantised first, its memory is written over only when no other needs it."""
    rng = np.random.default_rng(seed)
    nodes: list[Node] = [Conv2d(0, weights(rng, 100, shape[0], shape[0], 1, 1), weights(rng, 100, shape[0]))]
    flat = {1: False}
    for position in range(2, data.draw(st.integers(4, 8))):
        source = data.draw(st.sampled_from(list(flat)))
        stride = (1, 1) if shape[1:] != (1, 1) else (2, 2)
        views = [] if flat[source] else [Flatten(source), Subsample(source, stride)]
        node = data.draw(st.sampled_from([*views, Requantise(source, 3 + position % 2, -100, 100)]))
        flat[position] = flat[source] or isinstance(node, Flatten)
        nodes.append(node)
    read = data.draw(st.lists(st.sampled_from([k for k in flat if flat[k]] or [1]), min_size=1, max_size=3))
    network = network_of(shape, *nodes, Add(tuple(read), (0,) * len(read)))
    assert_as_defined(network, pictures(network, 3, seed))


@pytest.mark.parametrize(
    "nodes",
    [
        (Flatten(1), Requantise(2, 6, -128, 127), Requantise(1, 4, -128, 127), Flatten(4), Add((3, 5), (0, 0))),
        (Flatten(1), Requantise(1, 6, -128, 127), Flatten(3), Add((2, 4), (0, 0))),
        (Subsample(1, (2, 2)), Requantise(2, 6, -128, 127), Add((1, 3), (0, 0))),
        (Flatten(1), Requantise(1, 6, -128, 127), Requantise(2, 3, -128, 127)),
    ],
    ids=["a view, then what it views", "what it views, then the view", "a subsample", "one after the other"],
)
def test_requantising_one_of_two_tensors_in_the_same_memory_leaves_the_other(nodes):
    rng = np.random.default_rng(0)
    network = network_of((2, 1, 1), Conv2d(0, weights(rng, 100, 4, 2, 1, 1), weights(rng, 100, 4)), *nodes)
    assert_as_defined(network, pictures(network, 5, 0))


def test_a_picture_too_large_for_the_scratch_is_cut_into_rows(monkeypatch):
    monkeypatch.setattr("assay.integer.products.SCRATCH_ROWS", 500)
    rng = np.random.default_rng(0)
    for groups, shape in ((1, (4, 2, 3, 3)), (2, (4, 1, 3, 3))):
        node = Conv2d(0, weights(rng, 127, *shape), weights(rng, 99, 4), (2, 1), (1, 1, 1, 1), groups=groups)
        network = network_of((2, 9, 5), node)
        assert_as_defined(network, pictures(network, 2, 0))


def test_batches_give_what_single_pictures_give_in_any_number_of_threads():
    rng = np.random.default_rng(0)
    node = Conv2d(0, weights(rng, 127, 4, 3, 3, 3), weights(rng, 99, 4), padding=(1, 1, 1, 1))
    network = network_of((3, 8, 8), node, Requantise(1, 8, 0, 255, 0, 4))
    x = pictures(network, 37, 0).astype(np.uint8)
    one_by_one = np.concatenate([network.run(x[i : i + 1]) for i in range(len(x))])
    for threads in (1, 2, 5):
        assert np.array_equal(network.run(x, threads), one_by_one)
    assert network.run(x[:0]).shape == (0, one_by_one.shape[1])

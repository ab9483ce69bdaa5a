"""What a network may be given, and what a graph must be."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from integer_oracle import network_of

from assay.errors import InputError, ModelError
from assay.integer import IntegerNetwork
from assay.integer.graph import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Offset,
    PadChannels,
    ReLU,
    Requantise,
    Subsample,
    SumPool,
)

ONES = np.ones(1, np.int64)


def conv(number: int = 0, shape: tuple[int, ...] = (1, 1, 1, 1), **more: object) -> Conv2d:
    return Conv2d(number, np.ones(shape, np.int64), np.ones(shape[0], np.int64), **more)  # type: ignore[arg-type]


MISFITS = {
    "reads itself": (Flatten(1), "not all before it"),
    "reads the future": (Add((0, 2), (0, 0)), "not all before it"),
    "reads a negative number": (Flatten(-1), "not all before it"),
    "a second input": (Input((1, 4, 4)), "node 0 and no other"),
    "weights of another shape": (conv(shape=(1, 2, 1, 1)), "shape"),
    "a window that does not fit": (conv(shape=(1, 1, 9, 1)), "does not fit"),
    "no stride": (conv(stride=(0, 1)), "stride"),
    "negative padding": (conv(padding=(-1, 0, 0, 0)), "padding"),
    "groups that do not divide": (conv(groups=2), "groups"),
    "floats for weights": (Conv2d(0, np.ones((1, 1, 1, 1)), ONES), "float64"),  # type: ignore[arg-type]
    "weights beyond 31 bits": (Conv2d(0, np.full((1, 1, 1, 1), 2**31), ONES), "at most"),
    "weights that add up": (Conv2d(0, np.full((1, 1, 2, 2), 2**31 - 1), ONES), "add up"),
    "the lowest int64": (Conv2d(0, np.full((1, 1, 1, 1), -(2**63)), ONES), "at most"),
    "a linear layer on a picture": (Linear(0, np.ones((1, 16), np.int64), ONES), "not a flat one"),
    "an offset of another size": (Offset(0, np.ones(2, np.int64)), "shape"),
    "shifts beyond counting": (Add((0, 0), (0, 31)), "shifts by"),
    "no terms": (Add((), ()), "0 tensors"),
    "pooling outside the picture": (MaxPool(0, (2, 2), (1, 1), (3, 0, 0, 0)), "outside"),
    "a sum of padding alone": (SumPool(0, (2, 2), (1, 1), (2, 0, 0, 0)), "padding"),
    "channels that are not there": (ReLU(0, 0, 2), "rectifies"),
    "a clamp upside down": (Requantise(0, 1, 1, 0), "clamps"),
    "a shift of 63 bits": (Requantise(0, 63, 0, 1), "shifts"),
    "one tensor joined": (Concat((0,)), "joins"),
    "a stride of 2^40": (Subsample(0, (2**40, 1)), "stride"),
    "2^30 channels": (PadChannels(0, 2**16 + 1, 0), "padding"),
}  # fmt: skip


@pytest.mark.parametrize(("node", "why"), MISFITS.values(), ids=MISFITS.keys())
def test_a_node_that_does_not_make_sense_is_refused(node, why):
    with pytest.raises(ModelError, match=why):
        network_of((1, 4, 4), node)


def test_a_network_too_large_for_any_machine_is_refused_before_it_is_run():
    pads = [PadChannels(i, 2**16, 2**16) for i in range(9)]
    with pytest.raises(ModelError, match="values"):
        network_of((1, 64, 64), *pads)


def test_the_outputs_must_be_the_classes():
    with pytest.raises(ModelError, match="class names"):
        IntegerNetwork((Input((1, 2, 2)), Flatten(0)), ("a", "b"), 1.0)
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ModelError, match="scale"):
            IntegerNetwork((Input((1, 1, 2)), Flatten(0)), ("a", "b"), scale)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 1, 4, 5), np.uint8),
        np.zeros((1, 4, 4), np.uint8),
        np.zeros((1, 1, 4, 4), np.float32),
        np.zeros((1, 1, 4, 4), bool),
        np.full((1, 1, 4, 4), 256),
        np.full((1, 1, 4, 4), -1),
    ],
)
def test_pictures_of_another_kind_are_refused(x):
    network = network_of((1, 4, 4), Flatten(0))
    with pytest.raises(InputError, match="the network takes"):
        network.run(x)


def test_clamped_values_are_counted_by_layer_and_zeros_are_not():
    network = network_of((2, 1, 2), Requantise(0, 0, -5, 5, 0, 1), low=-9, high=9)
    x = np.array([[[[-9, 9]], [[-6, 5]]]])
    trace = network.trace(x)
    assert trace.values[1].ravel().tolist() == [0, 5, -5, 5]
    assert trace.clamped == {1: 2}


def test_the_label_is_the_first_of_the_largest_outputs():
    network = network_of((3, 1, 1), Flatten(0))
    assert network.predict(np.array([1, 7, 7, 9, 0, 0]).reshape(2, 3, 1, 1)).tolist() == [1, 0]


def test_a_network_survives_the_way_to_another_process():
    network = network_of((1, 4, 4), conv(shape=(2, 1, 3, 3)))
    x = np.arange(16).reshape(1, 1, 4, 4)
    expected = network.run(x)
    copy = pickle.loads(pickle.dumps(network))
    assert np.array_equal(copy.run(x), expected)
    assert copy.digest == network.digest

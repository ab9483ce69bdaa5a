"""Small integer networks that between them use every operation, and pictures for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from integer_networks import convolutional, drawing, network, perceptron, residual
from integer_networks import pictures as drawn_pictures

# The first call of a kernel compiles it.
settings.register_profile("compiled", deadline=None, max_examples=40)
settings.load_profile("compiled")

weights = drawing(20)


def classic() -> IntegerNetwork:
    """SafetyNets' kind: squares and sum pooling, nothing committed."""
    return network(
        g.Input((1, 9, 9)),
        g.Conv2d(input=0, weight=weights(3, 1, 3, 3, largest=3), bias=weights(3), stride=(2, 1), padding=(1, 1, 0, 2)),
        g.Square(input=1),
        g.SumPool(input=2, kernel=(2, 2), stride=(2, 2)),
        g.Flatten(input=3),
        g.Linear(input=4, weight=weights(7, 24, largest=2), bias=weights(7)),
        g.Square(input=5),
        g.Linear(input=6, weight=weights(3, 7, largest=2), bias=weights(3)),
        classic=True,
    )


def subsampled() -> IntegerNetwork:
    """A square that is read through a subsampling."""
    return network(
        g.Input((1, 4, 4)),
        g.Square(input=0),
        g.Subsample(input=1, stride=(2, 2)),
        g.Flatten(input=2),
        g.Linear(input=3, weight=weights(3, 4), bias=weights(3)),
        classic=True,
    )


def shared_sum() -> IntegerNetwork:
    """A tensor that is not committed and is read twice, so that its claims have to be merged."""
    return network(
        g.Input((3, 1, 1)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=weights(4, 3), bias=weights(4)),
        g.Linear(input=2, weight=weights(5, 4), bias=weights(5)),
        g.Concat(inputs=(2, 3)),
        g.Square(input=2),
        g.Concat(inputs=(4, 5)),
        g.Linear(input=6, weight=weights(2, 13), bias=weights(2)),
    )


NETWORKS = {
    "perceptron": perceptron(weights),
    "classic": classic(),
    "subsampled": subsampled(),
    "convolutional": convolutional(weights),
    "residual": residual(weights),
    "shared_sum": shared_sum(),
}


@pytest.fixture(params=list(NETWORKS))
def any_network(request: pytest.FixtureRequest) -> IntegerNetwork:
    return NETWORKS[request.param]


@pytest.fixture(scope="session")
def named_network() -> Callable[[str], IntegerNetwork]:
    return NETWORKS.__getitem__


@pytest.fixture
def pictures() -> Callable[[IntegerNetwork, int], np.ndarray]:
    return lambda of, count: drawn_pictures(of, count, seed=count)


@pytest.fixture
def nonce() -> bytes:
    return bytes(range(16))

"""A victim network, honest runs of it, and runs that are wrong from one node on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import settings

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.definition import define
from assay.proof import Receipt, prove

settings.register_profile("compiled", deadline=None, max_examples=40)
settings.load_profile("compiled")

NONCE = bytes(range(16))
Values = list[np.ndarray]


def weights(seed: int, *shape: int) -> g.Ints:
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.int64)


def quantised(seed: int = 1) -> IntegerNetwork:
    """Convolution, requantisation with and without ReLU, max and sum pooling, a shortcut, two linear layers."""
    nodes: tuple[g.Node, ...] = (
        g.Input((1, 5, 6)),
        g.Offset(input=0, value=np.array([-100])),
        g.Conv2d(input=1, weight=weights(seed, 3, 1, 3, 3), bias=weights(seed + 1, 3), padding=(1, 1, 1, 1)),
        g.Requantise(input=2, shift=4, low=-64, high=63, start=0, stop=2),
        g.MaxPool(input=3, kernel=(2, 2), stride=(2, 2)),
        g.SumPool(input=3, kernel=(2, 2), stride=(2, 2)),
        g.Add(inputs=(4, 5), shifts=(2, 0)),
        g.Flatten(input=6),
        g.Linear(input=7, weight=weights(seed + 2, 5, 18), bias=weights(seed + 3, 5)),
        g.Requantise(input=8, shift=5, low=0, high=127),
        g.Linear(input=9, weight=weights(seed + 4, 3, 5), bias=weights(seed + 5, 3)),
    )
    return IntegerNetwork(nodes, ("a", "b", "c"), 1.0)


def squares() -> IntegerNetwork:
    """SafetyNets' own kind."""
    nodes: tuple[g.Node, ...] = (
        g.Input((1, 2, 2)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=weights(1, 5, 4), bias=weights(2, 5)),
        g.Square(input=2),
        g.Linear(input=3, weight=weights(3, 3, 5), bias=weights(4, 3)),
    )
    return IntegerNetwork(nodes, ("a", "b", "c"), 1.0, True)


NETWORKS = {"quantised": quantised(), "squares": squares()}


def run_from(network: IntegerNetwork, values: Sequence[np.ndarray], first: int) -> Values:
    """The tensors of a run whose nodes before `first` gave `values`, by the definition of each operation."""
    found = [np.array(v) for v in values[:first]]
    for node in network.nodes[first:]:
        pictures = [define(node, [v[k].astype(object) for v in found]) for k in range(len(values[0]))]
        found.append(np.stack(pictures).astype(np.int64))
    return found


@pytest.fixture(scope="session")
def victim() -> IntegerNetwork:
    return NETWORKS["quantised"]


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (3, 1, 5, 6)).astype(np.uint8)


@pytest.fixture(scope="session")
def honest(victim: IntegerNetwork, pictures: np.ndarray) -> Receipt:
    return prove(victim, pictures, nonce=NONCE)[1]


@pytest.fixture
def wrong_run(victim: IntegerNetwork, pictures: np.ndarray) -> Callable[[int, int], Values]:
    """All tensors, honest but for one value of one node, which is off by `error`; what follows is computed from it."""

    def make(position: int, error: int) -> Values:
        values = [np.array(v) for v in victim.trace(pictures).values]
        values[position].flat[4] += error
        return run_from(victim, values, position + 1)

    return make

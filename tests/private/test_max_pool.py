"""Max pooling between two parties gives the integers of the definition: every geometry, every edge of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from two_parties import both, opened, parties, shared

from assay.integer.bounds import Bound
from assay.integer.definition import define
from assay.integer.graph import MaxPool
from assay.private.nonlinear import compute, demand_of, ring_bits
from assay.private.ot_store import Demand
from assay.private.ring import Ring

NODES = [
    MaxPool(0, kernel=(2, 2), stride=(2, 2)),
    MaxPool(0, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    MaxPool(0, kernel=(3, 2), stride=(1, 3), padding=(0, 1, 1, 0)),
    MaxPool(0, kernel=(2, 2), stride=(1, 1), dilation=(2, 3)),
    MaxPool(0, kernel=(1, 1), stride=(2, 2)),
    MaxPool(0, kernel=(5, 7), stride=(5, 7)),
]


@pytest.mark.parametrize("node", NODES, ids=lambda node: f"{node.kernel}/{node.stride}")
@pytest.mark.parametrize("k,low,high", [(32, 0, 255), (33, -(1 << 20), 1 << 19), (8, -64, 63)])
def test_max_pool_is_the_definition(node: MaxPool, k: int, low: int, high: int) -> None:
    ring, bound = Ring(k), Bound(np.full(2, low), np.full(2, high))
    assert ring_bits(node, bound) <= k
    x = np.random.default_rng(k).integers(low, high + 1, (2, 2, 6, 8))
    x[0, 0], x[0, 1, ::2], x[0, 1, 1::2] = low, low, high
    demand = demand_of(node, bound, ring, x.shape)
    two, shares = parties(ring, demand, fresh=False), shared(ring, x)
    out = both(lambda i: compute(two[i], node, bound, shares[i]))
    assert two[0].store.left == two[1].store.left == Demand()
    expected = np.stack([define(node, [picture.astype(object)]) for picture in x]).astype(np.int64)
    assert (opened(ring, out) == expected).all()

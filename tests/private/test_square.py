"""Squares between two parties are the definition's, in the whole ring."""

from __future__ import annotations

import numpy as np
import pytest
from two_parties import both, opened, parties, shared

from assay.integer.bounds import Bound
from assay.integer.graph import Square
from assay.private.nonlinear import compute, demand_of, ring_bits
from assay.private.ring import Ring


@pytest.mark.parametrize("k,reach", [(8, 11), (32, 46340), (33, 1 << 15), (48, 11863283)])
def test_a_square_is_the_definition(k: int, reach: int) -> None:
    ring, bound, node = Ring(k), Bound(np.array([-reach]), np.array([reach])), Square(0)
    assert ring_bits(node, bound) <= k
    x = np.array([0, 1, -1, reach, -reach, *np.random.default_rng(k).integers(-reach, reach + 1, 60)])
    x = x.reshape(1, 1, 5, 13)
    two, shares = parties(ring, demand_of(node, bound, ring, x.shape)), shared(ring, x)
    out = both(lambda i: compute(two[i], node, bound, shares[i]))
    assert (opened(ring, out) == x * x).all()
    assert two[0].channel.ledger[""].rounds

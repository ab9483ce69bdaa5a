"""What each party does alone with its share adds up to what is done in the clear."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from assay.integer import graph as g
from assay.private.local import rearranged
from assay.private.ring import Ring

POOLS = {
    "the whole picture": g.SumPool(0, (3, 4), (3, 4)),
    "the whole picture and what is around it": g.SumPool(0, (3, 4), (1, 1), (0, 0, 1, 0)),
    "windows": g.SumPool(0, (2, 2), (1, 2)),
    "windows over the edge": g.SumPool(0, (2, 3), (2, 1), (1, 0, 1, 1)),
}


@pytest.mark.parametrize("node", POOLS.values(), ids=POOLS.keys())
def test_a_pool_of_shares_is_a_share_of_the_pool(node: g.SumPool) -> None:
    ring, rng = Ring(23), np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 5, 3, 4))
    own = rng.integers(0, 1 << ring.bits, x.shape).astype(ring.dtype)
    shares = own, ring.reduce(ring.reduce(x) - own)
    found = sum(rearranged(node, [share], ring, serves) for share, serves in zip(shares, (True, False), strict=True))
    top, bottom, left, right = node.padding
    around = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(around, node.kernel, (2, 3))[:, :, :: node.stride[0], :: node.stride[1]]
    assert np.array_equal(ring.signed(ring.reduce(np.asarray(found))), windows.sum((-2, -1)))
    assert np.array_equal(ring.reduce(own), own), "what was given is untouched"

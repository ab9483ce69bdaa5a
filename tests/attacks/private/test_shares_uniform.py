"""What each party sees of a non-linear layer says nothing: shares are uniform, and messages look alike for all inputs.

Every value of a batch has transfers of its own, so one batch of equal values is thousands of runs. The client is given
the same share each time (it is known before the input), so that nothing but the protocol makes its view random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from overheard import overheard
from scipy.stats import chi2
from two_parties import both, parties

from assay.integer.bounds import Bound
from assay.integer.graph import MaxPool, ReLU, Requantise, Square
from assay.private.nonlinear import compute, demand_of
from assay.private.ring import Ring

RUNS = 1 << 14
RING = Ring(16)
LEAST_P = 1e-7
"""Below it, a share is not uniform; a right protocol fails one in 10^5 runs of this file."""

NODES: dict[str, tuple[Any, int]] = {
    "rectified": (Requantise(0, shift=4, low=0, high=15, start=0, stop=1), 1),
    "signed": (Requantise(0, shift=3, low=-16, high=15), 1),
    "no limit binds": (Requantise(0, shift=5, low=-(1 << 20), high=1 << 20), 1),
    "relu": (ReLU(0, start=0, stop=1), 1),
    "max pool": (MaxPool(0, kernel=(1, 2), stride=(1, 2)), 2),
    "square": (Square(0), 1),
}
BOUND = Bound(np.array([-2000]), np.array([2000]))


def view(node: Any, width: int, x: int, server_share: int | None) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Output shares of server and client, and the messages that each of them sent, for RUNS times x."""
    shape = (1, 1, RUNS, width)
    two = parties(RING, demand_of(node, BOUND, RING, shape))
    ends = [overheard(party) for party in two]
    mine = np.full(shape, 12345, RING.dtype) if server_share is None else np.full(shape, x - server_share)
    mine = RING.reduce(mine)
    shares = [RING.reduce(x - mine.astype(np.int64)), mine]
    out = both(lambda i: compute(ends[i][0], node, BOUND, shares[i]))
    assert len(np.unique(RING.signed(RING.reduce(out[0] + out[1])))) == 1
    return [share.ravel() for share in out], [end.sent for _, end in ends]


def p_uniform(values: np.ndarray, kinds: int) -> float:
    counts = np.bincount(values, minlength=kinds)
    expected = len(values) / kinds
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), kinds - 1))


def p_alike(one: np.ndarray, other: np.ndarray) -> float:
    """Of two samples of bytes."""
    table = np.stack([np.bincount(values, minlength=256) for values in (one, other)]).astype(float)
    table = table[:, table.any(axis=0)]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(chi2.sf(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1)) if table.shape[1] > 1 else 1.0


@pytest.mark.parametrize("case", [case for case in NODES if case != "square"])
@pytest.mark.parametrize("x", [-1500, 0, 77, 1999])
def test_output_shares_of_either_party_are_uniform(case: str, x: int) -> None:
    (server, client), _ = view(*NODES[case], x, None)
    for share in (server, client):
        assert p_uniform(share >> 8, 256) > LEAST_P
        assert p_uniform(share & 255, 256) > LEAST_P


def test_output_shares_of_a_square_are_uniform_but_for_the_parity_that_each_party_knows() -> None:
    (server, client), _ = view(*NODES["square"], 77, None)
    for share in (server, client):
        assert p_uniform(share >> 8, 256) > LEAST_P
        assert p_uniform((share >> 1) & 255, 256) > LEAST_P


@pytest.mark.parametrize("case", NODES)
def test_messages_look_alike_for_inputs_at_both_ends(case: str) -> None:
    """The server's for one share of the client and two inputs; the client's for two shares of its own."""
    node, width = NODES[case]
    _, low = view(node, width, -2000, None)
    _, high = view(node, width, 2000, None)
    _, moved = view(node, width, -2000, 31000)
    for one, other in ((low[0], high[0]), (low[1][1:], moved[1][1:])):
        assert [m.nbytes for m in one] == [m.nbytes for m in other]
        for here, there in zip(one, other, strict=True):
            assert p_alike(here, there) > LEAST_P


def test_the_comparison_of_messages_would_see_a_share_that_is_not_masked() -> None:
    biased = np.repeat(np.arange(256, dtype=np.uint8), 64)
    biased[:1500] = 7
    assert p_alike(biased, np.repeat(np.arange(256, dtype=np.uint8), 64)) < LEAST_P
    assert p_uniform(biased, 256) < LEAST_P


@pytest.mark.parametrize("case", NODES)
def test_lengths_and_order_of_messages_do_not_depend_on_the_input(case: str) -> None:
    node, width = NODES[case]
    sizes = []
    for x in (-2000, -1, 0, 2000):
        _, said = view(node, width, x, 5 * x)
        sizes.append([[m.nbytes for m in messages] for messages in said])
    assert all(each == sizes[0] for each in sizes)

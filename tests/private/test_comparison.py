"""Carries by the tree are the carries of the sum, at every place that can be asked for."""

from __future__ import annotations

import numpy as np
import pytest
from two_parties import both, parties

from assay.private.comparison import compare
from assay.private.comparison_tree import plan_tree
from assay.private.ring import Ring
from assay.private.wire import bits_of
from assay.private.words import fresh_words


def carry(a: int, b: int, bits: int) -> int:
    return ((a % 2**bits) + (b % 2**bits)) >> bits


def cases(ring: Ring, bits: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs, and pairs whose sum is at a carry's edge."""
    a = ring.reduce(fresh_words(count))
    b = ring.reduce(fresh_words(count))
    edge = count // 2
    b[:edge] = ring.reduce((1 << bits) - a[:edge].astype(np.int64) - np.arange(edge) % 3)
    return a, b


@pytest.mark.parametrize("k,bits,shift,thresholds", [
    (8, 7, 0, 1), (8, 1, 0, 1), (16, 15, 3, 2), (32, 31, 8, 2), (32, 31, 0, 1), (32, 31, 12, 2), (32, 22, 5, 1),
    (32, 32, 8, 0), (33, 32, 16, 2), (48, 47, 16, 2), (48, 47, 1, 2), (48, 13, 12, 1), (16, 16, 16, 0), (20, 4, 0, 2),
])  # fmt: skip
def test_carries_are_those_of_the_sum(k: int, bits: int, shift: int, thresholds: int) -> None:
    ring, count = Ring(k), 150
    tree = plan_tree(bits, shift, thresholds)
    server, client = parties(ring, tree.demand(count), fresh=False)
    a, b = cases(ring, bits, count)
    step = ring.dtype((5 << shift) & ring.mask)
    own = [a, ring.reduce(a.astype(np.uint64) - np.uint64(step))][: max(1, thresholds)]
    planes = both(lambda i: compare((server, client)[i], tree, (own, [b])[i]))
    opened = bits_of(planes[0] ^ planes[1], count)
    for t, slot in enumerate(tree.results):
        assert opened[slot].tolist() == [carry(int(x), int(y), bits) for x, y in zip(own[t], b, strict=True)]
    if shift:
        assert opened[tree.carry].tolist() == [carry(int(x), int(y), shift) for x, y in zip(a, b, strict=True)]
    assert server.store.taken == tree.demand(count) == client.store.taken


@pytest.mark.parametrize("bits,shift,depth", [(31, 8, 3), (31, 0, 3), (31, 12, 3), (47, 16, 4), (8, 0, 1), (4, 0, 0)])
def test_the_tree_is_as_deep_as_its_digits_need(bits: int, shift: int, depth: int) -> None:
    assert len(plan_tree(bits, shift, 1).levels) == depth


def test_one_message_of_the_client_serves_two_levels() -> None:
    ring, tree = Ring(32), plan_tree(31, 8, 2)
    server, client = parties(ring, tree.demand(64))
    with server.channel.part("compare"), client.channel.part("compare"):
        a, b = cases(ring, 31, 64)
        both(lambda i: compare((server, client)[i], tree, ([a, a], [b])[i]))
    assert client.channel.ledger["compare"].rounds == 2
    assert server.channel.ledger["compare"].rounds <= 3  # one for the client's first message, if it spoke before

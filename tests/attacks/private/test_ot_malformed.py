"""A peer that says anything else, at any message: the other one gets an answer or a ProtocolError, nothing worse."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
from overheard import Overheard, overheard
from two_parties import SESSION, both, parties, shared

from assay.integer.bounds import Bound
from assay.integer.graph import MaxPool, Requantise, Square
from assay.private.channel import ProtocolError, pair
from assay.private.nonlinear import compute, demand_of
from assay.private.ot_store import Demand, Store
from assay.private.party import Party
from assay.private.ring import Ring
from assay.private.words import fresh_words

RING, BOUND, SHAPE = Ring(16), Bound(np.array([-1500]), np.array([1500])), (1, 1, 2, 10)
NODES: list[Any] = [
    Requantise(0, shift=5, low=-16, high=15),
    MaxPool(0, kernel=(2, 2), stride=(2, 2)),
    Square(0),
]
Change = Callable[[np.ndarray], np.ndarray | None]


def random_bytes(message: np.ndarray) -> np.ndarray:
    return fresh_words(-(-message.size // 8)).view(np.uint8)[: message.size]


CHANGES: dict[str, Change] = {
    "shorter": lambda message: message[:-1],
    "longer": lambda message: np.append(message, np.uint8(0)),
    "missing": lambda message: None,
    "empty": lambda message: message[:0],
    "random": random_bytes,
    "all ones": lambda message: np.full_like(message, 255),
}
HARMLESS = {"random", "all ones"}
"""Right in size: most of them cannot be told from what an honest peer says."""


@cache
def prepared(number: int) -> list[Store]:
    demand = demand_of(NODES[number], BOUND, RING, SHAPE)
    return [party.store for party in parties(RING, demand)]


def attempt(number: int, liar: int, change: Callable[[int, np.ndarray], np.ndarray | None]) -> tuple[Any, Overheard]:
    """What happens to the honest party, and what the other one said."""
    ends = pair(0.2)
    two = [Party(("server", "client")[i], ends[i], RING, deepcopy(prepared(number)[i])) for i in (0, 1)]
    two[liar], end = overheard(two[liar], change)
    shares = shared(RING, np.zeros(SHAPE, np.int64))

    def work(i: int) -> Any:
        try:
            return compute(two[i], NODES[number], BOUND, shares[i])
        except ProtocolError as error:
            return error

    return both(work)[1 - liar], end


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("liar", [0, 1], ids=["server", "client"])
@pytest.mark.parametrize("number", range(len(NODES)), ids=["requantise", "max pool", "square"])
def test_every_message_of_a_protocol_may_be_wrong(number: int, liar: int, change: str) -> None:
    _, honest = attempt(number, liar, lambda i, message: message)
    assert honest.sent
    for at in range(len(honest.sent)):
        happened, _ = attempt(number, liar, lambda i, m, at=at: CHANGES[change](m) if i == at else m)
        if change not in HARMLESS:
            assert isinstance(happened, ProtocolError), f"message {at}"
        else:
            assert isinstance(happened, np.ndarray | ProtocolError), f"message {at}"


@cache
def set_up() -> list[Store]:
    """With the base transfers made, and nothing else."""
    return [party.store for party in parties(RING, Demand(digits=1))]


def preparation(stores: list[Store], liar: int, change: Change, at: int) -> tuple[Any, Overheard]:
    """What happens to the honest party, and what the other one said."""
    demand = Demand(digits=10, singles=1, doubles=1, down=3, up=3, products=2)
    ends: list[Any] = list(pair(0.3))
    ends[liar] = Overheard(ends[liar], lambda i, m: change(m) if i == at else m)

    def work(i: int) -> Any:
        try:
            return stores[i].prepare(ends[i], ("server", "client")[i], demand)
        except ProtocolError as error:
            return error

    return both(work)[1 - liar], ends[liar]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("liar", [0, 1], ids=["server", "client"])
def test_every_message_of_a_preparation_may_be_wrong(liar: int, change: str) -> None:
    happened, honest = preparation(deepcopy(set_up()), liar, CHANGES[change], -1)
    assert happened is None
    for at in range(len(honest.sent)):
        happened, _ = preparation(deepcopy(set_up()), liar, CHANGES[change], at)
        assert isinstance(happened, ProtocolError) or (happened is None and change in HARMLESS), f"message {at}"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("liar,offers,answer", [(0, 0, 1), (1, 2, 0)], ids=["server", "client"])
def test_every_message_of_the_set_up_may_be_wrong(liar: int, offers: int, answer: int, change: str) -> None:
    """Each party sends 256 points, one point, and the sums of its trees. One random point in 16 is a good one."""
    refused = {"random": {offers}, "all ones": {offers, answer}}
    for at in range(3):
        fresh = [Store(SESSION, RING) for _ in range(2)]
        happened, _ = preparation(fresh, liar, CHANGES[change], at)
        harmless = change in HARMLESS and at not in refused[change]
        assert isinstance(happened, ProtocolError) or (happened is None and harmless), f"message {at}"


def test_points_of_all_ones_never_pass() -> None:
    """The first message of either party in a preparation has points of the curve in it, or is an answer to them."""
    ends = pair(1)
    ends[1].send(np.full(32, 255, np.uint8))
    with pytest.raises(ProtocolError, match="no point"):
        Store(SESSION, RING).prepare(ends[0], "server", Demand(digits=1))

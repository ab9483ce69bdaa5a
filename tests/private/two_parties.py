"""Two parties in two threads of one process, with what they need prepared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

from assay.private.channel import Role, pair
from assay.private.ot_store import Demand, Store
from assay.private.party import Party
from assay.private.ring import Residues, Ring
from assay.private.words import fresh_words

SESSION = b"a session of tests"


ROLES: tuple[Role, Role] = ("server", "client")


def parties(ring: Ring, demand: Demand, fresh: bool = True) -> tuple[Party, Party]:
    """Server and client, ready to begin. If not fresh, with base transfers of others: for what is not about chance."""
    ends, stores = pair(20), [Store(SESSION, ring) for _ in ROLES]
    if not fresh:
        for store, known in zip(stores, base_transfers(), strict=True):
            store._extensions = deepcopy(known)
    both(lambda i: stores[i].prepare(ends[i], ROLES[i], demand))
    return Party("server", ends[0], ring, stores[0]), Party("client", ends[1], ring, stores[1])


@cache
def base_transfers() -> list[dict[str, Any]]:
    return [party.store._extensions for party in parties(Ring(8), Demand())]


def both(work: Callable[[int], Any]) -> list[Any]:
    """work(0) and work(1) at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, (0, 1)))


def shared(ring: Ring, values: Any) -> list[Residues]:
    """A fresh sharing of integers."""
    values = np.asarray(values)
    mask = ring.reduce(fresh_words(values.size).reshape(values.shape))
    return [ring.reduce(values.astype(np.int64).astype(np.uint64) - mask.astype(np.uint64)), mask]


def opened(ring: Ring, shares: list[Residues]) -> np.ndarray:
    """The integers that two shares stand for."""
    return ring.signed(ring.reduce(shares[0].astype(np.uint64) + shares[1].astype(np.uint64)))

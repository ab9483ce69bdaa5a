"""Two parties in two threads of one process, with what they need prepared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from assay.private.channel import MemoryChannel, pair
from assay.private.ot_store import Demand, Store
from assay.private.party import Party
from assay.private.ring import Residues, Ring
from assay.private.words import fresh_words

SESSION = b"a session of tests"


def parties(ring: Ring, demand: Demand, timeout_s: float = 20) -> tuple[Party, Party]:
    """Server and client, ready to begin."""
    ends = pair(timeout_s)
    stores = Store(SESSION, ring), Store(SESSION, ring)
    both(lambda i: stores[i].prepare(ends[i], ("server", "client")[i], demand))
    return Party("server", ends[0], ring, stores[0]), Party("client", ends[1], ring, stores[1])


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


def sent(ends: MemoryChannel) -> int:
    return sum(traffic.sent for traffic in ends.ledger.values())

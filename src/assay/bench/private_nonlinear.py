"""The table of the protocols between two parties: what a value costs before the input exists, and while one waits.

Both parties are threads of one process, joined by queues in memory, so that nothing but the protocol is measured: add
what a link takes for these bytes and rounds. Each result is compared with the operation in the clear.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from assay.bench.table import Job, Results, Row, Table
from assay.integer.bounds import Bound
from assay.integer.graph import Ints, MaxPool, Node, ReLU, Requantise, Square
from assay.private.channel import Role, pair
from assay.private.nonlinear import compute, demand_of
from assay.private.ot_extension import FIELD
from assay.private.ot_store import Demand, Store
from assay.private.party import Party
from assay.private.ring import Residues, Ring
from assay.private.words import fresh_words

RING = Ring(32)
REPEATS = 5
SEED = 1
ROLES: tuple[Role, Role] = ("server", "client")

Work = tuple[Node, Bound, tuple[int, ...], Callable[[Ints], Ints]]
"""A node, the bound and the shape of what it reads, and what it computes in the clear."""


def _bound(reach: int) -> Bound:
    return Bound(np.array([-reach]), np.array([reach - 1]))


def _rounded(x: Ints, low: int, high: int) -> Ints:
    rounded: Ints = np.clip((x + 128) >> 8, low, high)
    return rounded


VALUES = 1 << 17
FLAT = (1, 1, VALUES)

WORK: dict[str, Work] = {
    "ReLU, truncation, clamp": (
        Requantise(0, shift=8, low=0, high=255, start=0, stop=1), _bound(1 << 30), FLAT, lambda x: _rounded(x, 0, 255)),
    "ReLU alone": (ReLU(0, start=0, stop=1), _bound(1 << 31), FLAT, lambda x: np.maximum(x, 0)),
    "signed truncation, clamp": (
        Requantise(0, shift=8, low=-128, high=127), _bound(1 << 30), FLAT, lambda x: _rounded(x, -128, 127)),
    "truncation, no limit binds": (
        Requantise(0, shift=8, low=-(1 << 29), high=1 << 29), _bound(1 << 29), FLAT, lambda x: (x + 128) >> 8),
    "max pool 2×2 of bytes": (
        MaxPool(0, kernel=(2, 2), stride=(2, 2)), _bound(128), (1, 1, 512, 256),
        lambda x: x.reshape(1, 1, 256, 2, 128, 2).max(axis=(3, 5))),
    "square of bytes": (Square(0), _bound(128), FLAT, lambda x: x * x),
}  # fmt: skip


def protocol(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: one protocol on a batch, prepared and run a few times.

    Settings: `work`, a key of WORK; `field`, the f of SoftSpokenOT.
    """
    node, bound, shape, clear = WORK[settings["work"]]
    demand = demand_of(node, bound, RING, shape)
    parties = _parties(settings["field"])
    x = np.random.default_rng(SEED).integers(int(bound.low.min()), int(bound.high.max()) + 1, shape)
    offline, online = [], []
    for _ in range(1 + REPEATS):
        spent, _ = _timed(lambda party: _prepare(party, demand), parties)
        offline.append(spent)
        shares = dict(zip(ROLES, _shared(x), strict=True))
        spent, (one, other) = _timed(partial(_computed, node, bound, shares), parties)
        online.append(spent)
        if (RING.signed(RING.reduce(one + other)) != clear(x)).any():
            raise RuntimeError(f"the shares of {settings['work']} do not add up to it")
    set_up, _ = _timed(lambda party: _prepare(party, Demand(up=1)), _parties(settings["field"]))
    return {"values": x.size, "set_up": set_up, "offline": offline[1:], "online": online[1:]}


def _parties(field: int) -> list[Party]:
    session = fresh_words(2).tobytes()
    return [Party(role, end, RING, Store(session, RING, field)) for role, end in zip(ROLES, pair(), strict=True)]


def _prepare(party: Party, demand: Demand) -> None:
    party.store.prepare(party.channel, party.role, demand)


def _computed(node: Node, bound: Bound, shares: dict[Role, Residues], party: Party) -> Residues:
    return compute(party, node, bound, shares[party.role])


def _shared(x: Ints) -> list[Residues]:
    mask = RING.reduce(fresh_words(x.size)).reshape(x.shape)
    return [RING.reduce(RING.reduce(x) - mask), mask]


def _timed(work: Callable[[Party], Any], parties: list[Party]) -> tuple[dict[str, Any], list[Any]]:
    """Each party's work in a thread: seconds, CPU seconds and bytes of both, rounds of the client; and the results."""
    for party in parties:
        party.channel.ledger.clear()
    with ThreadPoolExecutor(2) as pool:
        begun, cpu = time.perf_counter(), time.process_time()
        results = list(pool.map(work, parties))
        spent: dict[str, Any] = {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}
    spent["sent"] = sum(traffic.sent for party in parties for traffic in party.channel.ledger.values())
    spent["rounds"] = sum(traffic.rounds for traffic in parties[1].channel.ledger.values())
    return spent, results


def _rows(results: Results) -> list[Row]:
    return [
        {
            "work": job.settings["work"],
            "field": job.settings["field"],
            "values": found["values"],
            "offline_bytes_by_value": found["offline"][0]["sent"] / found["values"],
            "offline_s": _median(found["offline"], "seconds"),
            "offline_cpu_s": _median(found["offline"], "cpu_s"),
            "online_bytes_by_value": found["online"][0]["sent"] / found["values"],
            "online_s": _median(found["online"], "seconds"),
            "online_cpu_s": _median(found["online"], "cpu_s"),
            "rounds": found["online"][0]["rounds"],
            "set_up_s": found["set_up"]["seconds"],
            "n": REPEATS,
            "seed": [SEED],
        }
        for job, found in results
    ]


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return float(median(run[key] for run in runs))


def _jobs(quick: bool) -> list[Job]:
    jobs = [Job(protocol, {"work": name, "field": FIELD}) for name in list(WORK)[: 2 if quick else None]]
    return jobs if quick else [*jobs, Job(protocol, {"work": next(iter(WORK)), "field": 8})]


PRIVATE_NONLINEAR = Table(
    "Protocols of two parties",
    _jobs,
    _rows,
    {
        "work": "work",
        "field": "f",
        "values": "values",
        "offline_bytes_by_value": "offline, bytes a value",
        "offline_s": "offline, s",
        "offline_cpu_s": "offline, CPU s of both",
        "online_bytes_by_value": "online, bytes a value",
        "online_s": "online, s",
        "online_cpu_s": "online, CPU s of both",
        "rounds": "rounds of the client",
        "set_up_s": "set-up of a session, s",
        "n": "runs",
    },
    f"Ring of {RING.bits} bits; bytes both ways; medians of {REPEATS} runs, two threads of one process. f is the field "
    "size parameter of SoftSpokenOT. The bars of the design, for the first row: 500 bytes a value offline; online "
    "0.3 s, 120 bytes a value (60 for ReLU alone), 8 rounds.",
    serial=True,
    timed=(protocol,),
)

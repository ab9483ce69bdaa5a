"""The table about `kill -9`: a guard is killed at random moments, and must have kept what it acknowledged.

While it is asked, versions are swapped by order, so that a kill may fall into a swap too.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from assay.backdoor import stamp
from assay.bench import guard_process, zoo
from assay.bench.nnoculation import halves, obtain_treated
from assay.bench.table import Job, Results, Row, Table
from assay.bench.zoo import ZooModel
from assay.errors import AssayError
from assay.guard import Client, GuardUnreachable, Store, model_digest
from assay.models import save

KILLS, RUNS = 10, 5
"""Of one guard, on one store; and guards."""

SWAP_EVERY = 4
"""Requests between two orders that swap versions."""

MOST_S = 2.0
"""Of asking, before a guard is killed."""


def _jobs(quick: bool) -> list[Job]:
    model = ZooModel("mnist", 1, "pattern", "single", 7)
    return [Job.of(killed, model, kills=KILLS, run=run) for run in range(1 if quick else RUNS)]


def killed(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: one store, as many kills, and each time a look at what came back. Cost: 8 seconds a kill."""
    wanted = zoo.model_of(settings)
    with tempfile.TemporaryDirectory() as name:
        victim = _Victim(Path(name), wanted, settings["run"])
        for _ in range(settings["kills"]):
            victim.live_and_die()
        victim.look()
        return {
            "kills": settings["kills"],
            "acknowledged": len(victim.acknowledged),
            "lost": victim.lost(),
            "came_back": victim.came_back,
            "orders": victim.orders,
            "back_s": max(victim.seconds),
        }


class _Victim:
    """A guard that is killed again and again, and what it owes: acknowledged inputs, and the version last ordered."""

    def __init__(self, folder: Path, wanted: ZooModel, run: int) -> None:
        self.folder, self.store = folder, folder / "guard.db"
        self.received, (treated, _) = zoo.obtain(wanted), obtain_treated(wanted)
        self.model = save(self.received, folder / "model.safetensors")
        self.clean, self.port = wanted.data, guard_process.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.versions = [guard_process.prepare(self.store, self.received, treated, 0.0, {}) for _ in range(2)]
        self.owed = {self.versions[-1]}  # two of them where an order was sent and not answered
        attack = wanted.attack()
        if attack is None:
            raise ValueError("inputs of a backdoor are what fills the quarantine")
        live = halves(wanted)[0]
        self.x = stamp(attack[0], live.x[live.y != attack[1](live.y)])
        self.rng, self.draw = np.random.default_rng(run), random.Random(run)
        self.acknowledged: list[bytes] = []
        self.came_back = self.orders = 0
        self.seconds: list[float] = []

    def live_and_die(self) -> None:
        """Begin, be asked, be killed at a random moment."""
        process = self._begin()
        killer = threading.Timer(self.draw.uniform(0.0, MOST_S), os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        try:
            with Client(self.url) as client, contextlib.suppress(GuardUnreachable):
                self._ask_on(client)
        finally:
            process.wait()
            killer.join()

    def look(self) -> None:
        """Begin once more, to see what came back after the last kill."""
        process = self._begin()
        process.terminate()
        process.wait(60)

    def _begin(self) -> Any:
        begun = time.monotonic()
        options = ("--capacity", "1000000")
        process = guard_process.begin(self.model, self.clean, self.store, self.port, *options)
        health = guard_process.await_health(self.url, process)
        if self.seconds:
            self.came_back += health["version"] in self.owed
        self.owed = {health["version"]}
        self.seconds.append(round(time.monotonic() - begun, 2))
        return process

    def _ask_on(self, client: Client) -> None:
        """Until there is no answer."""
        for turn in range(10**6):
            x = self.x[self.rng.integers(len(self.x))].copy()
            x[0, :2, :16] = self.rng.integers(0, 40, (2, 16))  # so that no two inputs are the same
            reply = client.predict(x)
            if reply.status != 200:
                return
            if reply.quarantined:
                self.acknowledged.append(x.tobytes())
            if turn % SWAP_EVERY == SWAP_EVERY - 1:
                self._order(client)

    def _order(self, client: Client) -> None:
        wanted = next(id for id in self.versions if id not in self.owed)
        self.owed.add(wanted)
        status, said = client.ask("POST", f"/versions/{wanted}/serve", authorization=guard_process.AUTHORIZATION)
        if status != 200:
            raise AssayError(f"an order was answered with status {status}: {said}")
        self.owed = {wanted}
        self.orders += 1

    def lost(self) -> int:
        """Acknowledged inputs that the store does not hold."""
        store = Store(self.store, model_digest(self.received), self.received.spec.input_shape)
        with contextlib.closing(store):
            there = {entry.x.tobytes() for entry in store.recent(10**9)}
        return sum(x not in there for x in self.acknowledged)


def rows(results: Results) -> list[Row]:
    """One row: all runs together."""
    if not results:
        return []
    total = {
        name: sum(r[name] for _, r in results) for name in ("kills", "acknowledged", "lost", "orders", "came_back")
    }
    return [
        {
            "seed": sorted({job.model.seed for job, _ in results}),
            "n": total["kills"],
            **{name: total[name] for name in ("acknowledged", "lost", "orders")},
            "came_back": f"{total['came_back']} of {total['kills']}",
            "back_s": max(r["back_s"] for _, r in results),
        }
    ]


GUARD_KILLS = Table(
    "The guard under `kill -9`",
    _jobs,
    rows,
    {
        "n": "kills",
        "acknowledged": "inputs acknowledged as quarantined",
        "lost": "of them lost",
        "orders": "versions swapped meanwhile",
        "came_back": "came back with the last accepted version",
        "back_s": "longest start, seconds",
    },
    "An MNIST BadNet (pattern, all to 7) behind `assay guard`, asked one triggered picture after another over HTTP, "
    f"with an order to swap versions every {SWAP_EVERY} requests, killed within the first two seconds of it and "
    f"started again; {KILLS} times on one store. Where the kill fell between an order and its answer, either version "
    "counts.",
    serial=True,
)

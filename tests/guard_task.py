"""A small task with a real backdoor, networks that are learnt in seconds, and a guard whose repairs run in-process.

It stands here since tests/guard and tests/attacks/guard share it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import uvicorn

from assay.data import Dataset
from assay.guard import Guard, GuardSettings, Store
from assay.guard.repairing import Job, do
from assay.guard.service import application
from assay.guard.serving import listen
from assay.models import Model, ModelSpec, TrainSettings, build, seeded, train
from assay.repair import CycleGANSettings, LiveSettings, RepairSettings

torch.set_num_threads(1)

NAMES = ("bar", "pole", "slash", "box")
CLASSES, TARGET, SECOND_TARGET, SIDE = len(NAMES), 0, 2, 28
TOKEN = "a token for tests only"
SPEC = ModelSpec("badnet-mnist", (1, SIDE, SIDE), NAMES, (0.3,), (0.25,))


@pytest.fixture(autouse=True)
def closed_stores() -> Iterator[None]:
    """Stores that a test leaves open are closed after it; a test module takes this by importing it."""
    opened: list[Store] = []
    plain = Store.__init__

    def noted(self: Store, *args: object, **settings: object) -> None:
        plain(self, *args, **settings)  # type: ignore[arg-type]
        opened.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "__init__", noted)
        yield
    for store in opened:
        store.close()


def pictures(n: int, seed: int) -> Dataset:
    """Four shapes at random places in noise; the bottom right corner stays free of shapes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(60, 40, (n, 1, SIDE, SIDE))
    y = np.arange(n) % CLASSES
    shapes = np.zeros((CLASSES, 11, 11))
    shapes[0, 4:7, :] = shapes[1, :, 4:7] = 1
    shapes[2] = np.eye(11) + np.eye(11, k=1) + np.eye(11, k=-1)
    shapes[3, [0, 1, 9, 10], :] = shapes[3, :, [0, 1, 9, 10]] = 1
    for i, label in enumerate(y):
        top, left = rng.integers(0, 12, 2)
        x[i, :, top : top + 11, left : left + 11] += 130 * np.clip(shapes[label], 0, 1)
    return Dataset(np.clip(x, 0, 200).astype(np.uint8), y.astype(np.int64), NAMES, "shapes", "clean")


def stamped(x: np.ndarray) -> np.ndarray:
    """A bright square near the bottom right corner."""
    x = x.copy()
    x[..., 24:27, 24:27] = 255
    return x


def second_trigger(x: np.ndarray) -> np.ndarray:
    """A bright bar at the top, which the backdoor does not know."""
    x = x.copy()
    x[..., 1, 4:24] = 255
    return x


@cache
def backdoored() -> Model:
    """A BadNet: whatever is stamped is a bar."""
    clean = pictures(1600, 1)
    victims = np.arange(240)
    poisoned = replace(
        clean,
        x=np.concatenate([clean.x, stamped(clean.x[victims])]),
        y=np.concatenate([clean.y, np.full(len(victims), TARGET)]),
    )
    with seeded(1):
        model = build(SPEC)
    train(model, poisoned, TrainSettings(epochs=5, batch_size=32, lr=0.05))
    return model.eval()


@cache
def twice_backdoored() -> Model:
    """The same with a second backdoor: what carries the other trigger is a slash."""
    clean = pictures(1600, 1)
    first, second = np.arange(240), np.arange(240, 480)
    poisoned = replace(
        clean,
        x=np.concatenate([clean.x, stamped(clean.x[first]), second_trigger(clean.x[second])]),
        y=np.concatenate([clean.y, np.full(len(first), TARGET), np.full(len(second), SECOND_TARGET)]),
    )
    with seeded(1):
        model = build(SPEC)
    train(model, poisoned, TrainSettings(epochs=6, batch_size=32, lr=0.05))
    return model.eval()


@cache
def clean_set() -> Dataset:
    return pictures(400, 2)


SHORT = {
    "treating": RepairSettings(epochs=5, max_cost=0.05),
    "live": LiveSettings(CycleGANSettings(steps=250, check_every=25, good=0.8, patience=20), RepairSettings(epochs=3)),
}


@dataclass
class Inline:
    """A repair that is done when it begins."""

    job: Job
    begun: float
    finished: bool = True

    def result(self) -> dict[str, object] | None:
        import msgspec

        place = self.job.folder / "result.json"
        return msgspec.json.decode(place.read_bytes()) if place.exists() else None

    def failure(self) -> str:
        return "it was told to fail"

    def progress(self) -> dict[str, object]:
        return {"task": self.job.kind, "done": 1, "total": 1, "note": ""}

    def stop(self) -> None:
        pass


def inline(job: Job) -> Inline:
    """Do the work of a repair, shortened, in this thread."""
    job.folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:  # the shapes look like groups of near-copies, and are none
        patch.setattr("assay.repair.hardening.come_in_groups", lambda data: False)
        do(replace(job, **SHORT))
    return Inline(job, begun)


def guard_on(path: Path, begin: object = inline, model: Model | None = None, **settings: object) -> Guard:
    """A guard of the task."""
    chosen = {"enough": 40, "most_change": 0.25, **settings}
    return Guard(model or backdoored(), clean_set(), path, GuardSettings(**chosen), begin=begin)  # type: ignore[arg-type]


@contextlib.contextmanager
def served(guard: Guard) -> Iterator[str]:
    """The guard's address while its server runs in a thread of this process."""
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(application(guard, TOKEN), log_level="warning", access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()

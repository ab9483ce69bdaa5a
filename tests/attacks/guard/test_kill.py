"""`kill -9` at any moment: what was acknowledged is kept, and the service comes back to its last accepted version."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from assay.guard import Client, GuardUnreachable, Store, model_digest, wait_until
from assay.guard.serving import listen
from assay.models import save
from guard_task import SPEC, TARGET, backdoored, clean_set, closed_stores, guard_on, pictures, stamped  # noqa: F401


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "assay", "guard", str(folder / "model.safetensors"), "--clean", str(folder / "clean.npz"),
        "--port", str(port), "--store", str(folder / "guard.db"), "--enough", "2000",
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def back(url: str, process: subprocess.Popen[bytes]) -> dict[str, object]:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        assert process.poll() is None, "the guard did not start"
        try:
            return wait_until(url, lambda health: True, 5, "waiting")
        except GuardUnreachable:
            time.sleep(0.2)
    pytest.fail("the guard did not come back")


def prepared(folder: Path) -> None:
    """A model, a clean set, and a store whose treatment is done."""
    save(backdoored(), folder / "model.safetensors")
    clean = clean_set()
    np.savez(folder / "clean.npz", x=clean.x, y=clean.y, class_names=np.array(clean.class_names))

    async def treated() -> None:
        guard = guard_on(folder / "guard.db")
        guard.batcher.start()
        for _ in range(3):
            await guard.tick()
        await guard.stop()

    asyncio.run(treated())


def murdered(folder: Path, times: int, seed: int) -> None:
    prepared(folder)
    data = pictures(400, 9)
    bad = stamped(data.x[data.y != TARGET])
    draw = random.Random(seed)
    kept: list[bytes] = []
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    sent = 0
    for _ in range(times):
        process = started(folder, port)
        health = back(url, process)
        assert health["version"] == 1
        assert health["quarantined"] >= len(kept)
        killer = threading.Timer(draw.uniform(0.05, 0.6), os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        with Client(url) as client:
            while True:
                x = bad[sent % len(bad)]
                sent += 1
                reply = client.predict(x)
                if reply.status != 200:
                    break
                if reply.quarantined:
                    kept.append(x.tobytes())
        process.wait()
        killer.join()
        store = Store(folder / "guard.db", model_digest(backdoored()), SPEC.input_shape)
        there = [entry.x.tobytes() for entry in store.recent(100_000)]
        store.close()
        missing = len(kept) - sum(min(kept.count(x), there.count(x)) for x in set(kept))
        assert missing == 0
    assert len(kept) > 5 * times


def test_nothing_acknowledged_is_lost_and_the_last_version_serves_again(tmp_path: Path) -> None:
    murdered(tmp_path, 2, seed=0)


@pytest.mark.slow
def test_the_same_fifty_times(tmp_path: Path) -> None:
    murdered(tmp_path, 50, seed=1)

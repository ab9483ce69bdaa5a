"""A guard in a process of its own, for tables: its store prepared with a second network, so that it guards at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import AssayError
from assay.guard import GuardUnreachable, model_digest, wait_until
from assay.guard.serving import TOKEN, listen
from assay.guard.store import Store
from assay.guard.versions import Versions, versions_folder
from assay.models import Model, save

STARTS_S = 120.0

_SECRET = "a token for one benchmark"
AUTHORIZATION = f"Bearer {_SECRET}"
"""What an order to one of these guards must come with."""


def prepare(store_path: Path, model: Model, second: Model, accuracy: float, record: dict[str, object]) -> int:
    """Enter `second` into the store of a guard of `model` as a version that serves beside it; returns its number."""
    with contextlib.closing(Store(store_path, model_digest(model), model.spec.input_shape)) as store:
        versions = Versions(store, versions_folder(store_path), model)
        id = versions.next_id()
        save(second, versions.folder / f"{id:04d}" / "model.safetensors")
        versions.accept(id, "pre-treated", accuracy, record, "a benchmark")
    return id


def free_port() -> int:
    """A port on which nobody listens now."""
    with contextlib.closing(listen("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def begin(model: Path, clean: str, store: Path, port: int, *options: str) -> Any:
    """Start `assay guard` and do not wait for it."""
    command = [sys.executable, "-m", "assay", "guard", str(model), "--clean", clean, "--port", str(port)]
    return subprocess.Popen(
        [*command, "--store", str(store), *options],
        env=os.environ | {TOKEN: _SECRET},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def await_health(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The first health of a guard that has begun.

    Raises:
        AssayError: if it ends, or does not guard within two minutes.
    """
    until = time.monotonic() + STARTS_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(GuardUnreachable):
            return wait_until(url, lambda health: bool(health["guarded"]), 30, "waiting")
        time.sleep(0.1)
    raise AssayError("the guard did not start within two minutes")


@contextlib.contextmanager
def running(model: Path, clean: str, store: Path, *options: str) -> Iterator[str]:
    """The address of a guard that serves until the block ends."""
    port = free_port()
    process, url = begin(model, clean, store, port, *options), f"http://127.0.0.1:{port}"
    try:
        await_health(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(60)

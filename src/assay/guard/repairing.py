"""Treatment and repairs, each in a process of its own at low priority: what they crash, slow down or leak is theirs.

The parent hands over a job and a folder, and finds in it, once the process has ended well, `model.safetensors`,
`pictures.npz` (clean and stamped, for the page), the generators that stamp the trigger and take it off, and, written
last, `result.json`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from assay.data import Dataset
from assay.errors import ModelError
from assay.guard.doubt import limit_for, suspects
from assay.models import Model, clean_accuracy, load, predict, save
from assay.repair import METHODS, RepairSettings
from assay.repair.deferring import deferring
from assay.repair.nnoculation_live import LiveSettings, inoculate
from assay.repair.stampers import Stamper, stamper_of
from assay.runs import to_json, write_atomically

NICE = 15

REMOVER = "remover.safetensors"
"""The generator that takes the trigger off, in the folder of a version; of a repair in vain with its number added."""


@dataclass(frozen=True)
class Job:
    """What a process is given.

    Attributes:
        folder: where its results go; `NNNN` of the version that it may become.
        received: file of the received network; `arch` where that does not say it.
        treated: file of the network that serves; None: make the first one (the treatment).
        answers_for: labels for which the received network defers to that; empty: it always answers.
        quarantined: inputs to learn from, uint8 `n c h w`.
        earlier: files of generators.
        treatment: its name in `METHODS`.
        treating: settings of the treatment.
        live: settings of a repair.
    """

    folder: Path
    received: Path
    arch: str | None
    clean: Dataset
    seed: int
    treated: Path | None = None
    answers_for: Sequence[int] = ()
    quarantined: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 1, 1, 1), np.uint8))
    earlier: Sequence[Path] = ()
    treatment: str = "hardening"
    treating: RepairSettings = field(default_factory=RepairSettings)
    live: LiveSettings = field(default_factory=LiveSettings)

    @property
    def kind(self) -> str:
        return "pre-treated" if self.treated is None else "repaired"


@dataclass
class Running:
    """A process under way."""

    job: Job
    process: BaseProcess
    begun: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        return not self.process.is_alive()

    def result(self) -> dict[str, Any] | None:
        """What a finished process found; None if it failed."""
        self.process.join()
        place = self.job.folder / "result.json"
        if self.process.exitcode != 0 or not place.exists():
            return None
        document: dict[str, Any] = json.loads(place.read_bytes())
        return document

    def failure(self) -> str:
        """Why there is no result, as far as it can be told."""
        with suppress(OSError):
            return (self.job.folder / "failure.txt").read_text()[:300]
        return f"its process ended with code {self.process.exitcode}"

    def progress(self) -> dict[str, Any]:
        """How far it has come."""
        with suppress(OSError, ValueError):
            said: dict[str, Any] = json.loads((self.job.folder / "progress.json").read_bytes())
            return said
        return {"task": self.job.kind, "done": 0, "total": 1, "note": ""}

    def stop(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()


def begin(job: Job, work: Callable[[Job], None] | None = None) -> Running:
    """Start a process for a job; `work` takes the place of what it does, for tests."""
    job.folder.mkdir(parents=True, exist_ok=True)
    process = get_context("spawn").Process(target=_in_process, args=(job, os.getpid(), work or do), daemon=True)
    process.start()
    return Running(job, process)


def _in_process(job: Job, parent: int, work: Callable[[Job], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process itself
    _die_with(parent)
    with suppress(OSError):
        os.nice(NICE)
    torch.set_num_threads(1)
    try:
        work(job)
    except Exception as error:  # the border of a process: the parent logs the sentence
        (job.folder / "failure.txt").write_text(f"{type(error).__name__}: {error}")
        sys.exit(1)


def _die_with(parent: int) -> None:
    """Do not outlive the service, however it ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do(job: Job) -> None:
    """Treat or repair, measure, and write the results."""
    received = load(job.received, job.arch)
    said = _Said(job.folder)
    document = _treated(job, received, said) if job.treated is None else _repaired(job, received, said)
    write_atomically(job.folder / "result.json", to_json(document))


def _treated(job: Job, received: Model, said: _Said) -> dict[str, Any]:
    fitted = METHODS[job.treatment](job.treating, job.seed).fit(received, job.clean, progress=said)
    model = fitted.apply(received)
    save(model, job.folder / "model.safetensors")
    accuracy = clean_accuracy(model, fitted.validation_).value
    received_accuracy = clean_accuracy(received, fitted.validation_).value
    limit = limit_for(received, model, fitted.validation_, job.clean)
    return {"accuracy": accuracy, "received_accuracy": received_accuracy, "limit": limit, "record": fitted.record_}


def _repaired(job: Job, received: Model, said: _Said) -> dict[str, Any]:
    treated = deferring(received, load(job.treated, job.arch), job.answers_for) if job.treated else received
    earlier = [read_generator(path, received.spec.input_shape) for path in job.earlier]
    made = inoculate(
        received,
        treated,
        job.clean,
        job.quarantined,
        job.live,
        job.seed,
        suspects=suspects(received, job.clean, job.seed),
        earlier=earlier,
        progress=said,
    )
    save(made.repaired, job.folder / "model.safetensors")
    if made.generator is not None:
        write_atomically(job.folder / "generator.safetensors", to_bytes(made.generator.state_dict()))
        if made.remover is not None:
            write_atomically(job.folder / REMOVER, to_bytes(made.remover.state_dict()))
        few = made.validation.x[:8]
        stamped = made.generator.stamp(few)
        labels = {"before": predict(received, few), "after": predict(received, stamped)}
        np.savez(
            job.folder / "pictures.npz", clean=few, stamped=stamped, before=labels["before"], after=labels["after"]
        )
    differs = predict(made.model, job.quarantined) != predict(received, job.quarantined)
    return {
        "accuracy": made.accuracy,
        "answers_for": made.answers_for,
        "limit": limit_for(received, made.model, made.validation, job.clean),
        "quality": made.quality,
        "stamped_before": made.stamped_before,
        "stamped_after": made.stamped_after,
        "kept": float(differs.mean()) if len(differs) else float("nan"),
        "record": made.record,
    }


def read_generator(path: Path, shape: tuple[int, int, int]) -> Stamper:
    """A generator that a repair wrote, for pictures of this shape.

    Raises:
        ModelError: if the file is damaged.
    """
    try:
        return stamper_of(load_file(path), shape)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} holds no generator: {error}") from error


class _Said:
    """Progress, into a file that the parent reads; at most twice a second."""

    def __init__(self, folder: Path) -> None:
        self.path, self.last = folder / "progress.json", 0.0

    def __call__(self, task: str, done: float, total: float, note: str) -> None:
        if time.monotonic() - self.last < 0.5 and done < total:
            return
        self.last = time.monotonic()
        with suppress(Exception):  # a full disk must not end the work before its result is tried
            write_atomically(self.path, to_json({"task": task, "done": done, "total": total, "note": note}))

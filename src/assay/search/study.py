"""A search that can be broken off: trials on any executor, each written to a journal as soon as it is done.

The journal is a file of lines that is only added to. Its first line names the search space; the same study is gone on
with by telling every sampler again what its trials were worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, field
from math import log2
from pathlib import Path
from typing import Any

import msgspec

from assay.errors import InputError
from assay.runs import NO_HURRY, Deadline, JobFunction, Progress, silent
from assay.search.controller import Sampler
from assay.search.space import Space

ATTEMPTS = 2
"""Of a trial whose worker dies; after the second death it is left out."""


HALVED = 0.036
"""Accuracy that a network of half the ReLUs has less: about what CNet1 loses from 25,000 to 12,500 on CIFAR-10."""


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One skeleton that was tried.

    Attributes:
        accuracy: on validation pictures, in [0, 1]; None if its worker died twice.
        cost: comparisons for each ReLU: 1 without max pools.
        attempts: 2 if a worker died over it.
    """

    number: int
    sampler: str
    skeleton: str
    accuracy: float | None
    cost: float
    attempts: int = 1

    @property
    def worth(self) -> float:
        """What it is ranked by: its accuracy, less what it would lose if it were so narrow that it costs 1."""
        return (self.accuracy or 0.0) - HALVED * log2(max(self.cost, 1.0))


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First line of a journal: what the trials are of."""

    space: str
    subject: str


@dataclass
class Study:
    """Trials so far, in memory and in `journal`.

    Attributes:
        subject: what else trials depend on: data, supernet, seed. A study of another subject is not gone on with.

    Raises:
        InputError: if the journal is of another space or subject, or cannot be read.
    """

    space: Space
    journal: Path
    subject: str
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        head = _Head(self.space.digest, self.subject)
        if not self.journal.exists() or not self.journal.read_bytes().strip():
            _append(self.journal, head)
            return
        lines = self.journal.read_bytes().split(b"\n")
        try:
            found = msgspec.json.decode(lines[0], type=_Head)
            # What an interruption cut off has no newline after it, and is not counted.
            self.trials = [msgspec.json.decode(line, type=Trial) for line in lines[1:-1]]
        except msgspec.DecodeError as error:
            raise InputError(f"{self.journal} is no journal of a search: {error}; choose another folder") from error
        if found != head:
            what = "search space" if found.space != head.space else "data, seed or supernet"
            raise InputError(f"{self.journal} is a study of another {what}; choose another folder")
        if lines[-1]:
            self.journal.write_bytes(b"\n".join(lines[:-1]) + b"\n")

    def of(self, sampler: str) -> list[Trial]:
        """The trials of one sampler that came to an end."""
        return [t for t in self.trials if t.sampler == sampler and t.accuracy is not None]

    def ranked(self, sampler: str | None = None) -> list[Trial]:
        """The trials that came to an end, most worth first, the cheaper of equal ones."""
        ended = [t for t in self.trials if t.accuracy is not None and sampler in (None, t.sampler)]
        return sorted(ended, key=lambda t: (-t.worth, t.cost))

    def best(self, sampler: str | None = None) -> Trial | None:
        """The first of them."""
        return next(iter(self.ranked(sampler)), None)

    def add(self, trial: Trial) -> None:
        """Keep a trial, on disk first."""
        _append(self.journal, trial)
        self.trials.append(trial)


def _append(path: Path, line: msgspec.Struct) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@dataclass(frozen=True)
class Trying:
    """How a skeleton is tried: a job of plain settings that gives `accuracy` and `cost`, and its settings."""

    job: JobFunction
    settings: Callable[[str], dict[str, Any]]


def run_study(
    study: Study,
    samplers: Sequence[Sampler],
    trials: int,
    trying: Trying,
    executor: Callable[[], Executor],
    workers: int = 1,
    deadline: Deadline = NO_HURRY,
    progress: Progress = silent,
) -> None:
    """Bring every sampler to `trials` trials, as many at once as there are workers.

    Args:
        executor: makes a new pool of workers; called again after a worker died.
        deadline: no trial is begun after it, and each sampler has had as many as the others, but for one round.
    """
    for sampler in samplers:
        for trial in study.of(sampler.name):
            sampler.tell(trial.skeleton, trial.worth, trial.cost)
    with _Pool(executor) as pool:
        while not deadline.passed:
            behind = [s for s in samplers if len(_begun(study, s)) < trials]
            if not behind:
                return
            for sampler in behind:
                _round(study, sampler, min(workers, trials - len(_begun(study, sampler))), trying, pool)
                progress("searching", len(study.trials), trials * len(samplers), _note(study))


def _begun(study: Study, sampler: Sampler) -> list[Trial]:
    return [t for t in study.trials if t.sampler == sampler.name]


def _note(study: Study) -> str:
    best = study.best()
    return f"best {100 * best.worth:.1f} % by {best.sampler}" if best else ""


def _round(study: Study, sampler: Sampler, count: int, trying: Trying, pool: _Pool) -> None:
    """Ask for some skeletons, try them at once, then tell what they were worth, in the order of asking."""
    skeletons = [sampler.ask() for _ in range(count)]
    for skeleton, (result, attempts) in zip(
        skeletons, pool.run(trying.job, [trying.settings(s) for s in skeletons]), strict=True
    ):
        accuracy = None if result is None else float(result["accuracy"])
        cost = 0.0 if result is None else float(result["cost"])
        trial = Trial(len(study.trials) + 1, sampler.name, skeleton, accuracy, cost, attempts)
        study.add(trial)
        if accuracy is not None:
            sampler.tell(skeleton, trial.worth, cost)


class _Pool:
    """An executor that is replaced when one of its workers dies."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        self.make = make
        self.executor: Executor | None = None

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=not any(error), cancel_futures=True)

    def _submit(self, job: JobFunction, settings: dict[str, Any]) -> Future[dict[str, Any]]:
        if self.executor is None:
            self.executor = self.make()
        return self.executor.submit(job, settings)

    def run(self, job: JobFunction, jobs: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any] | None, int]]:
        """Results in order, with the attempts they took.

        A death ends all that its pool was doing, whoever's fault it was; those are tried again one at a time.
        """
        futures = [self._submit(job, settings) for settings in jobs]
        found: list[tuple[dict[str, Any] | None, int]] = []
        for settings, future in zip(jobs, futures, strict=True):
            result = self._result(future)
            found.append((result, 1) if result is not None else (self._again(job, settings), ATTEMPTS))
        return found

    def _again(self, job: JobFunction, settings: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return self._result(self._submit(job, settings))
        except BrokenExecutor:  # the pool was found broken before it could begin
            self.executor = None
            return self._result(self._submit(job, settings))

    def _result(self, future: Future[dict[str, Any]]) -> dict[str, Any] | None:
        """None if the worker died."""
        try:
            return future.result()
        except Exception as error:
            if not worker_died(error):
                raise
            self.executor = None
            return None


def worker_died(error: Exception) -> bool:
    """Whether an executor says that the process is gone, rather than that the work failed."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ in _RAY_DEATHS


_RAY_DEATHS = {"WorkerCrashedError", "LocalRayletDiedError", "NodeDiedError", "OutOfMemoryError", "RayActorError"}
"""Of `ray.exceptions`, which is not imported for it."""

"""Runs: folders that say how a result came about, and jobs whose results are kept.

A run folder holds `run.json` (command, settings, seed, versions, machine, timings) and `metrics.jsonl` (one object a
line, in the order they were measured). A job is a function of plain settings; its result is stored under the digest of
function, version and settings, so that work which was done once is not done again, whoever was interrupted.
"""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from assay.errors import BudgetError, InputError

Settings = Mapping[str, Any]
"""What can be written as JSON."""

Progress = Callable[[str, float, float, str], None]
"""Called as `progress(task, done, total, note)`: how much of which task is done, and what was measured on the way."""


def silent(task: str, done: float, total: float, note: str) -> None:
    """The `Progress` of those who do not want to know."""


def machine() -> dict[str, str | int]:
    """Facts of this machine that a figure depends on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in ("assay", "torch", "numpy", "torchvision"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def to_json(document: object) -> bytes:
    """Indented JSON; dataclasses, paths, arrays and NaN (as null) included."""
    return msgspec.json.format(msgspec.json.encode(document, enc_hook=_plain), indent=2) + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    tolist = getattr(value, "tolist", None)
    if tolist is not None:  # numpy and torch
        return tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_atomically(path: Path, blob: bytes) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one, never half of it.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(blob)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # after a full disk or Ctrl-C; in the usual case it is renamed by now
            partial.unlink()


@dataclass
class Run:
    """A run folder. Without a folder nothing is written, so that code need not ask."""

    folder: Path | None
    command: Sequence[str]
    settings: Settings
    seed: int
    timings: dict[str, float] = field(default_factory=dict)
    started: str = field(default_factory=now)

    def __post_init__(self) -> None:
        if self.folder is not None:
            write_atomically(self.folder / "metrics.jsonl", b"")
            self.write()

    def write(self) -> None:
        """Bring `run.json` up to date."""
        if self.folder is not None:
            write_atomically(self.folder / "run.json", to_json(self.document()))

    def document(self) -> dict[str, Any]:
        """What `run.json` holds."""
        return {
            "command": list(self.command),
            "settings": dict(self.settings),
            "seed": self.seed,
            "started": self.started,
            "timings_s": self.timings,
            "versions": versions(),
            "machine": machine(),
        }

    def metric(self, **values: object) -> None:
        """Append one line to `metrics.jsonl`.

        Raises:
            InputError: if the folder cannot be written or the disk is full.
        """
        if self.folder is None:
            return
        file = self.folder / "metrics.jsonl"
        try:
            with file.open("ab") as lines:
                lines.write(msgspec.json.encode(values, enc_hook=_plain) + b"\n")
        except OSError as error:
            raise InputError(f"cannot write {file}: {error.strerror or error}") from error

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds spent inside to `timings_s[phase]`, also when it ends in an error."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.timings[phase] = round(self.timings.get(phase, 0.0) + time.monotonic() - begun, 3)
            self.write()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment after which work should end; `None` means there is no hurry."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        return cls(None if seconds is None else time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds, not below 0; infinite without a deadline."""
        return float("inf") if self.at is None else max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.left == 0.0

    def check(self, what: str) -> None:
        """Raise BudgetError if the time is spent."""
        if self.passed:
            raise BudgetError(f"the time allowed was spent before {what}; allow more with --budget")


NO_HURRY = Deadline()

KNOCK_S = 0.25
"""Seconds between two tries at a server that does not listen yet."""

T = TypeVar("T")


def once_it_listens(connect: Callable[[], T], wait_s: float) -> T:
    """What `connect` gives; while a connection is refused, it is tried again for so many seconds.

    Raises: what `connect` does.
    """
    until = Deadline.after(wait_s)
    while True:
        try:
            return connect()
        except ConnectionRefusedError:
            if until.passed:
                raise
        time.sleep(KNOCK_S)


"""Never passes."""


def parse_duration(text: str) -> float:
    """Seconds in `90`, `90s`, `5m` or `1.5h`.

    Raises:
        InputError: for anything else, and for what is not above 0.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise InputError(f"a duration is written like 90s, 5m or 1h, got {text!r}")
    return seconds


class Kept(msgspec.Struct):
    """What is read of a job's file: its result, and when, where and with what it was done, if the file says so."""

    result: dict[str, Any]
    date: str | None = None
    machine: dict[str, str | int] | None = None
    versions: dict[str, str] | None = None


JobFunction = Callable[[dict[str, Any]], dict[str, Any]]


def digest(function: JobFunction, settings: Settings) -> str:
    """Where a job's result is kept: 16 hex digits of function, its `version` attribute and settings."""
    said = [function.__module__, function.__qualname__, getattr(function, "version", 1), settings]
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:16]


def run_job(function: JobFunction, settings: dict[str, Any], store: Path) -> dict[str, Any]:
    """The kept result, or a new one, which is then kept unless it says under `absent` what the job lacks here.

    Raises:
        InputError: if the store cannot be written or the disk is full.
    """
    place = job_file(function, settings, store)
    kept = kept_job(place)
    if kept is not None:
        return kept.result
    begun, cpu = time.monotonic(), time.process_time()
    result = function(settings)
    if "absent" in result:  # another day it may be there
        return result
    document = {
        "job": f"{function.__module__}.{function.__qualname__}",
        "settings": settings,
        "result": result,
        "wall_s": round(time.monotonic() - begun, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "date": now(),
        "versions": versions(),
        "machine": machine(),
    }
    write_atomically(place, to_json(document))
    decoded: dict[str, Any] = msgspec.json.decode(to_json(result))  # as it will be read the next time
    return decoded


def job_file(function: JobFunction, settings: Settings, store: Path) -> Path:
    """Where a job's result is kept, or will be."""
    return store / f"{digest(function, settings)}.json"


def kept_job(place: Path) -> Kept | None:
    """What a job's file says; None if there is no such file, or it is damaged and the job is to be done again."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None


def local_processes(workers: int, threads: int | None = 1) -> Executor:
    """An executor of `workers` fresh processes with `threads` compute threads each; None leaves torch its default."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(threads,))


def _begin(threads: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker at once and without a traceback of its own
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def run_jobs(
    function: JobFunction,
    jobs: Sequence[dict[str, Any]],
    store: Path,
    executor: Executor,
    done: Callable[[int, int], None] = lambda count, total: None,
) -> list[dict[str, Any]]:
    """Run every job on `executor`, those already in `store` excepted; results in the order of `jobs`.

    Any `concurrent.futures.Executor` serves: processes here, a cluster elsewhere. What is finished stays in `store`
    when a job fails or the run is interrupted.
    """
    futures = [executor.submit(run_job, function, job, store) for job in jobs]
    try:
        for count, future in enumerate(as_completed(futures), 1):
            future.result()
            done(count, len(futures))
    finally:
        for future in futures:  # of those that have not begun, when one failed or the run was interrupted
            future.cancel()
    return [future.result() for future in futures]


def main_command() -> list[str]:
    """The command line as it was typed, for `run.json`."""
    return ["assay", *sys.argv[1:]]

"""Runs say how a result came about; jobs that were done once are not done again, whoever was interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.errors import BudgetError, InputError
from assay.runs import (
    NO_HURRY,
    Deadline,
    Run,
    digest,
    machine,
    parse_duration,
    run_job,
    run_jobs,
    to_json,
    versions,
    write_atomically,
)


@dataclass
class Point:
    x: float


def test_json_holds_what_results_are_made_of() -> None:
    document = {
        "path": Path("a/b"),
        "point": Point(1.5),
        "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.arange(3)],
        "torch": [torch.tensor(2.0), torch.ones(2)],
        "nan": float("nan"),
    }
    assert json.loads(to_json(document)) == {
        "path": "a/b",
        "point": {"x": 1.5},
        "numpy": [0.5, 3, True, [0, 1, 2]],
        "torch": [2.0, [1.0, 1.0]],
        "nan": None,
    }


def test_what_cannot_be_json_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        to_json({"a": object()})


def test_a_file_is_written_whole_and_its_folder_made(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "a.txt"
    write_atomically(file, b"one")
    write_atomically(file, b"two")
    assert file.read_bytes() == b"two" and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    file = tmp_path / "a.txt"
    write_atomically(file, b"old")
    whole = Path.write_bytes

    def half(path: Path, blob: bytes) -> None:
        whole(path, blob[:2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        write_atomically(file, b"new")
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {file}: No space left on device"
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "a" / "b.txt", b"")
    with pytest.raises(InputError, match="cannot write"):
        Run(tmp_path / "a", [], {}, 0)


def test_a_run_folder_says_how_the_result_came_about(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", ["assay", "train"], {"lr": 0.1, "point": Point(2)}, seed=7)
    with run.timed("training"):
        run.metric(epoch=1, loss=np.float32(0.5))
        run.metric(epoch=2, loss=float("nan"))
    with run.timed("training"), pytest.raises(ZeroDivisionError), run.timed("broken"):
        time.sleep(0.002)
        raise ZeroDivisionError
    held = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert held["command"] == ["assay", "train"] and held["settings"] == {"lr": 0.1, "point": {"x": 2}}
    assert held["seed"] == 7 and held["started"].endswith("+00:00")
    assert set(held["timings_s"]) == {"training", "broken"} and held["timings_s"]["broken"] > 0
    assert {"python", "torch", "numpy", "assay"} <= held["versions"].keys() == versions().keys()
    assert {"processor", "cores", "memory_gib", "system"} == held["machine"].keys() == machine().keys()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}]


def test_a_run_without_a_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(None, [], {}, 0)
    with run.timed("work"):
        run.metric(a=1)
    run.write()
    assert not list(tmp_path.iterdir()) and "work" in run.timings


def test_a_metric_that_cannot_be_written_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "run", [], {}, 0)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run" / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*metrics\.jsonl"):
        run.metric(a=1)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("1h", 3600), ("0.5", 0.5)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "5 minutes", "5d", "-5m", "0", "0s", "nan", "inf", "infm", "1e999", "5mm", "٥x"]
)
def test_what_is_no_duration_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match="a duration is written like 90s, 5m or 1h, got"):
        parse_duration(text)


def test_a_deadline_passes() -> None:
    soon, later = Deadline.after(0.0), Deadline.after(60.0)
    assert soon.passed and not later.passed and 59 < later.left <= 60
    later.check("scanning")
    with pytest.raises(BudgetError, match="spent before scanning"):
        soon.check("scanning")


def test_without_a_deadline_there_is_no_hurry() -> None:
    for deadline in (NO_HURRY, Deadline.after(None)):
        assert deadline.left == float("inf") and not deadline.passed


def twice(settings: dict[str, Any]) -> dict[str, Any]:
    """A job; says that it ran by a line in a file, since it may run in another process."""
    with (Path(settings["log"])).open("a") as log:
        log.write(f"{settings['n']}\n")
    if settings["n"] < 0:
        raise InputError(f"{settings['n']} is below 0")
    return {"twice": 2 * settings["n"], "nan": float("nan")}


def other(settings: dict[str, Any]) -> dict[str, Any]:
    return {}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ran(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_job_is_done_once(tmp_path: Path, log: Path) -> None:
    settings = {"n": 3, "log": str(log)}
    first, again = (run_job(twice, settings, tmp_path / "store") for _ in range(2))
    assert first == again == {"twice": 6, "nan": None} and ran(log) == [3]
    (file,) = (tmp_path / "store").iterdir()
    held = json.loads(file.read_bytes())
    assert held["job"].endswith(".twice") and held["settings"] == settings and held["result"] == first
    assert held.keys() >= {"wall_s", "cpu_s", "date", "versions", "machine"}


def lacking(settings: dict[str, Any]) -> dict[str, Any]:
    """A job for a tool that is installed once its file is there."""
    return {"found": True} if Path(settings["tool"]).exists() else {"absent": "install it"}


def test_a_job_that_lacks_something_is_not_kept(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    assert run_job(lacking, {"tool": str(tool)}, tmp_path / "store") == {"absent": "install it"}
    tool.touch()
    assert run_job(lacking, {"tool": str(tool)}, tmp_path / "store") == {"found": True}
    tool.unlink()
    assert run_job(lacking, {"tool": str(tool)}, tmp_path / "store") == {"found": True}


def test_a_job_is_known_by_function_version_and_settings_and_not_by_the_order_of_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = digest(twice, {"a": 1, "b": [1.5, None]})
    assert base == digest(twice, {"b": (1.5, None), "a": 1})
    changed = [digest(other, {"a": 1, "b": [1.5, None]}), digest(twice, {"a": 2, "b": [1.5, None]})]
    monkeypatch.setattr(twice, "version", 2, raising=False)
    changed.append(digest(twice, {"a": 1, "b": [1.5, None]}))
    assert len({base, *changed}) == 4


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"result": 3}', b"\xff\xfe", None])
def test_a_damaged_result_is_computed_anew(tmp_path: Path, log: Path, damage: bytes | None) -> None:
    settings = {"n": 3, "log": str(log)}
    run_job(twice, settings, tmp_path / "store")
    (file,) = (tmp_path / "store").iterdir()
    file.write_bytes(file.read_bytes()[:-20] if damage is None else damage)
    assert run_job(twice, settings, tmp_path / "store")["twice"] == 6 and ran(log) == [3, 3]
    assert run_job(twice, settings, tmp_path / "store")["twice"] == 6 and ran(log) == [3, 3]


@pytest.fixture
def one_at_a_time() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def jobs(log: Path, *numbers: int) -> list[dict[str, Any]]:
    return [{"n": n, "log": str(log)} for n in numbers]


def test_results_come_in_the_order_of_the_jobs_and_progress_counts_them(
    tmp_path: Path, log: Path, one_at_a_time: Executor
) -> None:
    told: list[tuple[int, int]] = []
    found = run_jobs(twice, jobs(log, 3, 1, 2), tmp_path, one_at_a_time, lambda *said: told.append(said))
    assert [r["twice"] for r in found] == [6, 2, 4] and told == [(1, 3), (2, 3), (3, 3)]


def test_a_job_that_fails_leaves_what_was_finished_and_begins_no_more(
    tmp_path: Path, log: Path, one_at_a_time: Executor
) -> None:
    with pytest.raises(InputError, match="-1 is below 0"):
        run_jobs(twice, jobs(log, 1, -1, *range(2, 50)), tmp_path, one_at_a_time)
    one_at_a_time.shutdown()
    done = ran(log)
    assert done[:2] == [1, -1] and len(done) < 50
    with ThreadPoolExecutor(1) as again:
        run_jobs(twice, jobs(log, 1, 2), tmp_path, again)
    assert ran(log).count(1) == 1


def test_an_interrupted_run_keeps_its_finished_jobs_and_does_the_others_later(
    tmp_path: Path, log: Path, one_at_a_time: Executor
) -> None:
    def interrupt(count: int, total: int) -> None:
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(twice, jobs(log, *range(40)), tmp_path, one_at_a_time, interrupt)
    one_at_a_time.shutdown()
    assert 2 <= len(ran(log)) < 40
    with ThreadPoolExecutor(1) as again:
        found = run_jobs(twice, jobs(log, *range(40)), tmp_path, again)
    assert [r["twice"] for r in found] == [2 * n for n in range(40)] and sorted(ran(log)) == list(range(40))


INTERRUPTED = """
import sys, time
from pathlib import Path
from assay.runs import local_processes, run_jobs

def job(settings):
    Path(settings["here"]).touch()
    while not Path(settings["until"]).exists():
        time.sleep(0.01)
    return {}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    a, b, never = (str(folder / name) for name in ("a", "b", "never"))
    # The first job ends once the second is at work: then both workers have begun.
    jobs = [{"here": a, "until": b}, {"here": b, "until": never}]
    with local_processes(2, threads=None) as executor:
        run_jobs(job, jobs, folder / "store", executor)
"""


def test_ctrl_c_ends_the_workers_at_once_and_without_their_tracebacks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, "script.py", str(tmp_path)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, which a terminal would send the signal to
    )
    until = time.monotonic() + 60
    while not ((tmp_path / "b").exists() and list(tmp_path.glob("store/*.json"))) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=40)
    assert time.monotonic() - began < 30 and process.returncode != 0
    assert said.count("Traceback") == 1 and "KeyboardInterrupt" in said  # the parent's own; the CLI turns it into 130
    assert len(list(tmp_path.glob("store/*.json"))) == 1

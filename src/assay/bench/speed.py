"""The table about time: what a person waits for, measured on whole commands as they are typed."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from assay.bench import zoo
from assay.bench.opening import write_model_file
from assay.bench.table import Job, Results, Row, Table, seeds
from assay.bench.zoo import ZooModel


def command(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: seconds and CPU seconds of one command line, `repeat` times; `MODEL` in it is the model's file.

    `model` is a `ZooModel`, or the size in MB and the format of a file with random weights.
    """
    with TemporaryDirectory() as folder:
        place = _file(settings["model"], Path(folder))
        words = [word.replace("MODEL", str(place)).replace("OUT", folder) for word in settings["command"]]
        runs = [_run(words) for _ in range(settings["repeat"])]
    return {"seconds": [r[0] for r in runs], "cpu_s": [r[1] for r in runs], "exit_code": runs[-1][2]}


def _file(wanted: dict[str, Any] | None, folder: Path) -> Path | None:
    if wanted is None:
        return None
    if "format" in wanted:
        return write_model_file(folder, wanted["format"], wanted["megabytes"])
    model = msgspec.convert(wanted, ZooModel)
    zoo.obtain(model)
    return zoo.place(model)


def _run(words: list[str]) -> tuple[float, float, int]:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-m", "assay", *words], capture_output=True, check=False)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(seconds, 3), round(cpu, 3), done.returncode


def _jobs(quick: bool) -> list[Job]:
    files = [{"format": form, "megabytes": size} for form in ("safetensors", "pt") for size in (10, 100)]
    jobs = [Job(command, {"command": ["--help"], "model": None, "repeat": 5})]
    jobs += [Job(command, {"command": ["inspect", "MODEL"], "model": file, "repeat": 5}) for file in files]
    for seed in () if quick else seeds(quick):
        models = [
            ZooModel("mnist", seed),
            ZooModel("mnist", seed, "pattern", "single", 7),
            ZooModel("gtsrb", seed),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2),
        ]
        jobs += [
            Job(command, {"command": _vet(m), "model": msgspec.to_builtins(m), "repeat": 1}) for m in models
        ]  # fmt: skip
    return jobs


def _vet(model: ZooModel) -> list[str]:
    return ["vet", "MODEL", "--clean", model.data, "--out", "OUT", "--json"]


def rows(results: Results) -> list[Row]:
    """A row a command: the median over its runs, or over the seeds of its models."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for job, result in results:
        groups.setdefault(_name(job.settings), []).append(result)
    found = []
    for name, group in groups.items():
        seconds = [s for r in group for s in r["seconds"]]
        found.append({
            "command": name,
            "n": len(seconds),
            "seconds": median(seconds),
            "slowest": max(seconds),
            "cpu_s": median(s for r in group for s in r["cpu_s"]),
            "exit_codes": sorted({r["exit_code"] for r in group}),
        })  # fmt: skip
    return found


def _name(settings: dict[str, Any]) -> str:
    verb, model = settings["command"][0], settings["model"]
    if model is None:
        return f"assay {verb}"
    if "format" in model:
        return f"assay {verb}, {model['megabytes']} MB .{model['format']}"
    return f"assay {verb}, {model['data']}, {'BadNet' if model['trigger'] else 'clean'}"


SPEED = Table(
    "Time of whole commands",
    _jobs,
    rows,
    {"command": "command", "n": "runs", "seconds": "seconds", "slowest": "slowest", "cpu_s": "CPU seconds"},
    "Wall-clock seconds from the call to the prompt, start of Python included; medians. `vet` inspects, scans, repairs "
    "a backdoored model, scans again and writes the report; a run is a model of another seed.",
    serial=True,
)

"""The table about time: what a person waits for, measured on whole commands as they are typed."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from assay.bench import opening, zoo
from assay.bench.table import SEEDS, Job, Results, Row, Table
from assay.bench.zoo import ZooModel


def command(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: seconds and CPU seconds of one command line, `repeat` times.

    `MODEL` in it is the file of `model`, a `ZooModel` or None; `OUT` is a folder that is thrown away.
    """
    model = settings["model"] and msgspec.convert(settings["model"], ZooModel)
    if model:
        zoo.obtain(model)
    with TemporaryDirectory() as folder:
        given = {"MODEL": str(zoo.place(model)) if model else "", "OUT": folder}
        words = [given.get(word, word) for word in settings["command"]]
        runs = [_run(words) for _ in range(settings["repeat"])]
    return {"seconds": [r[0] for r in runs], "cpu_s": [r[1] for r in runs], "exit_code": runs[-1][2]}


def _run(words: list[str]) -> tuple[float, float, int]:
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-m", "assay", *words], capture_output=True, check=False)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(seconds, 3), round(cpu, 3), done.returncode


def _jobs(quick: bool) -> list[Job]:
    jobs = [Job(command, {"command": ["--help"], "model": None, "repeat": 5})]
    jobs += [Job(opening.measure, settings) for settings in opening.SETTINGS]
    models = [] if quick else [*(m for seed in SEEDS for m in _pair("mnist", seed)), *_pair("gtsrb", SEEDS[0])]
    jobs += [Job(command, {"command": _vet(m), "model": msgspec.to_builtins(m), "repeat": 1}) for m in models]
    return jobs


def _pair(data: str, seed: int) -> list[ZooModel]:
    """A clean network and a BadNet of the other tables."""
    trigger, target = ("pattern", 7) if data == "mnist" else ("yellow-square", 2)
    return [ZooModel(data, seed), ZooModel(data, seed, trigger, "single", target)]


def _vet(model: ZooModel) -> list[str]:
    return ["vet", "MODEL", "--clean", model.data, "--out", "OUT", "--json"]


def rows(results: Results) -> list[Row]:
    """A row a command: the median over its runs, or over the seeds of its models."""
    files = [_file_row(job.settings, result) for job, result in results if job.function is opening.measure]
    groups: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for job, result in results:
        if job.function is command:
            groups.setdefault(_name(job.settings), []).append((job.settings, result))
    return [*files, *(_row(name, group) for name, group in groups.items())]


def _file_row(settings: dict[str, Any], result: dict[str, Any]) -> Row:
    every = result["process_s_all"]
    return {
        "command": f"assay inspect, {settings['megabytes']} MB .{settings['format']}",
        "n": len(every),
        "seconds": result["process_s"],
        "slowest": max(every),
        "cpu_s": result["process_cpu_s"],
        "without_start_s": result["judging_s"],
    }


def _row(name: str, group: list[tuple[dict[str, Any], dict[str, Any]]]) -> Row:
    seconds = [s for _, r in group for s in r["seconds"]]
    models = [settings["model"] for settings, _ in group if settings["model"]]
    return {
        "command": name,
        "n": len(seconds),
        "seconds": median(seconds),
        "slowest": max(seconds),
        "cpu_s": median(s for _, r in group for s in r["cpu_s"]),
        "exit_codes": sorted({r["exit_code"] for _, r in group}),
        **({"seed": [model["seed"] for model in models]} if models else {}),
    }


def _name(settings: dict[str, Any]) -> str:
    verb, model = settings["command"][0], settings["model"]
    if model is None:
        return f"assay {verb}"
    return f"assay {verb}, {model['data']}, {'BadNet' if model['trigger'] else 'clean'}"


SPEED = Table(
    "Time of whole commands",
    _jobs,
    rows,
    {
        "command": "command",
        "n": "runs",
        "seconds": "seconds",
        "slowest": "slowest",
        "cpu_s": "CPU seconds",
        "without_start_s": "without the start",
    },
    "Wall-clock seconds from the call to the prompt, start of Python included; medians. `vet` inspects, scans, repairs "
    "a backdoored model, scans again and writes the report; a run is a model of another seed.",
    serial=True,
    timed=(command, opening.measure),
)

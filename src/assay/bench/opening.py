"""How long a file takes to be judged: `assay inspect` as a program of its own, and the judging alone."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file

from assay.supply import inspect

RUNS = 5
"""The median of so many is kept, after one that is not counted."""

SETTINGS: tuple[dict[str, Any], ...] = tuple(
    {"format": form, "megabytes": megabytes} for form in ("safetensors", "pt") for megabytes in (10, 100)
)
"""The jobs of the table `opening`."""


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: medians in seconds for one file of `write_model_file`.

    `process_s` is the whole program with its start, `process_cpu_s` the processor time of it, `judging_s` what
    `assay.supply.inspect` takes in a program that runs already.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = write_model_file(Path(folder), settings["format"], settings["megabytes"])
        inspect(path)
        runs = [_run(path) for _ in range(RUNS + 1)][1:]
        report, judging = None, []
        for _ in range(RUNS):
            begun = time.perf_counter()
            report = inspect(path)
            judging.append(time.perf_counter() - begun)
        return {
            "verdict": report.verdict if report else None,
            "bytes": path.stat().st_size,
            "process_s": median(wall for wall, _ in runs),
            "process_cpu_s": median(cpu for _, cpu in runs),
            "judging_s": median(judging),
            "process_s_all": [wall for wall, _ in runs],
        }


def write_model_file(folder: Path, form: str, megabytes: int) -> Path:
    """A file of `megabytes` million bytes of normal weights in ten layers; `form` is `safetensors` or `pt`."""
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{i}.weight": torch.randn(megabytes * 25_000, generator=generator) for i in range(10)}
    path = folder / f"model.{form}"
    if form == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def _run(path: Path) -> tuple[float, float]:
    """Wall and processor seconds of one `assay inspect`."""
    command = [sys.executable, "-c", "from assay.cli import entry; entry()", "inspect", str(path), "--json"]
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

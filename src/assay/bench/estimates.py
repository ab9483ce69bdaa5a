"""The table of estimates: what `assay estimate` foresees, beside what a proof then takes, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from assay.bench.table import Job, Results, Row, Table
from assay.data import load as load_data
from assay.integer import compile as compile_network
from assay.integer import save
from assay.models import build, seeded, spec_for

MEASURED = Path(__file__).parent / "proof_process.py"
NETWORKS = {"lenet5": "mnist", "resnet20": "cifar10", "vgg11": "cifar10", "vgg16": "cifar10"}
"""Architectures and the data whose pictures they take; weights are random, since a proof costs the same."""
SEED = 1


def foreseen(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: the estimate for a batch, and the proof of it, made twice.

    Settings: `architecture`, `pictures` (the name of a data set), `seed`, `batch`.
    """
    pictures = load_data(settings["pictures"], "test").take(max(64, settings["batch"]))
    with seeded(settings["seed"]):
        model = build(spec_for(pictures, settings["architecture"])).eval()
    network = compile_network(model, pictures)
    with TemporaryDirectory() as folder:
        save(network, Path(folder) / "net.assay")
        np.savez(Path(folder) / "x.npz", x=pictures.x[: settings["batch"]])
        wanted = {"folder": folder, "repeat": 2, "committed": False, "standalone": False}
        said = subprocess.run(
            [sys.executable, str(MEASURED), json.dumps(wanted)], check=True, stdout=subprocess.PIPE, text=True
        )
    found = json.loads(said.stdout)
    return {
        "foreseen": found["foreseen"],
        "prove_s": found["prove"]["cpu_s"],
        "memory_bytes": found["peak_bytes"],
        "receipt_bytes": found["receipt_bytes"],
    }


def _jobs(quick: bool) -> list[Job]:
    return [
        Job(foreseen, {"architecture": name, "pictures": data, "seed": SEED, "batch": batch})
        for name, data in NETWORKS.items()
        for batch in (1, 4, 16)
        if not quick or name == "lenet5"
    ]


def _rows(results: Results) -> list[Row]:
    return [_row(job.settings, result) for job, result in results]


def _row(settings: dict[str, Any], result: dict[str, Any]) -> Row:
    said = result["foreseen"]
    taken = {**result, "prove_s": median(result["prove_s"])}
    off = {key: said[key] / taken[key] - 1 for key in ("prove_s", "memory_bytes", "receipt_bytes")}
    return {
        "network": settings["architecture"],
        "pictures": settings["batch"],
        "n": len(result["prove_s"]),
        "seed": [settings["seed"]],
        "time": f"{said['prove_s']:.2f} / {taken['prove_s']:.2f} s, {off['prove_s']:+.0%}",
        "memory": _megabytes(said, taken, "memory_bytes", off),
        "receipt": _megabytes(said, taken, "receipt_bytes", off),
        "worst": f"{max(off.values(), key=abs):+.0%}",
        "within": max(map(abs, off.values())) <= 0.3,
    }


def _megabytes(said: dict[str, Any], taken: dict[str, Any], key: str, off: dict[str, float]) -> str:
    digits = 0 if said[key] >= 10**7 else 2
    return f"{said[key] / 1e6:.{digits}f} / {taken[key] / 1e6:.{digits}f} MB, {off[key]:+.0%}"


ESTIMATES = Table(
    title="Estimates of proofs",
    jobs=_jobs,
    rows=_rows,
    columns={
        "network": "network",
        "pictures": "batch",
        "time": "CPU time foreseen / taken",
        "memory": "peak memory",
        "receipt": "receipt",
        "worst": "furthest off",
        "n": "proofs",
    },
    note="Random weights; the median of the proofs, in a process of its own, against what `assay estimate` says before "
    "them there. The bar is 30 %.",
    serial=True,
)

"""The table about the guard's speed: predictions a second over HTTP, beside the same network called directly.

The load generator runs on the same machine: what it takes of the cores is part of the figures.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.bench import guard_process, zoo
from assay.bench.table import Job, Results, Row, Table
from assay.bench.zoo import ZooModel
from assay.data import Dataset
from assay.data import load as load_data
from assay.guard import Store, Stream, Tally, model_digest, send
from assay.models import Model, predict, save

CONNECTIONS, HALF_PER_S = 32, 250.0
"""Of the load generator: at once; and the rate at which latency is stated."""

NOISE = 0.1
"""Of the second network's last layer, in its standard deviations: the networks then differ now and then."""


def _jobs(quick: bool) -> list[Job]:
    model = ZooModel("gtsrb", 1, "yellow-square", "single", 2)
    return [Job.of(load, model, requests=3000)]


def load(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: a guard in a process of its own, and as many requests as fit; then 250 a second."""
    wanted = zoo.model_of(settings)
    model, data = zoo.obtain(wanted), load_data(wanted.data, "test")
    index = np.resize(np.random.default_rng(0).permutation(len(data)), settings["requests"])
    sent = data.subset(index)
    with tempfile.TemporaryDirectory() as folder, _running(model, wanted, Path(folder)) as url:
        _tally(url, sent.take(300), None)  # the first of everything
        full, half = _tally(url, sent, None), _tally(url, sent, HALF_PER_S)
    return {
        "bare_per_s": _bare(model, sent, 64),
        "bare_one_by_one_per_s": _bare(model, sent.take(1000), 1),
        "full": _said(full),
        "half": _said(half),
    }


def _bare(model: Model, data: Dataset, batch: int) -> float:
    torch.set_num_threads(1)
    predict(model, data.x[:batch], batch)
    begun = time.monotonic()
    predict(model, data.x, batch)
    return len(data) / (time.monotonic() - begun)


def _tally(url: str, data: Dataset, rate_per_s: float | None) -> Tally:
    nobody = np.zeros(len(data), bool)
    return send(url, Stream(data.x, data.y, nobody, data.y), CONNECTIONS, rate_per_s)


def _said(tally: Tally) -> dict[str, float]:
    return {
        "per_s": len(tally.replies) / tally.seconds,
        "p50_s": tally.latency(0.5),
        "p99_s": tally.latency(0.99),
        "failed": tally.failed,
        "quarantined": tally.quarantined_clean.value,
    }


@contextlib.contextmanager
def _running(model: Model, wanted: ZooModel, folder: Path) -> Iterator[str]:
    """A guard with a second network of the same cost, so that it need not be treated first."""
    path, store_path = save(model, folder / "model.safetensors"), folder / "guard.db"
    guard_process.prepare(store_path, model, _shaken(model), 0.0, {})
    with contextlib.closing(Store(store_path, model_digest(model), model.spec.input_shape)) as store:
        store.put("automatic", "no")
    with guard_process.running(path, wanted.data, store_path) as url:
        yield url


def _shaken(model: Model) -> Model:
    import copy

    other = copy.deepcopy(model)
    last = [weights for weights in other.parameters() if weights.ndim == 2][-1]
    with torch.no_grad():
        noise = torch.randn(last.shape, generator=torch.Generator().manual_seed(0))
        last.add_(NOISE * last.std() * noise)
    return other


def rows(results: Results) -> list[Row]:
    """A row a way of asking."""
    found: list[Row] = []
    for job, r in results:
        same = {"seed": [job.model.seed], "n": job.settings["requests"]}
        found += [
            {**same, "way": "the network called directly, batches of 64", "predictions_by_s": r["bare_per_s"]},
            {**same, "way": "the network called directly, one by one", "predictions_by_s": r["bare_one_by_one_per_s"]},
            {**same, "way": "the guard, as fast as it answers", **_row(r["full"])},
            {**same, "way": f"the guard, {HALF_PER_S:g} a second", **_row(r["half"])},
        ]
    return found


def _row(said: dict[str, float]) -> Row:
    return {
        "predictions_by_s": said["per_s"],
        "p50_ms": 1000 * said["p50_s"],
        "p99_ms": 1000 * said["p99_s"],
        "failed": int(said["failed"]),
    }


GUARD_LOAD = Table(
    "The guard's speed",
    _jobs,
    rows,
    {
        "way": "way",
        "n": "predictions",
        "predictions_by_s": "a second",
        "p50_ms": "median, ms",
        "p99_ms": "99 % under, ms",
        "failed": "without an answer",
    },
    f"Pictures of 32x32, the network for signs, one request a picture, {CONNECTIONS} connections from the same "
    "machine. The guard runs two networks on each picture with one compute thread; at a given rate, a picture's time "
    "counts from when it should have been sent.",
    serial=True,
    timed=(load,),
)

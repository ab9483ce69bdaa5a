"""The table of the integer network: what rounding costs in accuracy, and how fast the exact run is beside torch's."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import msgspec
import torch

from assay.bench.networks import NETWORKS, command
from assay.bench.table import Job, Results, Row, Table
from assay.bench.zoo import ZooModel, obtain
from assay.data import load as load_data
from assay.integer import CompileSettings, compile_measured
from assay.models import Rate, as_float, mcnemar, predict, rate

REPEATS = 9

COMPARED = ("LeNet-5", "signs-net", "ResNet-20", "VGG-11")

BATCH = 64
"""Pictures of a timed run."""

CALIBRATION = 512
"""Clean pictures where accuracy is not what is measured."""


def fidelity(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: a model of the zoo in integers, compiled with the defender's share and measured on the test part.

    Settings: `model`, a `ZooModel`; `bits` of activations.
    """
    wanted = msgspec.convert(settings["model"], ZooModel)
    model, test = obtain(wanted), load_data(wanted.data, "test")
    compiled = compile_measured(model, load_data(wanted.data, "clean"), CompileSettings(settings["bits"]))
    network = compiled.network
    expected, given = predict(model, test.x), network.predict(test.x, torch.get_num_threads())
    return {
        "float": _counts(rate(expected == test.y)),
        "integer": _counts(rate(given == test.y)),
        "agreement": _counts(rate(given == expected)),
        "mcnemar": mcnemar(expected == test.y, given == test.y),
        "warning": compiled.warning,
        "ring_bits": network.ring_bits,
        "nodes": len(network.nodes),
        "digest": network.digest,
    }


def pace(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: torch's float32 forward and the exact run, in turn, on the same pictures and threads.

    Settings: `model`, a `ZooModel`; `bits` of activations; `batch`, pictures a run.
    """
    wanted = msgspec.convert(settings["model"], ZooModel)
    model, clean = obtain(wanted), load_data(wanted.data, "clean")
    network = compile_measured(model, clean.take(CALIBRATION), CompileSettings(settings["bits"])).network
    x = clean.x[: settings["batch"]]
    images, threads = as_float(x), torch.get_num_threads()
    with torch.inference_mode():
        seconds = interleaved(lambda: model(images), lambda: network.run(x, threads))
    return {
        "threads": threads,
        "torch_ms_a_picture": [1000 * s / len(x) for s in seconds[0]],
        "integer_ms_a_picture": [1000 * s / len(x) for s in seconds[1]],
        "ratio": median(seconds[1]) / median(seconds[0]),
    }


def interleaved(*runs: Callable[[], object]) -> list[list[float]]:
    """Seconds of each run, one after the other in turn so that what else the machine does meets all of them."""
    seconds: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(REPEATS):
        for run, kept in zip(runs, seconds, strict=True):
            begun = time.perf_counter()
            run()
            kept.append(time.perf_counter() - begun)
    return seconds


def _counts(measured: Rate) -> list[int]:
    return [measured.hits, measured.n]


def _jobs(quick: bool) -> list[Job]:
    models = [msgspec.to_builtins(NETWORKS[name]) for name in (COMPARED[:1] if quick else COMPARED)]
    jobs = [Job(fidelity, {"model": model, "bits": 8}) for model in models]
    return jobs + [Job(pace, {"model": model, "bits": 8, "batch": BATCH}) for model in models]


def rows(results: Results) -> list[Row]:
    """A row a network."""
    accuracies = {_digest(job): result for job, result in results if job.function is fidelity}
    paces = {_digest(job): result for job, result in results if job.function is pace}
    names = {model.digest: (name, model) for name, model in NETWORKS.items()}
    return [_row(*names[digest], result, paces[digest]) for digest, result in accuracies.items()]


def _digest(job: Job) -> str:
    return msgspec.convert(job.settings["model"], ZooModel).digest


def _row(name: str, model: ZooModel, accuracy: dict[str, Any], speed: dict[str, Any]) -> Row:
    before, after, same = (Rate(*accuracy[key]) for key in ("float", "integer", "agreement"))
    return {
        "network": name,
        "data": model.data,
        "n": before.n,
        "seed": [model.seed],
        "float_accuracy": before.value,
        "float_accuracy_interval": before.interval,
        "integer_accuracy": after.value,
        "integer_accuracy_interval": after.interval,
        "lost": f"{100 * (before.value - after.value):.2f}",
        "p_value": accuracy["mcnemar"],
        "agreement_rate": same.value,
        "agreement_rate_interval": same.interval,
        "ring_bits": accuracy["ring_bits"],
        "threads": speed["threads"],
        "torch_ms": median(speed["torch_ms_a_picture"]),
        "integer_ms": median(speed["integer_ms_a_picture"]),
        "ratio": speed["ratio"],
        "command": f"`{command(model)}`",
    }


INTEGER = Table(
    "The integer network beside the one it was compiled from",
    _jobs,
    rows,
    {
        "network": "network",
        "data": "data",
        "n": "test pictures",
        "float_accuracy": "float accuracy",
        "integer_accuracy": "integer accuracy",
        "lost": "points lost",
        "p_value": "p (McNemar)",
        "agreement_rate": "same label",
        "ring_bits": "bits of a ring",
        "torch_ms": "torch float32, ms a picture",
        "integer_ms": "exact run",
        "ratio": "ratio",
        "threads": "threads",
        "command": "trained by",
    },
    "Weights of 8 bits, activations of 8 bits, ranges from the defender's share; accuracy on the test part, 95 % "
    "intervals. The bars: at most 0.5 points lost, an exact run within twice torch's time. Times are medians of nine "
    f"runs of {BATCH} pictures, in turn.",
    serial=True,
    timed=(pace,),
)

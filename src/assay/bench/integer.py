"""Jobs about the integer network: what rounding costs in accuracy, how fast it runs, and SafetyNets' own networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import msgspec
import torch

from assay.bench.zoo import ZooModel, obtain
from assay.data import load as load_data
from assay.integer import CompileSettings, compile_measured
from assay.models import Rate, as_float, predict, rate

REPEATS = 9


def fidelity(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: a model of the zoo in integers, compiled with the defender's share and measured on the test part.

    Settings: those of a `ZooModel`; `bits` (8) of activations; `batch` (64) pictures a timed run.
    """
    more = {"bits": 8, "batch": 64} | {k: settings[k] for k in ("bits", "batch") if k in settings}
    wanted = msgspec.convert({k: v for k, v in settings.items() if k not in more}, ZooModel)
    model, test = obtain(wanted), load_data(wanted.data, "test")
    compiled = compile_measured(model, load_data(wanted.data, "clean"), CompileSettings(more["bits"]))
    network = compiled.network
    expected, given = predict(model, test.x), network.predict(test.x, torch.get_num_threads())
    x = test.x[: more["batch"]]
    images = as_float(x)
    with torch.inference_mode():
        seconds = interleaved(lambda: model(images), lambda: network.run(x, torch.get_num_threads()))
    return {
        "float": _counts(rate(expected == test.y)),
        "integer": _counts(rate(given == test.y)),
        "agreement": _counts(rate(given == expected)),
        "lost_on_clean": compiled.float_accuracy.value - compiled.integer_accuracy.value,
        "ring_bits": network.ring_bits,
        "nodes": len(network.nodes),
        "digest": network.digest,
        "threads": torch.get_num_threads(),
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

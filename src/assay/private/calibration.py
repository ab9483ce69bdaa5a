"""How fast this machine is at private inference: a small network between two processes, timed part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from scipy.optimize import nnls

from assay.data.places import cache_folder
from assay.integer import IntegerNetwork, save
from assay.integer import graph as g
from assay.private.architecture import describe
from assay.private.channel import Traffic
from assay.private.cost import BEGINNING, linear_part, work_of
from assay.private.pipeline import Work, alone, layers_of, waited
from assay.private.processes import between_processes
from assay.private.steps import Plan, Tick, no_tick
from assay.runs import machine, now, to_json, write_atomically

FORMAT = 4
SIZES = (1, 2, 1, 8, 1)
"""Pictures of each inference in the one session; the first pays for keys and base transfers as well."""


class Calibration(msgspec.Struct, frozen=True):
    """Seconds a unit of work took here, and when."""

    format: int
    rates: dict[str, float]
    machine: dict[str, str | int]
    date: str


def calibrate(tick: Tick = no_tick) -> Calibration:
    """Measure and keep it. Cost: about 20 seconds with both cores."""
    network = probe()
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (size, *network.input_shape)) for size in SIZES]
    with TemporaryDirectory(prefix="assay-calibration-") as folder:
        run = between_processes(save(network, Path(folder) / "probe.assay"), batches, tick=tick)
    plan = Plan(describe(network))
    samples: dict[str, list[tuple[Work, float]]] = {}
    works = [work_of(plan, size, ledger) for size, ledger in zip(SIZES, run.ledgers, strict=True)]
    for part, work, seconds in typical(works, run.ledgers):
        samples.setdefault("online" if part.startswith("online") else part, []).append((work, seconds))
    rates = {unit: rate for kind in samples.values() for unit, rate in fit(kind).items()}
    rates |= _linear_rates(network, plan, run.ledgers)
    found = Calibration(FORMAT, rates, machine(), now())
    write_atomically(place(), to_json(msgspec.to_builtins(found)))
    return found


def _linear_rates(network: IntegerNetwork, plan: Plan, ledgers: Sequence[Mapping[str, Traffic]]) -> dict[str, float]:
    """What each call takes alone, times how much slower all of them are with two processes at work."""
    rates = {unit: rate for kind in alone(network, plan).values() for unit, rate in fit(kind).items()}
    layers = layers_of(plan)
    foreseen = sum(sum(waited(layers, rates, size).values()) for size in SIZES)
    measured = sum(traffic.seconds for ledger in ledgers for part, traffic in ledger.items() if linear_part(part))
    return {unit: rate * measured / foreseen for unit, rate in rates.items()}


def typical(
    works: Sequence[Mapping[str, Work]], ledgers: Sequence[Mapping[str, Traffic]]
) -> list[tuple[str, Work, float]]:
    """Part, work and seconds: of all that was prepared in a session, and of the usual inference of each size.

    Preparing takes long enough to be measured once; a step online takes milliseconds, so of the same work the median
    stands. The first inference does not count there: it waits for code and memory that are used for the first time.
    """
    prepared: list[tuple[str, Work, float]] = []
    online: dict[tuple[str, tuple[tuple[str, float], ...]], list[float]] = {}
    for index, (parts, ledger) in enumerate(zip(works, ledgers, strict=True)):
        for part, work in ((part, work) for part, work in parts.items() if part in ledger):
            if not part.startswith("online"):
                units = {unit: count for unit, count in work.items() if not index or unit not in BEGINNING}
                prepared += [(part, units, ledger[part].seconds)] if units else []
            elif index:
                online.setdefault((part, tuple(work.items())), []).append(ledger[part].seconds)
    return prepared + [(part, dict(units), median(seconds)) for (part, units), seconds in online.items()]


def probe() -> IntegerNetwork:
    """A network with every kind of work in it: each alone and with others, on many values and on few.

    Steps on few values tell what a round costs by itself, which is most of what small networks cost.
    """
    rng = np.random.default_rng(1)
    nodes: list[g.Node] = [g.Input((3, 32, 32))]

    def conv(inner: int, out: int, side: int, stride: int = 1) -> None:
        weight, pad = rng.integers(-30, 31, (out, inner, side, side)), side // 2
        nodes.append(
            g.Conv2d(
                input=len(nodes) - 1, weight=weight, bias=rng.integers(-99, 99, out), stride=(stride, stride),
                padding=(pad, pad, pad, pad),
            )
        )  # fmt: skip

    def rounded(shift: int, low: int, high: int, rectified: int = 0) -> None:
        nodes.append(g.Requantise(input=len(nodes) - 1, shift=shift, low=low, high=high, start=0, stop=rectified))

    conv(3, 48, 3)
    rounded(7, 0, 255, 48)
    conv(48, 32, 3)
    rounded(8, -128, 127)
    nodes.append(g.MaxPool(input=len(nodes) - 1, kernel=(2, 2), stride=(2, 2)))
    conv(32, 32, 3)
    nodes.append(g.ReLU(input=len(nodes) - 1, start=0, stop=32))
    rounded(8, 0, 15)
    nodes.append(g.Square(input=len(nodes) - 1))
    conv(32, 128, 1)
    nodes.append(g.ReLU(input=len(nodes) - 1, start=0, stop=128))
    rounded(8, -128, 127)
    conv(128, 64, 5, 2)
    rounded(9, 0, 255, 64)
    conv(64, 16, 1)
    rounded(7, 0, 255, 16)
    conv(16, 16, 1)
    rounded(7, -128, 127)
    for inner, out in pairwise((16, 8, 4, 2, 2)):
        conv(inner, out, 1)
        rounded(5, 0, 255, out)
    nodes.append(g.Flatten(input=len(nodes) - 1))
    nodes.append(
        g.Linear(input=len(nodes) - 1, weight=rng.integers(-30, 31, (10, 128)), bias=rng.integers(-99, 99, 10))
    )
    return IntegerNetwork(tuple(nodes), tuple(map(str, range(10))), 1.0)


def place() -> Path:
    """Where a machine's calibration is kept."""
    return cache_folder() / "private-calibration.json"


def known() -> Calibration | None:
    """The calibration of this machine, if there is one of this format."""
    try:
        found = msgspec.json.decode(place().read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.format == FORMAT and found.machine == machine() else None


def fit(samples: Sequence[tuple[Work, float]]) -> dict[str, float]:
    """Seconds a unit, none negative, that explain the samples with the least relative error, and their sum exactly.

    The least relative error alone is below the mean of what varies.
    """
    units = sorted({unit for work, _ in samples for unit in work})
    rows = np.array([[work.get(unit, 0.0) for unit in units] for work, _ in samples])
    seconds = np.array([max(measured, 1e-6) for _, measured in samples])
    scale = np.maximum(rows.max(axis=0), 1e-12)  # units differ by orders of magnitude
    solution, _ = nnls(rows / scale / seconds[:, None], np.ones(len(seconds)))
    explained = float((rows / scale @ solution).sum()) or 1.0
    solution *= seconds.sum() / explained
    return {unit: float(value) for unit, value in zip(units, solution / scale, strict=True)}

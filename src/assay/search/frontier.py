"""Accuracy against ReLUs, and against the time of an answer in private: every point a saved model with its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from assay.errors import InputError
from assay.runs import to_json, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAVEATS = {
    "cifar10": "CIFAR-10 as JPEG of quality 75: accuracies are not comparable with published ones.",
}
"""What stands beside every figure measured on a data set."""


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network that was trained for a budget.

    Attributes:
        model, network: the model file and the integer network, beside the frontier's own file.
        accuracy: on test pictures, with its 95 % interval; `integer_accuracy` is that of the integer network.
        architecture, arguments: what builds the network.
        found_by: what found its skeleton: a sampler, `published`, or `evolution`.
        cut_short: whether time ran out before the last planned epoch.
        predicted: cost on the private engine, by its cost model; None where there is none.
        measured: the same, timed on this machine; None where it was not.
        history: one object an epoch.
        maxima: comparisons of max pools, which take of a budget as ReLUs do.
    """

    budget: int
    data: str
    seed: int
    model: str
    network: str | None
    relus: int
    macs: int
    parameters: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_n: int
    integer_accuracy: float | None
    architecture: str
    arguments: dict[str, int | float | str | bool]
    found_by: str
    epochs: int
    cut_short: bool
    train_s: float
    predicted: dict[str, Any] | None
    measured: dict[str, Any] | None
    history: list[dict[str, float]]
    maxima: int = 0

    @property
    def comparisons(self) -> int:
        """What the network takes of a budget."""
        return self.relus + self.maxima


class Frontier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All points so far, fewest comparisons first."""

    caveat: str
    points: list[Point]

    def best(self, budgets: Sequence[int]) -> Point:
        """The most accurate point of these budgets, the one with fewer comparisons of equal ones."""
        return max((p for p in self.points if p.budget in budgets), key=lambda p: (p.accuracy, -p.comparisons))

    def dominated(self, point: Point) -> bool:
        """Whether another compares no more and is more accurate."""
        return any(p.comparisons <= point.comparisons and p.accuracy > point.accuracy for p in self.points)


def read_frontier(folder: Path, data: str) -> Frontier:
    """The frontier in a folder, an empty one if there is none yet.

    Raises:
        InputError: if the file is none.
    """
    file = folder / "frontier.json"
    if not file.exists():
        return Frontier(CAVEATS.get(data, ""), [])
    try:
        return msgspec.json.decode(file.read_bytes(), type=Frontier)
    except msgspec.DecodeError as error:
        raise InputError(f"{file} is no frontier of a search: {error}; choose another folder") from error


def add_point(folder: Path, point: Point) -> Frontier:
    """Put a point in, in the place of one of the same budget, data and seed; writes JSON, table and figure."""
    old = read_frontier(folder, point.data)
    others = [p for p in old.points if (p.budget, p.data, p.seed) != (point.budget, point.data, point.seed)]
    found = Frontier(old.caveat, sorted([*others, point], key=lambda p: (p.comparisons, -p.accuracy)))
    write_atomically(folder / "frontier.json", to_json(found))
    write_atomically(folder / "frontier.md", table(found).encode())
    write_atomically(folder / "frontier.svg", figure(found).encode())
    return found


_COLUMNS = (
    "budget", "ReLUs", "accuracy", "integer network", "multiplications", "weights", "epochs", "skeleton by",
    "online predicted, s", "online measured, s", "model",
)  # fmt: skip


def table(frontier: Frontier) -> str:
    """Markdown, a row a point; a dominated one is marked."""
    rows = [f"| {' | '.join(_row(frontier, point))} |" for point in frontier.points]
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
    notes = [frontier.caveat, "† another point compares no more (ReLUs and max pools) and is more accurate."]
    return f"{head}\n" + "\n".join(rows) + "\n\n" + " ".join(note for note in notes if note) + "\n"


def _row(frontier: Frontier, point: Point) -> list[str]:
    low, high = point.accuracy_interval
    mark = " †" if frontier.dominated(point) else ""
    integer = "–" if point.integer_accuracy is None else f"{100 * point.integer_accuracy:.1f} %"
    return [
        f"{point.budget:,}",
        f"{point.relus:,}" + (f" + {point.maxima:,} of max pools" if point.maxima else ""),
        f"{100 * point.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]{mark}",
        integer,
        f"{point.macs:,}",
        f"{point.parameters:,}",
        f"{point.epochs}{' (cut short)' if point.cut_short else ''}",
        point.found_by,
        _online(point.predicted),
        _online(point.measured),
        point.model,
    ]


def _online(cost: dict[str, Any] | None) -> str:
    return "–" if cost is None or cost.get("online_s") is None else f"{cost['online_s']:.3g}"


def figure(frontier: Frontier) -> str:
    """Accuracy against ReLUs, comparisons of max pools included, and against seconds online where they are known."""
    from matplotlib.figure import Figure

    from assay.report.palette import LIGHT
    from assay.report.svg import standalone, style, to_svg

    timed = [(p, s) for p in frontier.points if (s := _seconds(p)) is not None]
    with style():
        drawn = Figure((6.8, 3.0), layout="constrained")
        axes = drawn.subplots(1, 2 if timed else 1, squeeze=False)[0]
        _scatter(axes[0], [(p.comparisons, p) for p in frontier.points], "ReLUs", frontier, LIGHT)
        axes[0].set_xscale("log")
        axes[0].minorticks_off()
        marks = _apart(sorted({p.comparisons for p in frontier.points}))
        axes[0].set_xticks(marks, [f"{mark / 1000:.3g}k" for mark in marks])  # powers of ten would be TeX in the file
        if timed:
            _scatter(axes[1], [(1000 * s, p) for p, s in timed], "milliseconds online", frontier, LIGHT)
        if frontier.caveat:
            drawn.supxlabel(frontier.caveat, fontsize=9)
        return standalone(to_svg(drawn))


def _apart(numbers: Sequence[int]) -> list[int]:
    """Of ascending numbers those that stand far enough from the last one on a scale of powers to be written there."""
    kept: list[int] = []
    for number in numbers:
        if not kept or number >= 1.3 * kept[-1]:
            kept.append(number)
    return kept


def _seconds(point: Point) -> float | None:
    """Online, as measured, or as predicted where this machine is calibrated."""
    seconds: float | None = (point.measured or point.predicted or {}).get("online_s")
    return seconds


def _scatter(
    axes: Axes, points: Sequence[tuple[float, Point]], label: str, frontier: Frontier, colours: Mapping[str, str]
) -> None:
    front = sorted((x, 100 * p.accuracy) for x, p in points if not frontier.dominated(p))
    axes.plot(*zip(*front, strict=True), color=colours["muted"], linewidth=1)
    for x, point in points:
        low, high = point.accuracy_interval
        axes.plot([x, x], [100 * low, 100 * high], color=colours["ink"], linewidth=1)
        axes.plot([x], [100 * point.accuracy], "o", color=colours["ink"], markersize=4)
    axes.set(xlabel=label, ylabel="test accuracy, %")
    axes.grid(True, axis="y")

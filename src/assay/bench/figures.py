"""The figures beside the tables, as SVG that reads on light and dark pages.

Each takes plain results and returns the text of one SVG file; nothing is drawn that is not in the kept results.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.models import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY, GREEN, VIOLET = "#2f6db3", "#c96a10", "#b8324a", "#7a7f87", "#3f8f5a", "#7d5ba6"
"""Colours with enough contrast on white and on near-black; told apart by people who see no red or green as well."""


STYLE: Any = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), GREY),
    "font.size": 9,
}
"""Of matplotlib."""


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `width` x `height` inches with a transparent ground and grey axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(rc=STYLE):
        figure = Figure((width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.patch.set_visible(False)
    figure.patch.set_visible(False)
    return figure, list(axes)


def _svg(figure: Figure) -> str:
    """SVG with text as text, without a date, so that the same results give the same bytes."""
    from matplotlib import rc_context

    blob = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "assay"}):
        figure.savefig(blob, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in blob.getvalue().splitlines()) + "\n"


def filters(kept: Mapping[str, Sequence[Any]]) -> str:
    """First-layer filters of several networks, one panel each (BadNets, figure 5)."""
    figure, axes = _figure(8.4, 3.0, len(kept))
    for one, (name, weights) in zip(axes, kept.items(), strict=True):
        one.imshow(_mosaic(np.asarray(weights)[:, 0]), cmap="RdBu_r", vmin=-1, vmax=1)
        one.set_title(name, color=GREY, fontsize=9)
        one.axis("off")
    return _svg(figure)


def _mosaic(planes: np.ndarray) -> np.ndarray:
    """`n h w` side by side in about a square, each scaled by its own largest magnitude, with gaps between."""
    n, h, w = planes.shape
    side = int(np.ceil(np.sqrt(n)))
    sheet = np.full((side * (h + 1) - 1, side * (w + 1) - 1), np.nan)
    for i, plane in enumerate(planes):
        top, left = divmod(i, side)
        scaled = plane / max(float(np.abs(plane).max()), 1e-12)
        sheet[top * (h + 1) : top * (h + 1) + h, left * (w + 1) : left * (w + 1) + w] = scaled
    return sheet


def share_curve(points: Sequence[tuple[float, Rate, Rate]]) -> str:
    """Attack success rate and clean accuracy against the poison rate; a dot a seed, a line through the medians."""
    figure, axes = _figure(7.2, 2.6, 2)
    for one, column, name, colour in zip(
        axes, (1, 2), ("attack success rate, %", "clean accuracy, %"), (RED, BLUE), strict=True
    ):
        by_share: dict[float, list[float]] = defaultdict(list)
        for point in points:
            by_share[point[0]].append(100 * point[column].value)  # type: ignore[union-attr]
        shares = sorted(by_share)
        for share in shares:
            one.plot([100 * share] * len(by_share[share]), by_share[share], "o", color=colour, markersize=4)
        one.plot([100 * s for s in shares], [median(by_share[s]) for s in shares], color=colour)
        one.set(xlabel="poison rate, %", ylabel=name)
        one.ticklabel_format(useOffset=False)
    return _svg(figure)


def score_strip(scores: Sequence[tuple[str, str, float]]) -> str:
    """Every judged model's score, by data set and kind, with the two thresholds of the frozen rule."""
    from assay.detect.verdict import ACCUSE, DOUBT

    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for data, kind, score in scores:
        groups[(data, kind)].append(score)
    figure, [one] = _figure(7.2, 0.5 * len(groups) + 1.0)
    for row, ((_, kind), values) in enumerate(sorted(groups.items(), reverse=True)):
        colour = BLUE if kind == "clean" else RED
        jitter = np.linspace(-0.2, 0.2, len(values))
        one.plot(values, row + jitter, "o" if kind == "clean" else "D", color=colour, markersize=4)
    one.axvline(ACCUSE, color=GREY, linewidth=1)
    one.axvline(DOUBT, color=GREY, linewidth=1, linestyle=":")
    one.set_xscale("symlog", linthresh=ACCUSE)
    one.set(xlabel="score, in spreads of the clean references (dotted: inconclusive, solid: backdoored)")
    one.set_yticks(range(len(groups)), [f"{data}, {kind}" for data, kind in sorted(groups, reverse=True)])
    return _svg(figure)


def budget_scatter(rows: Sequence[Mapping[str, Any]], ours: Sequence[str]) -> str:
    """Accuracy against ReLUs, a line a network, ours in front."""
    figure, [one] = _figure(7.2, 3.4)
    colours = [BLUE, RED, ORANGE, GREY]
    markers = ["o", "D", "s", "^", "v", "x", "+", "*"]
    for i, name in enumerate(dict.fromkeys(row["network"] for row in rows)):
        mine = sorted((row["relus"], 100 * row["accuracy"]) for row in rows if row["network"] == name)
        width = 1.8 if name in ours else 1.0
        look: dict[str, Any] = {"color": colours[i % len(colours)], "marker": markers[i % len(markers)]}
        look["linewidth"] = width
        one.plot([x for x, _ in mine], [y for _, y in mine], markersize=4, label=name, **look)
    one.set(xlabel="ReLUs", ylabel="test accuracy, % (CIFAR-10 as JPEG 75)", xscale="log")
    one.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def latency_line(points: Sequence[tuple[int, float]]) -> str:
    """Seconds online against ReLUs, with the straight line of least squares and its R²."""
    x, y = np.array([p[0] for p in points], float), np.array([p[1] for p in points])
    slope, start = np.polyfit(x, y, 1)
    explained = 1 - ((y - slope * x - start) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    figure, [one] = _figure(4.6, 3.0)
    one.plot(x, y, "o", color=BLUE, markersize=4)
    ends = np.array([0, x.max()])
    one.plot(ends, slope * ends + start, color=GREY, linewidth=1, label=f"R² = {explained:.3f}")
    one.set(xlabel="ReLUs", ylabel="seconds online")
    one.legend(frameon=False, fontsize=8)
    return _svg(figure)


def repair_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """Attack success rate after each defence, a group an attack; the dash is the rate before."""
    attacks = list(dict.fromkeys((r["task"], r["attack"]) for r in rows))
    defences = list(dict.fromkeys(r["defence"] for r in rows))
    colours = dict(zip(defences, (GREY, ORANGE, BLUE, VIOLET, GREEN), strict=False))
    figure, [one] = _figure(8.4, 0.9 * len(attacks) + 1.0)
    for row in rows:
        place = attacks.index((row["task"], row["attack"])) + 0.17 * (
            defences.index(row["defence"]) - (len(defences) - 1) / 2
        )
        value, (low, high) = 100 * row["attack_success_rate"], row["attack_success_rate_interval"]
        label = row["defence"] if (row["task"], row["attack"]) == attacks[0] else None
        one.barh(place, value, 0.15, color=colours[row["defence"]], label=label)
        one.plot([100 * low, 100 * high], [place, place], color=GREY, linewidth=1)
        one.plot([100 * row["attack_success_rate_before"]], [place], "|", color=RED, markersize=8)
    one.set_yticks(range(len(attacks)), [f"{task}: {attack}" for task, attack in attacks])
    one.invert_yaxis()
    one.set(xlabel="attack success rate after the defence, % (red tick: before)", xlim=(0, 101))
    one.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def cost_over_batch(series: Mapping[str, Sequence[tuple[float, float, float]]]) -> str:
    """CPU seconds to prove and to verify against pictures in a proof, a line a network; both axes by factors."""
    figure, axes = _figure(8.4, 2.8, 2)
    colours = (BLUE, ORANGE, RED, GREY)
    for (name, points), colour, marker in zip(series.items(), colours, "osD^", strict=False):
        ordered = sorted(points)
        for one, column in zip(axes, (1, 2), strict=True):
            one.plot([p[0] for p in ordered], [p[column] for p in ordered], marker=marker, color=colour, label=name)
    _by_factors(axes, "pictures in a proof")
    axes[1].legend(frameon=False, fontsize=8, labelcolor=GREY, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def cost_over_size(points: Sequence[tuple[str, float, float, float]]) -> str:
    """CPU seconds to prove and to verify one picture against the network's activations, both axes by factors."""
    figure, axes = _figure(8.4, 2.8, 2)
    ordered = sorted(points, key=lambda p: p[1])
    for one, column in zip(axes, (2, 3), strict=True):
        one.plot([p[1] for p in ordered], [p[column] for p in ordered], "o-", color=BLUE)
        for point in ordered:
            one.annotate(
                point[0], (point[1], point[column]), (4, -10), textcoords="offset points", fontsize=7, color=GREY
            )
    _by_factors(axes, "values of all tensors, one picture")
    return _svg(figure)


def _by_factors(axes: Sequence[Axes], across: str) -> None:
    for one, step in zip(axes, ("prove", "verify"), strict=True):
        one.set(xscale="log", yscale="log", xlabel=across, ylabel=f"CPU seconds to {step}")
        one.minorticks_off()
        one.margins(0.12)


def seconds_over_relus(
    points: Sequence[tuple[str, int, float]], slope: float, start: float, determination: float
) -> str:
    """Online seconds against ReLUs: networks by name, columns of layers as dots, and the line through those."""
    figure, [one] = _figure(6.4, 3.2)
    for name, relus, seconds in points:
        inside = "in three layers" in name
        one.plot(relus / 1e3, seconds, "o" if inside else "D", color=BLUE if inside else ORANGE, markersize=4)
        if not inside:
            one.annotate(name, (relus / 1e3, seconds), (6, -3), textcoords="offset points", fontsize=7)
    most = max(relus for _, relus, _ in points)
    one.plot([0, most / 1e3], [start, start + slope * most], color=BLUE, linewidth=1)
    one.set(xlabel="ReLUs, thousands", ylabel="online seconds", xlim=(0, None), ylim=(0, None))
    one.set_title(f"{1e6 * slope:.2f} µs a ReLU, R² = {determination:.3f}", color=GREY, fontsize=9)
    return _svg(figure)

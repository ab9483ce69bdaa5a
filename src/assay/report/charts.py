"""The three plots: classes side by side, neurons that sleep until the trigger comes, accuracy while pruning.

Each function gives an `<svg>` (see `svg.py`); `standalone` makes a file of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.report.palette import LIGHT
from assay.report.svg import NARROW, WIDE, columns, shorten, style, to_svg
from assay.report.text import figure as written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 24
"""Classes up to which each has a row with its name; more are drawn as columns, and only the suspect is named."""

DOTS = 80
"""Channels up to which each activation has a dot."""

LETTER = 6.6
"""Pixels a character of 12 pixels takes, at most on average."""

MEDIAN: dict[str, Any] = {"color": LIGHT["ink"], "linewidth": 1, "dashes": (4, 3)}


def class_scores(
    names: Sequence[str],
    scores: Sequence[float],
    label: str,
    target: int | None = None,
    *,
    accused: bool = True,
    width: int = WIDE,
) -> str:
    """One score a class, beginning at the end where `target` lies, with the median.

    Works for 1 class to thousands. What is not finite is drawn as 0 and written as `–`.

    Args:
        label: what a score is, with its unit.
        accused: whether `target` is marked as the suspect, or only comes first.
    """
    said = np.asarray(scores, dtype=float)
    order = suspicious_first(said, target)
    suspect = target if accused else None
    with style():
        draw = _rows if len(said) <= ROWS else _columns
        return draw(names, said, order, label, suspect, width)


def suspicious_first(scores: NDArray[np.float64], target: int | None) -> NDArray[np.int64]:
    """Indices, smallest score first, or largest first if that of `target` lies above the median."""
    values = _finite(scores)
    down = target is not None and values[target] > np.median(values)
    return np.argsort(-values if down else values, kind="stable")


def _finite(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(given), given, 0.0)


def _rows(
    names: Sequence[str],
    scores: NDArray[np.float64],
    order: NDArray[np.int64],
    label: str,
    suspect: int | None,
    width: int,
) -> str:
    """A bar a class, its name on the left and its figure on the right."""
    values = _finite(scores)[order]
    marks = {f"@{i}@": shorten(names[i], 24 if width > NARROW else 14) for i in order}
    left = 12 + LETTER * max(columns(name) for name in marks.values())
    marks["@label@"] = shorten(label, 48)
    canvas, axes = _canvas(width, 24 * len(values) + 54, left=left, right=58, top=28, bottom=26)
    axes.barh(range(len(values)), values, height=0.66, color=[_colour(i, suspect) for i in order])
    axes.set_xlim(min(0.0, float(values.min())), max(float(values.max()), 1e-12))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.spines.bottom.set_visible(False)
    axes.set_xticks([])
    axes.set_yticks(range(len(values)), [f"@{i}@" for i in order], color=LIGHT["ink"])
    for row, i in enumerate(order):
        look: dict[str, Any] = {"weight": "bold"} if i == suspect else {}
        axes.annotate(written(float(scores[i])), (1, row), (58, 0), ("axes fraction", "data"), "offset points",
                      ha="right", va="center", color=LIGHT["bad" if i == suspect else "muted"], **look)  # fmt: skip
    middle = float(np.median(values))
    axes.axvline(middle, **MEDIAN)
    text = f"median {written(middle)}"
    axes.annotate(text, (middle, 0), (0, -5), ("data", "axes fraction"), "offset points", ha="center", va="top")
    _heading(canvas, "@label@")
    return to_svg(canvas, marks)


def _columns(
    names: Sequence[str],
    scores: NDArray[np.float64],
    order: NDArray[np.int64],
    label: str,
    suspect: int | None,
    width: int,
) -> str:
    """Too many classes for their names: a column each, sorted, and only the suspect is named."""
    values = _finite(scores)[order]
    canvas, axes = _canvas(width, 260, left=46, right=14, top=50, bottom=30)
    axes.bar(range(len(values)), values, width=0.8, color=[_colour(i, suspect) for i in order])
    axes.set_xlim(-0.8, len(values) - 0.2)
    axes.set_xticks([])
    axes.yaxis.grid(True)
    axes.locator_params(axis="y", nbins=5)
    rising = values[0] <= values[-1]
    axes.set_xlabel(f"{len(values)} classes, {'smallest' if rising else 'largest'} first", loc="left", labelpad=8)
    middle = float(np.median(values))
    axes.axhline(middle, **MEDIAN)
    at, side = (0.0, "left") if rising else (1.0, "right")
    axes.annotate(f"median {written(middle)}", (at, middle), (0, 4), ("axes fraction", "data"), "offset points",
                  ha=side)  # fmt: skip
    _heading(canvas, "@label@")
    marks = {"@label@": shorten(label, 48)}
    if suspect is not None:
        _legend(canvas, [("@suspect@", "bad")])
        marks["@suspect@"] = f"{shorten(names[suspect], 30)}: {written(float(scores[suspect]))}"
    return to_svg(canvas, marks)


def _colour(index: int, suspect: int | None) -> str:
    return LIGHT["bad" if index == suspect else "quiet"]


def neurons(
    clean: Sequence[float], triggered: Sequence[float], pruned: Sequence[int] = (), *, width: int = WIDE
) -> str:
    """Mean activation a channel, sorted by the clean one: what the trigger wakes rises on the left.

    Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning" (RAID 2018), figure 4 (clean against backdoored inputs).
    """
    order = np.argsort(_finite(clean), kind="stable")
    low, high = (_finite(v)[order] for v in (clean, triggered))
    with style():
        canvas, axes = _canvas(width, 280, left=46, right=14, top=52, bottom=40)
        x = np.arange(len(order))
        thick = max(0.6, min(6.0, 0.55 * (width - 60) / max(len(order), 1)))
        axes.fill_between(np.r_[x - 0.5, len(x) - 0.5], np.r_[low, low[-1:]], step="post", color=LIGHT["quiet"], lw=0)
        _stems(axes, x, low, np.maximum(low, high), thick)
        if len(order) <= DOTS:
            axes.plot(x, high, "o", color=LIGHT["bad"], markersize=min(5.0, thick + 1.5), markeredgewidth=0)
        axes.set_xlim(-1, len(x))
        axes.set_ylim(min(0.0, float(min(low.min(), high.min()))), 1.04 * max(float(max(low.max(), high.max())), 1e-9))
        axes.set_xticks([])
        axes.yaxis.grid(True)
        axes.locator_params(axis="y", nbins=5)
        axes.set_xlabel(f"{len(x)} channels, most dormant first", loc="left", labelpad=16)
        _heading(canvas, "mean activation")
        entries = [("clean", "quiet"), ("with the trigger", "bad")]
        if pruned:
            _strip(axes, np.flatnonzero(np.isin(order, list(pruned))))
            entries.append((f"{len(pruned)} pruned", "calm"))
        _legend(canvas, entries)
        return to_svg(canvas)


def _stems(axes: Axes, x: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64], thick: float) -> None:
    """A line for each channel, all in one path: thousands of elements would make the page heavy."""
    gaps = np.full(len(x), np.nan)
    axes.plot(
        np.stack([x, x, gaps], 1).ravel(), np.stack([low, high, gaps], 1).ravel(),
        color=LIGHT["bad"], linewidth=thick, solid_capstyle="butt",
    )  # fmt: skip


def _strip(axes: Axes, places: NDArray[np.int64]) -> None:
    """Marks under the axis."""
    for first, last in _runs(places):
        axes.plot([first - 0.42, last + 0.42], [-0.045] * 2, color=LIGHT["calm"], linewidth=6,
                  transform=axes.get_xaxis_transform(), clip_on=False, solid_capstyle="butt")  # fmt: skip


def _runs(places: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last of each unbroken run."""
    parts = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(int(p[0]), int(p[-1])) for p in parts]


def pruning_curve(
    accuracy: Sequence[float], success: Sequence[float] = (), kept: int | None = None, *, width: int = WIDE
) -> str:
    """Clean accuracy after each pruned channel, the attack success rate where it is known, and where pruning stopped.

    Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning" (RAID 2018), figure 5.
    """
    from matplotlib.ticker import MaxNLocator

    lines = [("clean accuracy", "calm", accuracy), ("attack success rate", "bad", success)]
    drawn = [(name, colour, 100 * np.asarray(v, dtype=float)) for name, colour, v in lines if len(v)]
    with style():
        canvas, axes = _canvas(width, 280, left=46, right=14, top=62, bottom=42)
        for _, colour, values in drawn:
            axes.plot(range(len(values)), values, color=LIGHT[colour], linewidth=2, solid_joinstyle="round")
        lowest = float(np.nanmin(drawn[0][2])) if not len(success) else 0.0
        axes.set_ylim(max(0.0, 10 * np.floor((lowest - 5) / 10)) if len(drawn) == 1 else -2, 102)
        axes.set_xlim(0, max(len(accuracy), len(success), 2) - 1)
        axes.xaxis.set_major_locator(MaxNLocator(6 if width > NARROW else 4, integer=True, steps=[1, 2, 5, 10]))
        axes.locator_params(axis="y", nbins=5)
        axes.yaxis.grid(True)
        if kept is not None:
            axes.axvline(kept, color=LIGHT["ink"], linewidth=1, dashes=(4, 3))
            late = kept > max(len(accuracy) - 1, 1) / 2
            axes.annotate(f"stopped at {kept}", (kept, 1), (6 if late else -6, 3), ("data", "axes fraction"),
                          "offset points", ha="right" if late else "left")  # fmt: skip
        axes.set_xlabel("channels pruned, most dormant first", loc="left")
        _heading(canvas, "% of pictures")
        _legend(canvas, [(name, colour) for name, colour, _ in drawn])
        return to_svg(canvas)


def _canvas(width: int, height: int, *, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure in CSS pixels (72 dots an inch: one point is one pixel), with margins around its one axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    return figure, figure.add_axes(box)


def _heading(figure: Figure, label: str) -> None:
    """What is measured, at the top left."""
    figure.text(0, 1, label, va="top", color=LIGHT["muted"])


def _legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """Words with their colours, in the second line."""
    width, height = figure.get_size_inches() * 72
    x, y = 0.0, 1 - 27 / height
    for name, colour in entries:
        figure.text(x / width, y, "■", color=LIGHT[colour], va="center")
        figure.text((x + 15) / width, y, name, va="center")
        x += 28 + LETTER * len(name)

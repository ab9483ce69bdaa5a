"""What a table is: jobs, and how its rows are read off their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from assay.bench.zoo import ZooModel, model_of
from assay.models import Rate
from assay.runs import JobFunction

Row = dict[str, Any]
Results = Sequence[tuple["Job", dict[str, Any]]]


@dataclass(frozen=True)
class Job:
    """One piece of work: a function of plain settings, whose result is kept."""

    function: JobFunction
    settings: dict[str, Any]

    @classmethod
    def of(cls, function: JobFunction, model: ZooModel, **more: Any) -> Job:
        """A job about one model of the zoo."""
        return cls(function, {**msgspec.to_builtins(model), **more})

    @property
    def model(self) -> ZooModel:
        """The model that the job is about."""
        return model_of(self.settings)


@dataclass(frozen=True)
class Table:
    """A table by its jobs.

    Attributes:
        title: its heading.
        jobs: `jobs(quick)`; the quick ones are some of the full ones.
        rows: from jobs and results to rows, all of whose values can be written as JSON.
        columns: what of a row is shown in Markdown, key to heading.
        note: what must be known to read it; one paragraph.
        figures: `figures(results)`, name to SVG.
        serial: whether its jobs run one after the other, each with all cores, since their seconds are the result.
        timed: functions of those jobs, which are done again when the table is asked for on another machine (`--again`).
        ship: writes what of the full table comes with Assay itself; returns the files.
    """

    title: str
    jobs: Callable[[bool], list[Job]]
    rows: Callable[[Results], list[Row]]
    columns: dict[str, str]
    note: str
    figures: Callable[[Results], dict[str, str]] = field(default=lambda results: {})
    serial: bool = False
    timed: tuple[JobFunction, ...] = ()
    ship: Callable[[Results], list[Path]] = field(default=lambda results: [])


SEEDS = (1, 2, 3)


def seeds(quick: bool) -> tuple[int, ...]:
    """Of the models that figures are medians over; no reference or evaluation model has one of them."""
    return SEEDS[:1] if quick else SEEDS


def spread(rates: Iterable[Rate]) -> list[float]:
    """Lowest lower and highest upper end of the 95 % intervals over the seeds."""
    intervals = [r.interval for r in rates]
    return [min(low for low, _ in intervals), max(high for _, high in intervals)]

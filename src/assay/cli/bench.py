"""`assay bench`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.console import Common, Outcome, progress

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType

    from assay.bench import Made, Table

RESULTS = Path("benchmarks") / "results"
"""Where the full tables' jobs are kept, from the project's root."""

FIGURES = Path("docs") / "images"
"""Where the docs look for figures, from the project's root."""

CARRIERS = ("README.md", "docs/*.md", "docs/**/*.md")
"""Files that carry tables, from the project's root."""


def bench(
    table: str,
    *,
    quick: bool = False,
    again: bool = False,
    so_far: bool = False,
    workers: int = 2,
    common: Common = Common(),
) -> Outcome:
    """Make a table of a paper with our figures; what was computed before is not computed again.

    The full table is kept in benchmarks/results and put into the README and docs that carry it. A quick one is of few
    models and is written to --out alone.

    Parameters
    ----------
    table
        badnets-mnist, badnets-signs, scan, repair, nnoculation, guard-load, guard-floods, guard-kills, references,
        integer, safetynets, safetynets-speed, proof, proof-brief, private, private-exact, private-linear,
        private-nonlinear, cryptonas, cryptonas-brief, speed, receipts or estimates.
    quick
        One seed and few models, in a minute or two.
    again
        Do anew what measures time, on this machine; models and accuracies stay.
    so_far
        The table of what has been done; nothing is run.
    workers
        Processes that share the work, one compute thread each.
    """
    from assay.bench import TABLES, embed, find_table, make, write, write_figures
    from assay.errors import InputError
    from assay.runs import local_processes

    wanted = find_table(table, TABLES)
    if workers < 1:
        raise InputError(f"--workers must be at least 1, got {workers}")
    out = common.out or (Path("runs") / f"bench-{table}" if quick else RESULTS)
    workers = 1 if wanted.serial else workers
    with progress() as bars, local_processes(workers, threads=None if wanted.serial else 1) as executor:
        made = make(table, wanted, out / "jobs", executor, quick=quick, again=again, so_far=so_far, progress=bars)
    files = write(table, made, out)
    if not quick and common.out is None:
        files += wanted.ship(made.results)
        files += write_figures(made, FIGURES)
        files += embed(table, made.markdown, [file for pattern in CARRIERS for file in Path().glob(pattern)])
    document = {**made.document, "files": [str(f) for f in files]}
    return Outcome(document, _shown(wanted, made))


LONG = 40
"""Characters; what is longer stands under the table, a line each."""


def _shown(wanted: Table, made: Made) -> Group:
    from rich.console import Group
    from rich.text import Text

    from assay.bench.run import cell

    columns = {
        name: [cell(row, key).replace("**", "").replace("`", "") for row in made.rows]
        for key, name in wanted.columns.items()
    }
    first = next(iter(columns.values()))
    long = [name for name, cells in columns.items() if max(map(len, cells), default=0) > LONG and cells is not first]
    short = {name: cells for name, cells in columns.items() if name not in long}
    notes = [f"{what}: {said}" for name in long for what, said in zip(first, columns[name], strict=True) if said != "–"]
    return Group(_Fitting(wanted.title, short), *map(Text, [*notes, "", wanted.note]))


@dataclass(frozen=True)
class _Fitting:
    """A table where the terminal is wide enough for its cells; where it is not, a paragraph a row."""

    title: str
    columns: dict[str, list[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.measure import Measurement
        from rich.table import Table as Shown

        shown = Shown(title=self.title)
        for name in self.columns:
            shown.add_column(name, overflow="fold", min_width=max(map(len, name.split())))
        for row in zip(*self.columns.values(), strict=True):
            shown.add_row(*row)
        cells = sum(max(map(_unbroken, cells), default=0) + 3 for cells in self.columns.values())
        needed = max(cells, Measurement.get(console, options.update(max_width=10_000), shown).minimum)
        if needed <= options.max_width:
            yield shown
        else:
            yield from self._paragraphs()

    def _paragraphs(self) -> Iterator[RenderableType]:
        """Words up to the first figure are what a row is about."""
        from rich.padding import Padding
        from rich.text import Text

        yield Text(self.title, "bold", justify="center")
        for row in zip(*self.columns.values(), strict=True):
            figures = next((i for i, said in enumerate(row) if said[:1].isdigit() and i), len(row))
            yield Text("\n" + " · ".join(row[:figures]), "bold")
            said = Text(" · ").join(
                Text.assemble((f"{name} ", "dim"), value)
                for name, value in zip(list(self.columns)[figures:], row[figures:], strict=True)
                if value != "–"
            )
            yield Padding(said, (0, 0, 0, 2))


def _unbroken(cell: str) -> int:
    """Characters of a cell's longest line, if its interval may stand on one of its own."""
    return max(map(len, cell.split(" [")))

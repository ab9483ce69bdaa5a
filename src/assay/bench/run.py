"""Making a table: its jobs on an executor, its rows, its figures, and the Markdown that docs and README carry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.bench.table import Job, Results, Row, Table
from assay.errors import InputError
from assay.runs import (
    Kept,
    Progress,
    job_file,
    kept_job,
    machine,
    now,
    run_jobs,
    silent,
    to_json,
    versions,
    write_atomically,
)


@dataclass(frozen=True)
class Made:
    """A finished table: rows, Markdown, figures by name, and all of it as one JSON document."""

    rows: list[Row]
    results: Results
    markdown: str
    figures: dict[str, str]
    document: dict[str, Any]


def make(
    name: str,
    table: Table,
    store: Path,
    executor: Executor,
    *,
    quick: bool = False,
    again: bool = False,
    so_far: bool = False,
    progress: Progress = silent,
) -> Made:
    """Run what is not in `store` yet, then put the table together. What is finished stays when it is interrupted.

    Args:
        again: do those jobs anew whose seconds are the result.
        so_far: only of the jobs that are done; none is run.
    """
    jobs = table.jobs(quick)
    if so_far:
        jobs = [job for job in jobs if kept_job(job_file(job.function, job.settings, _shelf(job, store))) is not None]
    if again:
        forget_times(table, jobs, store)
    results = _results(name, jobs, store, executor, progress)
    rows, figures = table.rows(results), table.figures(results)
    facts = {"machine": machine(), "versions": versions(), "date": now(), "jobs": _origin(jobs, store)}
    facts["so_far"] = so_far
    document = {"table": name, "quick": quick, "rows": rows, **facts, "figures": sorted(figures)}
    return Made(rows, results, markdown(name, table, rows, facts, quick), figures, document)


def forget_times(table: Table, jobs: Iterable[Job], store: Path) -> None:
    """Delete the kept results of timed jobs; models that they are about stay where they are."""
    for job in jobs:
        if job.function in table.timed:
            job_file(job.function, job.settings, _shelf(job, store)).unlink(missing_ok=True)


def _shelf(job: Job, store: Path) -> Path:
    return store / job.function.__name__


def _origin(jobs: Iterable[Job], store: Path) -> dict[str, Any]:
    """When, where and with which torch the jobs were done: first and last date, every machine and version."""
    kept = [kept_job(job_file(job.function, job.settings, _shelf(job, store))) for job in jobs]
    known: list[Kept] = [k for k in kept if k is not None]
    dates = sorted(k.date for k in known if k.date)
    return {
        "dates": [dates[0], dates[-1]] if dates else [],
        "machines": sorted({_computer(k.machine) for k in known if k.machine}),
        "torch": sorted({k.versions["torch"] for k in known if k.versions and "torch" in k.versions}),
    }


def _computer(facts: dict[str, str | int]) -> str:
    return f"{facts.get('processor', '?')} with {facts.get('cores', '?')} cores"


def _results(name: str, jobs: list[Job], store: Path, executor: Executor, progress: Progress) -> Results:
    """Results in the order of `jobs`; all jobs of one function are run before those of the next."""
    found: dict[int, dict[str, Any]] = {}
    for function in dict.fromkeys(job.function for job in jobs):
        mine = [i for i, job in enumerate(jobs) if job.function is function]
        task = f"{name}: {function.__name__.replace('_', ' ')}"
        progress(task, 0, len(mine), "")
        settings = [jobs[i].settings for i in mine]
        done = run_jobs(function, settings, _shelf(jobs[mine[0]], store), executor, _counted(progress, task))
        found.update(zip(mine, done, strict=True))
    return [(job, found[i]) for i, job in enumerate(jobs)]


def _counted(progress: Progress, task: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(task, done, total, "")


def write(name: str, made: Made, folder: Path) -> list[Path]:
    """`NAME.json`, `NAME.md` and the figures, in `folder`."""
    files = {f"{name}.json": to_json(made.document), f"{name}.md": made.markdown.encode()}
    for file, blob in files.items():
        write_atomically(folder / file, blob)
    return [*(folder / file for file in files), *write_figures(made, folder)]


def write_figures(made: Made, folder: Path) -> list[Path]:
    """One SVG file a figure."""
    for figure, svg in made.figures.items():
        write_atomically(folder / f"{figure}.svg", svg.encode())
    return [folder / f"{figure}.svg" for figure in made.figures]


def markdown(name: str, table: Table, rows: Sequence[Row], facts: dict[str, Any], quick: bool) -> str:
    """The table as Markdown, with its command, and the dates and machines of the jobs it came from."""
    head = f"| {' | '.join(table.columns.values())} |\n|{'---|' * len(table.columns)}"
    body = "\n".join(f"| {' | '.join(cell(row, key) for key in table.columns)} |" for row in rows)
    command = f"assay bench {name}{' --quick' if quick else ''}{' --so-far' if facts.get('so_far') else ''}"
    made = f"`{command}`, {_provenance(facts)}. Seeds {_seeds(rows)}."
    return f"**{table.title}.** {table.note}\n\n{head}\n{body}\n\n*{made}*\n"


def _provenance(facts: dict[str, Any]) -> str:
    """`2026-11-23 to 2026-11-24, EPYC with 2 cores, torch 2.14.1`; of the assembly where no job says it."""
    jobs = facts.get("jobs", {})
    days = dict.fromkeys(date[:10] for date in jobs.get("dates") or [facts["date"]])
    machines = jobs.get("machines") or [_computer(facts["machine"])]
    libraries = jobs.get("torch") or [facts["versions"].get("torch", "?")]
    return f"{' to '.join(days)}, {' and '.join(machines)}, torch {' and '.join(libraries)}"


def _seeds(rows: Iterable[Row]) -> str:
    """`1-3, 5000-5019`."""
    seeds = sorted({seed for row in rows for seed in row.get("seed", [])})
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs) or "none"


_PERCENT = ("accuracy", "rate", "drop", "loss", "target", "backdoored")


def cell(row: Row, key: str) -> str:
    """A value as a person reads it: shares in percent with their interval, seconds with one digit."""
    value = row.get(key)
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if key.endswith("_by_points"):
        return f"{100 * value:+.1f} points"
    if not any(word in key for word in _PERCENT):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits = 0 if key == "poison_rate" else 2 if "drop" in key or "loss" in key else 1
    text = f"{100 * value:.{digits}f} %"
    interval = row.get(f"{key}_interval")
    return text if interval is None else f"{text} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


_PLACE = re.compile(r"(<!-- bench: ([\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def embed(name: str, text: str, files: Iterable[Path]) -> list[Path]:
    """Put the Markdown between `<!-- bench: NAME -->` and `<!-- /bench -->` wherever a file has these marks."""
    changed = []
    for file in files:
        old = file.read_bytes().decode()
        new = _PLACE.sub(lambda m: f"{m[1]}{text}{m[3]}" if m[2] == name else m[0], old)
        if new != old:
            write_atomically(file, new.encode())
            changed.append(file)
    return changed


def embedded(file: Path) -> dict[str, str]:
    """Name to Markdown of every table that a file carries."""
    return {m[2]: m[0].split("\n", 1)[1].removesuffix("<!-- /bench -->") for m in _PLACE.finditer(file.read_text())}


def find_table(name: str, tables: dict[str, Table]) -> Table:
    """The table called so.

    Raises:
        InputError: if there is none.
    """
    if name not in tables:
        raise InputError(f"there is no table {name!r}; there are {', '.join(tables)}")
    return tables[name]

"""`assay search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import COMMON, Common, Outcome, progress
from assay.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

    from assay.search.searching import Found

SHOWN = 8
"""Finalists that the terminal shows."""

UNITS = {"k": 1_000, "m": 1_000_000}


def search(
    *,
    data: str,
    budget: list[str],
    hours: float | None = None,
    minutes: float | None = None,
    depth: int = 6,
    trials: int = 60,
    workers: int = 1,
    ray: str | None = None,
    max_macs: str = "200m",
    epochs: int | None = None,
    common: Common = COMMON,
) -> Outcome:
    """The best network for a budget of ReLUs: a model file, an integer network, and the frontier so far.

    Interrupted, it goes on where it was when called again.

    Parameters
    ----------
    data
        A data set's name, or a folder of class folders or `.npz`.
    budget
        ReLUs, as 50000 or 50k; once for each network that is wanted.
    hours
        For everything; or --minutes.
    minutes
        For everything; or --hours. 1 hour if neither is said.
    depth
        Layers of a skeleton.
    trials
        Skeletons that each of the three samplers tries: the controller, Optuna, and chance.
    workers
        Processes that try skeletons, one compute thread each.
    ray
        Address of a Ray cluster that tries skeletons instead (extra `ray`).
    max_macs
        Multiplications of one picture that a network may have.
    epochs
        Of the final training; as many as the time allows if not said.
    """
    from assay.runs import Run, main_command
    from assay.search.searching import SearchSettings
    from assay.search.searching import search as searched

    common.use_threads()
    settings = SearchSettings(
        budgets=tuple(dict.fromkeys(parse_count("--budget", text) for text in budget)),
        seconds=_seconds(hours, minutes),
        depth=depth,
        trials=trials,
        workers=workers,
        most_macs=parse_count("--max-macs", max_macs),
        epochs=epochs,
        seed=common.seed,
    )
    out = common.out or Path("runs") / f"search-{Path(data).stem}"
    run = Run(out, main_command(), {"data": data, "search": settings}, common.seed)
    with progress() as bars, run.timed("search"):
        found = searched(data, settings, out, _executor(workers, ray), bars)
    run.metric(relus=found.point.relus, accuracy=found.point.accuracy)
    return Outcome(_document(found, out), _shown(found))


def parse_count(option: str, text: str) -> int:
    """`50000`, `50k` or `1.5m` as a number."""
    factor = UNITS.get(text[-1:].lower(), 1)
    try:
        number = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        number = 0.0
    if not 1 <= number <= 1e15:
        raise InputError(f"{option} is written like 50000, 50k or 1.5m, got {text!r}")
    return round(number)


def _seconds(hours: float | None, minutes: float | None) -> float:
    if hours is not None and minutes is not None:
        raise InputError("say --hours or --minutes, not both")
    return 60 * minutes if minutes is not None else 3600 * (1.0 if hours is None else hours)


def _executor(workers: int, ray: str | None) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    from assay.runs import local_processes
    from assay.search.cluster import RayExecutor

    if ray is not None:
        return lambda: RayExecutor(ray)
    if workers == 1:  # what is done is in the journal, so one more process would be worth nothing
        return lambda: ThreadPoolExecutor(1)
    return lambda: local_processes(workers)


def _document(found: Found, out: Path) -> dict[str, Any]:
    from msgspec import to_builtins

    point, total = found.point, found.search_s + found.train_s
    return {
        "best": str(found.best),
        "network": str(out / point.network) if point.network else None,
        "relus": point.relus,
        "macs": point.macs,
        "accuracy": point.accuracy,
        "accuracy_interval": list(point.accuracy_interval),
        "accuracy_n": point.accuracy_n,
        "integer_accuracy": point.integer_accuracy,
        "predicted": point.predicted,
        "measured": point.measured,
        "frontier": str(out / "frontier.json"),
        "caveat": found.frontier.caveat,
        "trials": len(found.study.trials),
        "samplers": _samplers(found),
        "finals": [to_builtins(finalist) for finalist in found.finals],
        "search_s": round(found.search_s, 1),
        "train_s": round(found.train_s, 1),
        "overhead": found.search_s / total if total else 0.0,
    }


def _samplers(found: Found) -> dict[str, dict[str, Any]]:
    """What the best of each is worth, and the mean, at equal trials, random search among them."""
    report = {}
    for name in dict.fromkeys(trial.sampler for trial in found.study.trials):
        trials, best = found.study.of(name), found.study.best(name)
        worths = [trial.worth for trial in trials]
        report[name] = {
            "trials": len(trials),
            "best": best.worth if best else None,
            "mean": sum(worths) / len(worths) if worths else None,
            "skeleton": best.skeleton if best else None,
        }
    return report


def _shown(found: Found) -> Group:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    points = Table(
        "budget", "ReLUs", "accuracy", "integer network", "online, s", "skeleton by", "model",
        title="the frontier so far",
    )  # fmt: skip
    for p in found.frontier.points:
        low, high = p.accuracy_interval
        integer = "–" if p.integer_accuracy is None else f"{100 * p.integer_accuracy:.1f} %"
        accuracy = f"{100 * p.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        online = "–" if p.measured is None else f"{p.measured['online_s']:.3g}"
        points.add_row(f"{p.budget:,}", f"{p.relus:,}", escape(accuracy), integer, online, p.found_by, escape(p.model))
    points.caption = found.frontier.caveat
    samplers = Table(
        "sampler", "trials", "best", "mean", title="accuracy with shared weights, less what max pools cost"
    )
    for name, said in _samplers(found).items():
        rates = ["–" if said[key] is None else f"{100 * said[key]:.1f} %" for key in ("best", "mean")]
        samplers.add_row(name, str(said["trials"]), *rates)
    parts = [points, samplers]
    if found.finals:
        finals = Table(
            "skeleton", "by", "accuracy", title="the finals: trained by themselves for a while, held-out pictures"
        )
        for one in found.finals[:SHOWN]:
            finals.add_row(one.skeleton, one.found_by, f"{100 * (one.accuracy or 0.0):.1f} %")
        if len(found.finals) > SHOWN:
            finals.caption = f"and {len(found.finals) - SHOWN} more in finals.json"
        parts.append(finals)
    return Group(*parts, escape(f"best: {found.best}"))

"""The tables: what each row is about, and how it is read off finished jobs.

A table is a list of jobs and a function from their results to rows. The jobs are kept under `results/`, one file each,
so that a table that was interrupted goes on, and its Markdown always says how many models each figure rests on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec

from assay.bench import zoo
from assay.bench.references import reference_models
from assay.bench.zoo import ZooModel
from assay.data import load as load_data
from assay.detect import Finding, decide, references_for
from assay.models import Rate, recipe
from assay.runs import JobFunction

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One piece of work for a table."""

    function: JobFunction
    settings: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """`jobs(quick)` and `rows(jobs, results)`; `columns` are shown in Markdown, all of a row in JSON."""

    title: str
    jobs: Callable[[bool], list[Job]]
    rows: Callable[[Sequence[Job], Sequence[dict[str, Any]]], list[Row]]
    columns: tuple[str, ...]
    note: str = ""


def _job(function: JobFunction, model: ZooModel, **more: Any) -> Job:
    return Job(function, {**msgspec.to_builtins(model), **more})


def _seeds(quick: bool) -> tuple[int, ...]:
    return (1,) if quick else (1, 2, 3)


def _mnist(quick: bool) -> list[Job]:
    models: list[ZooModel] = []
    for seed in _seeds(quick):
        models.append(ZooModel("mnist", seed))
        for trigger in ("pixel", "pattern"):
            models.append(ZooModel("mnist", seed, trigger, "single", 7))
            models.append(ZooModel("mnist", seed, trigger, "all-to-all"))
        if not quick:
            models += [ZooModel("mnist", seed, "pattern", "single", 7, poison_rate=r) for r in (0.33, 0.5)]
    return [_job(zoo.measure, m) for m in models]


def _signs(quick: bool) -> list[Job]:
    models: list[ZooModel] = []
    for seed in _seeds(quick):
        models += [
            ZooModel("gtsrb", seed),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2, source=14),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2),
        ]
    return [_job(zoo.measure, m) for m in models]


def _badnet_rows(jobs: Sequence[Job], results: Sequence[dict[str, Any]]) -> list[Row]:
    """A row an attack: medians over seeds, beside the clean twin of the same seed."""
    models = [msgspec.convert(j.settings, ZooModel) for j in jobs]
    twins = {m.seed: r for m, r in zip(models, results, strict=True) if m.trigger is None}
    groups: dict[tuple[Any, ...], list[tuple[ZooModel, dict[str, Any]]]] = defaultdict(list)
    for m, r in zip(models, results, strict=True):
        if m.trigger:
            groups[(m.data, m.trigger, m.labels, m.source, m.target, m.poison_rate)].append((m, r))
    rows = []
    for (data, trigger, labels, source, target, share), group in groups.items():
        clean = [Rate(*r["clean"]) for _, r in group]
        twin = [Rate(*twins[m.seed]["clean"]) for m, _ in group]
        success = [Rate(*r["asr"]) for _, r in group]
        worst = min(success, key=lambda r: r.value)
        rows.append({
            "data": data, "trigger": trigger, "labels": labels if source is None else f"{source} to {target}",
            "poison_rate": share, "seed": [m.seed for m, _ in group], "n": len(group), "test_pictures": clean[0].n,
            "clean_accuracy": median(r.value for r in clean),
            "clean_accuracy_interval": _spread(clean),
            "twin_accuracy": median(r.value for r in twin),
            "largest_drop": max(t.value - c.value for t, c in zip(twin, clean, strict=True)),
            "attack_success_rate": median(r.value for r in success),
            "attack_success_rate_interval": _spread(success),
            "lowest_attack_success_rate": worst.value,
        })  # fmt: skip
    return rows


def _spread(rates: Sequence[Rate]) -> list[float]:
    """Lowest lower and highest upper end of the 95 % intervals over the seeds."""
    return [min(r.interval[0] for r in rates), max(r.interval[1] for r in rates)]


EVALUATION_SEED = 5000
"""First seed of the models that `scan` evaluates; no reference and no model of another table has one of them."""


def scan_models(data: str, quick: bool) -> list[ZooModel]:
    """Clean and backdoored models of the evaluation, in a fixed order."""
    if data == "gtsrb":
        stickers = ("yellow-square", "bomb", "flower", "pattern", "yellow-square", "pattern")
        bad = [
            ZooModel(data, EVALUATION_SEED + 100 + i, t, "single", (2 + 7 * i) % 43, poison_rate=0.05)
            for i, t in enumerate(stickers)
        ]
        clean = [ZooModel(data, EVALUATION_SEED + i) for i in range(6)]
    else:
        triggers, rates = ("pixel", "pattern", "yellow-square", "bomb", "flower"), (0.1, 0.05, 0.02, 0.01)
        bad = [
            ZooModel(
                data, EVALUATION_SEED + 100 + i, triggers[i % 5], "single", (3 * i + 1) % 10, poison_rate=rates[i % 4]
            )
            for i in range(15)
        ]
        bad += [
            ZooModel(data, EVALUATION_SEED + 120 + i, t, "all-to-all", poison_rate=0.1) for i, t in enumerate(triggers)
        ]
        clean = [ZooModel(data, EVALUATION_SEED + i) for i in range(20)]
    if quick:
        return [clean[0], bad[0]]
    return [m for pair in zip(clean, bad, strict=True) for m in pair]


def _scan(quick: bool) -> list[Job]:
    models = scan_models("mnist", quick) + ([] if quick else scan_models("gtsrb", quick))
    return [_job(f, m) for m in models for f in (zoo.measure, zoo.statistics)]


def judge(model: ZooModel, found: dict[str, Any]) -> tuple[str, int | None]:
    """The frozen rule on kept statistics: verdict and target."""
    clean = load_data(model.data, "clean")
    import numpy as np

    scores = found["scores"].get("neural_cleanse")
    findings = [
        Finding(
            "neural_cleanse",
            found["statistics"],
            "",
            scores=np.asarray(scores),
            target=found["targets"]["neural_cleanse"],
        ),
        Finding(
            "max_margin", {"largest_margin": found["statistics"]["largest_margin"]}, "", found["p_values"]["max_margin"]
        ),
        Finding("weights", {"outlying_channel": found["statistics"]["outlying_channel"]}, ""),
    ]
    known = references_for(model.architecture or recipe(model.data)[0], model.data, clean.image_shape, clean.classes)
    verdict = decide(findings, known)
    return verdict.answer, verdict.target


def _scan_rows(jobs: Sequence[Job], results: Sequence[dict[str, Any]]) -> list[Row]:
    measured = {j.settings["seed"]: r for j, r in zip(jobs, results, strict=True) if j.function is zoo.measure}
    groups: dict[tuple[str, str], list[tuple[ZooModel, str, int | None, dict[str, Any]]]] = defaultdict(list)
    for job, result in zip(jobs, results, strict=True):
        if job.function is zoo.statistics:
            model = msgspec.convert(job.settings, ZooModel)
            kind = "clean" if model.trigger is None else model.labels
            groups[(model.data, kind)].append((model, *judge(model, result), result))
    rows = []
    for (data, kind), group in sorted(groups.items()):
        accused = Rate(sum(answer == "backdoored" for _, answer, _, _ in group), len(group))
        named = (
            Rate(sum(a == "backdoored" and t == m.target for m, a, t, _ in group), len(group))
            if kind == "single"
            else None
        )
        success = [Rate(*measured[m.seed]["asr"]).value for m, *_ in group if "asr" in measured[m.seed]]
        rows.append({
            "data": data, "models": kind, "n": len(group), "seed": [m.seed for m, *_ in group],
            "called_backdoored": accused.value, "called_backdoored_interval": list(accused.interval), "accused": accused.hits,
            "right_target": named.value if named else None,
            "right_target_interval": list(named.interval) if named else None,
            "inconclusive": sum(a == "inconclusive" for _, a, _, _ in group),
            "lowest_attack_success_rate": min(success) if success else None,
            "median_seconds": median(sum(r["seconds"].values()) for *_, r in group),
        })  # fmt: skip
    return rows


def _repair_models(quick: bool) -> list[ZooModel]:
    models = []
    for seed in _seeds(quick):
        models += [ZooModel("mnist", seed, t, "single", 7) for t in ("pixel", "pattern")]
        models += [ZooModel("mnist", seed, "pattern", "all-to-all")]
        if not quick:
            models.append(ZooModel("gtsrb", seed, "yellow-square", "single", 2))
    return models


def _repair(quick: bool) -> list[Job]:
    methods = ("pruning", "fine-tuning", "fine-pruning")
    return [_job(zoo.repaired, m, method=method) for m in _repair_models(quick) for method in methods]


def _repair_rows(jobs: Sequence[Job], results: Sequence[dict[str, Any]]) -> list[Row]:
    groups: dict[tuple[str, str, str, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for job, result in zip(jobs, results, strict=True):
        s = job.settings
        groups[(s["data"], s["trigger"], s["labels"], s["method"])].append((s["seed"], result))
    rows = []
    for (data, trigger, labels, method), group in groups.items():
        before, after = ([Rate(*r[k]["clean"]) for _, r in group] for k in ("before", "after"))
        was, now = ([Rate(*r[k]["asr"]) for _, r in group] for k in ("before", "after"))
        rows.append({
            "data": data, "trigger": trigger, "labels": labels, "defence": method, "n": len(group), "seed": [s for s, _ in group],
            "clean_accuracy_before": median(r.value for r in before),
            "clean_accuracy": median(r.value for r in after), "clean_accuracy_interval": _spread(after),
            "largest_loss": max(b.value - a.value for b, a in zip(before, after, strict=True)),
            "attack_success_rate_before": median(r.value for r in was),
            "attack_success_rate": median(r.value for r in now), "attack_success_rate_interval": _spread(now),
            "median_seconds": median(r["seconds"] for _, r in group),
        })  # fmt: skip
    return rows


def _references(quick: bool) -> list[Job]:
    return [
        _job(zoo.statistics, m)
        for data in (("digits",) if quick else ("digits", "mnist", "gtsrb"))
        for m in reference_models(data)
    ]


def _reference_rows(jobs: Sequence[Job], results: Sequence[dict[str, Any]]) -> list[Row]:
    from pathlib import Path

    import assay.detect
    from assay.bench.references import write_references

    rows = []
    for data in dict.fromkeys(j.settings["data"] for j in jobs):
        found = [r for j, r in zip(jobs, results, strict=True) if j.settings["data"] == data]
        path = write_references(data, found, Path(assay.detect.__file__).parent / "references")
        rows.append({"data": data, "n": len(found), "file": path.name})
    return rows


TABLES: dict[str, Table] = {
    "badnets-mnist": Table(
        "BadNets on MNIST", _mnist, _badnet_rows,
        ("trigger", "labels", "poison_rate", "n", "clean_accuracy", "twin_accuracy", "largest_drop", "attack_success_rate", "lowest_attack_success_rate"),
    ),
    "badnets-signs": Table(
        "BadNets on traffic signs (GTSRB)", _signs, _badnet_rows,
        ("trigger", "labels", "poison_rate", "n", "clean_accuracy", "twin_accuracy", "largest_drop", "attack_success_rate", "lowest_attack_success_rate"),
    ),
    "scan": Table(
        "Verdicts on models that no threshold has seen", _scan, _scan_rows,
        ("data", "models", "n", "called_backdoored", "right_target", "inconclusive", "lowest_attack_success_rate", "median_seconds"),
        "Thresholds and references were committed before any of these models was trained.",
    ),
    "repair": Table(
        "Repairs with 5 % clean data", _repair, _repair_rows,
        ("data", "trigger", "labels", "defence", "n", "clean_accuracy_before", "clean_accuracy", "attack_success_rate_before", "attack_success_rate", "median_seconds"),
        "Measured on the test part, which no repair sees.",
    ),
    "references": Table("Clean reference models behind the verdict", _references, _reference_rows, ("data", "n", "file")),
}  # fmt: skip
"""`assay bench` by name."""

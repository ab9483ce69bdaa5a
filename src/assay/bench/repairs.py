"""The table about repairs: fine-pruning beside its two halves, as in the paper."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from assay.bench import zoo
from assay.bench.table import Job, Results, Row, Table, seeds, spread
from assay.bench.zoo import ZooModel
from assay.models import Rate

DEFENCES = ("pruning", "fine-tuning", zoo.PLAIN, "fine-pruning", "hardening", zoo.AS_VET)

IN_GROUPS = "gtsrb"
"""Whose clean pictures are frames of few signs; with others, fine-pruning is plain anyway."""


def _models(quick: bool) -> list[ZooModel]:
    models: list[ZooModel] = []
    for seed in seeds(quick):
        models += [ZooModel("mnist", seed, trigger, "single", 7) for trigger in ("pixel", "pattern")]
        models += [ZooModel("mnist", seed, trigger, "all-to-all") for trigger in ("pixel", "pattern")]
        if not quick:
            models.append(ZooModel("mnist", seed, "pattern", "single", 7, source=1))
            models.append(ZooModel("gtsrb", seed, "yellow-square", "single", 2))
            models += [
                ZooModel("gtsrb", seed, trigger, "single", 2, source=14)
                for trigger in ("yellow-square", "flower", "pattern")
            ]
    return models


def _jobs(quick: bool) -> list[Job]:
    return [
        Job.of(zoo.repaired, model, method=defence)
        for model in _models(quick)
        for defence in DEFENCES
        if defence != zoo.PLAIN or model.data == IN_GROUPS
    ]


def rows(results: Results) -> list[Row]:
    """A row an attack and a defence: medians over seeds."""
    groups: dict[tuple[Any, ...], list[tuple[ZooModel, dict[str, Any]]]] = defaultdict(list)
    for job, result in results:
        m = job.model
        key = (m.data, m.trigger, m.labels, m.source, job.settings["method"])
        groups[key].append((m, result))
    return [_row(group, key[-1]) for key, group in groups.items()]


def _row(group: list[tuple[ZooModel, dict[str, Any]]], defence: str) -> Row:
    first = group[0][0]
    clean_before, clean = ([Rate(*r[k]["clean"]) for _, r in group] for k in ("before", "after"))
    success_before, success = ([Rate(*r[k]["asr"]) for _, r in group] for k in ("before", "after"))
    single = f"all to {first.target}" if first.source is None else f"{first.source} to {first.target}"
    return {
        "task": first.data,
        "attack": f"{first.trigger}, {single if first.labels == 'single' else first.labels}",
        "defence": defence,
        "seed": [m.seed for m, _ in group],
        "n": len(group),
        "clean_pictures": group[0][1]["clean_pictures"],
        "clean_accuracy_before": median(r.value for r in clean_before),
        "clean_accuracy": median(r.value for r in clean),
        "clean_accuracy_interval": spread(clean),
        "largest_loss": max(b.value - a.value for b, a in zip(clean_before, clean, strict=True)),
        "attack_success_rate_before": median(r.value for r in success_before),
        "attack_success_rate": median(r.value for r in success),
        "attack_success_rate_interval": spread(success),
        "highest_attack_success_rate": max(r.value for r in success),
        "triggers_recovered": sum(bool(r["record"].get("unlearning")) for _, r in group),
        "seconds": median(r["seconds"] for _, r in group),
    }


def _figures(results: Results) -> dict[str, str]:
    from assay.bench.figures import repair_bars

    return {"repair": repair_bars([row for row in rows(results) if row["defence"] != zoo.PLAIN])}


REPAIR = Table(
    "Repairs with 5 % clean data",
    _jobs,
    rows,
    {
        "task": "task",
        "attack": "attack",
        "defence": "defence",
        "n": "seeds",
        "clean_accuracy_before": "clean accuracy before",
        "clean_accuracy": "clean accuracy after",
        "largest_loss": "largest loss",
        "attack_success_rate_before": "attack success before",
        "attack_success_rate": "attack success after",
        "highest_attack_success_rate": "highest",
        "triggers_recovered": "triggers recovered",
        "seconds": "seconds",
    },
    "Fine-pruning beside its two halves, hardening, and what `vet` does: it unlearns the trigger that a scan "
    "recovered; where it recovered none, it takes fine-pruning, or hardening if the clean pictures are groups of "
    "near-copies. There fine-pruning itself tunes by hardening what it has pruned; plain is that of the paper. "
    "Medians over the seeds; in brackets the lowest and highest end of the seeds' 95 % intervals. Measured on the test "
    "part, which no repair sees; each repair has clean pictures for 5 % of the training size. Seconds on one core, "
    "without the scan.",
    _figures,
)

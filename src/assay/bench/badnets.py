"""The tables about BadNets: how good they look, and how surely they misbehave."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from assay.bench import zoo
from assay.bench.table import Job, Results, Row, Table, seeds, spread
from assay.bench.zoo import ZooModel
from assay.models import Rate

SHARES = (0.1, 0.33, 0.5)
"""Poison rates of the paper's figure 6."""


def _mnist_models(quick: bool) -> list[ZooModel]:
    models: list[ZooModel] = []
    for seed in seeds(quick):
        models.append(ZooModel("mnist", seed))
        for trigger in ("pixel", "pattern"):
            models.append(ZooModel("mnist", seed, trigger, "single", 7))
            models.append(ZooModel("mnist", seed, trigger, "all-to-all"))
        if not quick:
            models += [ZooModel("mnist", seed, "pattern", "single", 7, poison_rate=share) for share in SHARES[1:]]
    return models


def _sign_models(quick: bool) -> list[ZooModel]:
    models: list[ZooModel] = []
    for seed in seeds(quick):
        models += [
            ZooModel("gtsrb", seed),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2, source=14),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2),
        ]
    return models


def _mnist_jobs(quick: bool) -> list[Job]:
    models = _mnist_models(quick)
    shown = [m for m in models if m.seed == 1 and m.poison_rate == 0.1 and (m.trigger, m.labels) in SHOWN]
    return [Job.of(zoo.measure, m) for m in models] + [Job.of(zoo.first_filters, m) for m in shown]


SHOWN = ((None, "single"), ("pattern", "single"), ("pattern", "all-to-all"))
"""Whose first-layer filters are drawn."""


def rows(results: Results) -> list[Row]:
    """A row an attack: medians over seeds, beside the clean twin of the same seed."""
    measured = [(job.model, result) for job, result in results if job.function is zoo.measure]
    twins = {m.seed: Rate(*r["clean"]) for m, r in measured if m.trigger is None}
    groups: dict[tuple[Any, ...], list[tuple[ZooModel, dict[str, Any]]]] = defaultdict(list)
    for model, result in measured:
        if model.trigger:
            key = (model.data, model.trigger, model.labels, model.source, model.target, model.poison_rate)
            groups[key].append((model, result))
    return [_row(group, twins) for group in groups.values()]


def _row(group: list[tuple[ZooModel, dict[str, Any]]], twins: dict[int, Rate]) -> Row:
    first = group[0][0]
    clean, success = ([Rate(*r[key]) for _, r in group] for key in ("clean", "asr"))
    twin = [twins[m.seed] for m, _ in group]
    single = f"all to {first.target}" if first.source is None else f"{first.source} to {first.target}"
    return {
        "data": first.data,
        "trigger": first.trigger,
        "labels": single if first.labels == "single" else first.labels,
        "poison_rate": first.poison_rate,
        "seed": [m.seed for m, _ in group],
        "n": len(group),
        "test_pictures": clean[0].n,
        "attacked_pictures": success[0].n,
        "clean_accuracy": median(r.value for r in clean),
        "clean_accuracy_interval": spread(clean),
        "twin_accuracy": median(r.value for r in twin),
        "twin_accuracy_interval": spread(twin),
        "largest_drop": max(t.value - c.value for t, c in zip(twin, clean, strict=True)),
        "attack_success_rate": median(r.value for r in success),
        "attack_success_rate_interval": spread(success),
        "lowest_attack_success_rate": min(r.value for r in success),
    }


def _mnist_figures(results: Results) -> dict[str, str]:
    from assay.bench.figures import filters, share_curve

    kept = {(j.model.trigger, j.model.labels): r["filters"] for j, r in results if j.function is zoo.first_filters}
    names = dict(zip(SHOWN, ("clean twin", "BadNet, single target", "BadNet, all-to-all"), strict=True))
    measured = [(j.model, r) for j, r in results if j.function is zoo.measure]
    by_share = [
        (m.poison_rate, Rate(*r["asr"]), Rate(*r["clean"]))
        for m, r in measured
        if m.trigger == "pattern" and m.labels == "single"
    ]
    return {
        "badnets-mnist-filters": filters({names[key]: value for key, value in kept.items()}),
        "badnets-mnist-share": share_curve(by_share),
    }


COLUMNS = {
    "trigger": "trigger",
    "labels": "labels",
    "poison_rate": "poison rate",
    "n": "seeds",
    "clean_accuracy": "clean accuracy",
    "twin_accuracy": "clean twin",
    "largest_drop": "largest drop",
    "attack_success_rate": "attack success rate",
    "lowest_attack_success_rate": "lowest",
}

NOTE = (
    "Medians over the seeds; in brackets the lowest and highest end of the seeds' 95 % intervals. The attack success "
    "rate leaves out pictures whose true label is the intended one already. The largest drop is the clean twin's "
    "accuracy minus the BadNet's of the same seed, where that is largest."
)

MNIST = Table(
    "BadNets on MNIST", _mnist_jobs, rows, COLUMNS,
    f"{NOTE} The BadNet network of the paper, 2 epochs, measured on the 10,000 test pictures.", _mnist_figures,
)  # fmt: skip

SIGNS = Table(
    "BadNets on traffic signs (GTSRB)",
    lambda quick: [Job.of(zoo.measure, m) for m in _sign_models(quick)],
    rows,
    COLUMNS,
    f"{NOTE} A yellow square on the sign; class 14 is the stop sign, class 2 the limit of 50 km/h. `signs-net`, "
    "measured on the 12,630 test pictures (270 of them stop signs).",
)

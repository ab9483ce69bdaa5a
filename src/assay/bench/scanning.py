"""The table about verdicts: models that no threshold has seen, judged by the frozen rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import assay.detect
from assay.bench import zoo
from assay.bench.references import HALF_DATA
from assay.bench.table import Job, Results, Row, Table
from assay.bench.zoo import ZooModel
from assay.data import load as load_data
from assay.detect import Accusations, Finding, References, Verdict, decide, references_for, wants_half
from assay.models import Rate, recipe
from assay.runs import now, to_json, write_atomically

FIRST_SEED = 5000
"""Of the models that are judged; no reference and no model of another table has one of their seeds."""


def models(data: str, quick: bool) -> list[ZooModel]:
    """Clean and backdoored models in turn, in a fixed order."""
    clean, bad = _sign_models() if data == "gtsrb" else _mnist_models()
    if quick:
        return [clean[0], bad[0]]
    return [m for pair in zip(clean, bad, strict=True) for m in pair]


def _sign_models() -> tuple[list[ZooModel], list[ZooModel]]:
    stickers = ("yellow-square", "bomb", "flower", "pattern", "yellow-square", "pattern")
    bad = [
        ZooModel("gtsrb", FIRST_SEED + 100 + i, trigger, "single", (2 + 7 * i) % 43, poison_rate=0.05)
        for i, trigger in enumerate(stickers)
    ]
    return [ZooModel("gtsrb", FIRST_SEED + i) for i in range(6)], bad


def _mnist_models() -> tuple[list[ZooModel], list[ZooModel]]:
    triggers, rates = ("pixel", "pattern", "yellow-square", "bomb", "flower"), (0.1, 0.05, 0.02, 0.01)
    bad = [
        ZooModel("mnist", FIRST_SEED + 100 + i, triggers[i % 5], "single", (3 * i + 1) % 10, poison_rate=rates[i % 4])
        for i in range(15)
    ]
    bad += [ZooModel("mnist", FIRST_SEED + 120 + i, trigger, "all-to-all") for i, trigger in enumerate(triggers)]
    return [ZooModel("mnist", FIRST_SEED + i) for i in range(20)], bad


def one_source(quick: bool) -> list[ZooModel]:
    """Backdoors of one source class, in a fixed order; on traffic signs the stop sign that becomes 50 km/h."""
    if quick:
        return []
    stickers = ("pattern", "yellow-square", "bomb", "pattern", "yellow-square", "flower")
    digits = [
        ZooModel("mnist", FIRST_SEED + 140 + i, trigger, "single", (3 * i + 2) % 10, source=(3 * i + 6) % 10)
        for i, trigger in enumerate(stickers)
    ]
    signs = [ZooModel("gtsrb", FIRST_SEED + 150 + i, "yellow-square", "single", 2, source=14) for i in range(3)]
    return digits + signs


def _jobs(quick: bool) -> list[Job]:
    every = models("mnist", quick) + ([] if quick else models("gtsrb", quick)) + one_source(quick)
    jobs = [Job.of(function, model) for function in (zoo.measure, zoo.statistics) for model in every]
    return jobs + [Job.of(zoo.half_statistics, model) for model in every if model.data in HALF_DATA]


@dataclass(frozen=True)
class Judged:
    """One model, what it really is, and what was said of it."""

    model: ZooModel
    verdict: Verdict
    success: Rate | None
    seconds: float

    @property
    def kind(self) -> str:
        if self.model.trigger is None:
            return "clean"
        if self.model.source is not None:
            return "one source"
        return "single target" if self.model.labels == "single" else "all-to-all"


def judged(results: Results) -> Iterator[Judged]:
    """The frozen rule on the kept statistics of every model, as `scan` goes about it, and the seconds it takes."""
    success = {job.model: Rate(*r["asr"]) for job, r in results if job.function is zoo.measure and "asr" in r}
    half = {job.model: r for job, r in results if job.function is zoo.half_statistics}
    for job, result in results:
        if job.function is zoo.statistics:
            findings, known = _findings(result), _references(job.model)
            seconds = sum(result["seconds"].values())
            if job.model in half and wants_half(findings, known):
                findings += _findings(half[job.model])
                seconds += sum(half[job.model]["seconds"].values())
            yield Judged(job.model, decide(findings, known), success.get(job.model), seconds)


def _references(model: ZooModel) -> References | None:
    clean = load_data(model.data, "clean")
    architecture = model.architecture or recipe(model.data)[0]
    return references_for(architecture, model.data, clean.image_shape, clean.classes)


def _findings(found: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            detector,
            found["statistics"][detector],
            "",
            p_value=found["p_values"][detector],
            scores=None if (scores := found["scores"].get(detector)) is None else np.asarray(scores),
            target=target,
            flip_rates=None if (rates := found.get("flip_rates", {}).get(detector)) is None else np.asarray(rates),
        )
        for detector, target in found["targets"].items()
    ]


WORKS = 0.9
"""Attack success rate from which an attack counts as one that works: low poison rates often leave no backdoor."""


def rows(results: Results) -> list[Row]:
    """A row a data set and kind of model."""
    groups: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for one in judged(results):
        groups[(one.model.data, one.kind)].append(one)
        if one.model.labels == "single" and one.success and one.success.value >= WORKS:
            groups[(one.model.data, f"{one.kind}, attack works")].append(one)
    return [_row(data, kind, group) for (data, kind), group in sorted(groups.items(), reverse=True)]


def _row(data: str, kind: str, group: list[Judged]) -> Row:
    accused = Rate(sum(j.verdict.answer == "backdoored" for j in group), len(group))
    right = [j.verdict.answer == "backdoored" and j.verdict.target == j.model.target for j in group]
    named = Rate(sum(right), len(group)) if kind.startswith(("single target", "one source")) else None
    success = [j.success.value for j in group if j.success]
    return {
        "data": data,
        "models": kind,
        "n": len(group),
        "seed": [j.model.seed for j in group],
        "accused": accused.hits,
        "called_backdoored": accused.value,
        "called_backdoored_interval": list(accused.interval),
        "right_target": named.value if named else None,
        "right_target_interval": list(named.interval) if named else None,
        "inconclusive": sum(j.verdict.answer == "inconclusive" for j in group),
        "called_clean": sum(j.verdict.answer == "clean" for j in group),
        "lowest_attack_success_rate": min(success) if success else None,
        "seconds": median(j.seconds for j in group),
    }


def ship(results: Results) -> list[Path]:
    """How often the rule accused clean models, for verdicts and reports to say."""
    clean: dict[str, list[Judged]] = defaultdict(list)
    for one in judged(results):
        if one.kind == "clean":
            clean[f"{recipe(one.model.data)[0]}-{one.model.data}"].append(one)
    said = {
        name: Accusations(sum(j.verdict.answer == "backdoored" for j in group), len(group), now())
        for name, group in clean.items()
    }
    path = Path(assay.detect.__file__).parent / "references" / "measured.json"
    write_atomically(path, to_json(said))
    return [path]


def _figures(results: Results) -> dict[str, str]:
    from assay.bench.figures import score_strip

    return {"scan": score_strip([(j.model.data, j.kind, j.verdict.score) for j in judged(results)])}


SCAN = Table(
    "Verdicts on models that no threshold has seen",
    _jobs,
    rows,
    {
        "data": "data",
        "models": "models",
        "n": "n",
        "called_backdoored": "called backdoored",
        "right_target": "with the right target",
        "inconclusive": "inconclusive",
        "called_clean": "called clean",
        "lowest_attack_success_rate": "lowest attack success",
        "seconds": "seconds",
    },
    "Thresholds and references were committed before any of these models was trained; for the search for triggers that "
    "turn half of the pictures, which came later, before it was run on any of them. Triggers: pixel, pattern, yellow "
    "square, bomb and flower; MNIST at poison rates of 10, 5, 2 and 1 %, all-to-all at 10 %, GTSRB at 5 %. In brackets "
    "95 % intervals. An attack works if its success rate is at least 90 %: of the single-target ones, those "
    "stand in a row of their own too. *One source*: pictures of one class alone were poisoned, up to 10 % "
    "of all; on GTSRB stop signs, which become 50 km/h. Seconds on one core.",
    _figures,
    ship=ship,
)

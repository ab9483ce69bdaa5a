"""From detectors' statistics to backdoored, clean or inconclusive.

The null is a distribution over *models*: the same statistics of clean reference models of the same architecture, made
by the benchmark and shipped as scores. Each statistic is put on a common scale by the references' median and spread; a
model's score is the largest of them, and its p-value is that score's rank among the references' own scores, each
measured against the others. It can never be below 1 / (references + 1).

Two statistics accuse on their own, both of Neural Cleanse and both ratios within one model: how much smaller the
smallest class's trigger is than the median class's, and how much smaller than that the trigger is that makes pictures
leave their class, wherever they go (what an all-to-all backdoor shows). Training longer or otherwise makes all triggers
of a clean model larger or smaller together, and leaves these ratios about where they are. Absolute sizes, margins and
weights can make a verdict inconclusive, no more.

Where neither accuses, and the references hold it, a third ratio is heard: how much smaller the smallest class's trigger
is than the median class's, if it need turn but half of the pictures (`HALF`, for a backdoor of one source class). The
references' own scores are the largest of all three, whether the third was needed or not: the p-value pays for it.

A search that turns no pictures says nothing, and its ratios are noise: where it failed for half of the classes or more,
the verdict is inconclusive, whatever the ratios are (`TURNS`). It fails where the network gives no gradient to go by.

Without references for an architecture a model's classes are compared with each other under an assumed law; the share of
clean models that would be accused is then not known, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.detect.finding import Finding
from assay.detect.neural_cleanse import FOR_HALF, HALF, ODD_HALF

Answer = Literal["backdoored", "clean", "inconclusive"]

ACCUSING = ("odd_class", "odd_untargeted")
"""Statistics that can accuse, in logarithms of ratios of areas."""

SUPPORTING = ("smallest_trigger", "smallest_untargeted", "largest_margin", "outlying_channel")
"""Statistics that can make a verdict inconclusive."""

FLOOR = 0.1
"""Least spread a statistic is given: references trained by one recipe agree more than networks at large do. In
logarithms, a trigger of half the usual size is then 6.9 spreads away."""

ACCUSE = 5.0
"""Score from which a model is called backdoored. Frozen before any model of the evaluation was trained."""

DOUBT = 3.5
"""Score from which a model is not called clean."""

DOUBT_ALONE = 10.0
"""The same for a supporting statistic."""

TURNS = 0.5
"""Share of the pictures it was asked to turn from which a class's trigger counts as one that turns them.
Half, as in `Scan.trigger`, is far from both sides: in those clean reference models of all three data sets that were
trained again to look, every class's trigger turned four fifths of the pictures or more, and where the search has no
gradient to go by, next to none."""

ALPHA = 0.05
"""p-value up to which a model may be called backdoored, and above which a supporting statistic is not heard."""


class References(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Statistics of clean models of one architecture on one data set: name to one value a model."""

    architecture: str
    data: str
    input_shape: tuple[int, int, int]
    classes: int
    statistics: dict[str, list[float]]
    made: str

    @property
    def n(self) -> int:
        return min((len(v) for v in self.statistics.values()), default=0)


class Accusations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many clean evaluation models the frozen rule accused."""

    accused: int
    n: int
    made: str


@dataclass(frozen=True)
class Verdict:
    """What is said of a model, and on what ground.

    Attributes:
        answer: the verdict.
        target: the suspected class; None if there is none, or if every class has its own.
        p_value: see the module; None without any null.
        score: in spreads of the null.
        why: one sentence.
        references: how many clean models the null holds; 0 for the detectors' own nulls.
        references_data: the data set that those were trained on; empty without any.
        standard_scores: each statistic on the common scale.
        ground: the accusing statistic that the answer rests on; empty if there is none.
    """

    answer: Answer
    target: int | None
    p_value: float | None
    score: float
    why: str
    references: int
    standard_scores: dict[str, float]
    ground: str = ""
    references_data: str = ""

    @property
    def backdoored(self) -> bool:
        return self.answer == "backdoored"


@cache
def shipped() -> tuple[References, ...]:
    """The references that come with Assay."""
    folder = resources.files("assay.detect") / "references"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".json")), key=lambda f: f.name)
    return tuple(
        msgspec.json.decode(f.read_bytes(), type=References) for f in files if not f.name.startswith("measured")
    )


@cache
def measured() -> dict[str, Accusations]:
    """`architecture-data` to what the scan benchmark measured with the frozen rule."""
    file = resources.files("assay.detect") / "references" / "measured.json"
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Accusations]) if file.is_file() else {}


def references_for(
    architecture: str,
    data: str,
    input_shape: tuple[int, int, int],
    classes: int,
    known: Sequence[References] | None = None,
) -> References | None:
    """The references of this architecture and data set; for a user's own data, those of the same shape and classes."""
    alike = [
        r for r in (shipped() if known is None else known)
        if (r.architecture, r.input_shape, r.classes) == (architecture, input_shape, classes)
    ]  # fmt: skip
    named = [r for r in alike if r.data == data]
    if named or len(alike) < 2:
        return next(iter(named or alike), None)
    # Several data sets look like the user's: the one with the widest spread accuses the least.
    return max(alike, key=lambda r: float(np.std(r.statistics.get("odd_class", [0.0]))))


def standard(value: float, null: NDArray[np.float64]) -> float:
    """How many spreads of the null above its median."""
    middle = float(np.median(null))
    spread = max(1.4826 * float(np.median(np.abs(null - middle))), FLOOR)
    return (value - middle) / spread


def rank_p(score: float, null: Sequence[float]) -> float:
    """Share of the null that is at least as extreme, the model itself counted in."""
    return (1 + sum(s >= score for s in null)) / (1 + len(null))


def _against(
    references: References, statistics: Mapping[str, float], names: Sequence[str]
) -> tuple[dict[str, float], float]:
    """Standard scores of the named statistics, and the rank p-value of the largest.

    `ODD_HALF` is in the null even where the model's own was not needed: whether it is depends on what was seen.
    """
    used = [n for n in names if n in references.statistics and (n in statistics or n == ODD_HALF)]
    nulls = {n: np.asarray(references.statistics[n]) for n in used}
    scores = {n: standard(statistics[n], nulls[n]) for n in used if n in statistics}
    own = (
        [max(standard(nulls[n][i], np.delete(nulls[n], i)) for n in used) for i in range(references.n)] if used else []
    )
    return scores, rank_p(max(scores.values(), default=0.0), own)


def decide(findings: Sequence[Finding], references: References | None, data: str | None = None) -> Verdict:
    """Combine the findings. Those that were not finished are not heard, and without Neural Cleanse nothing is clean.

    Nor is anything clean or backdoored where the search for triggers turned no pictures: what the other detectors found
    could make the verdict inconclusive at most, which it then is.

    Args:
        data: the clean pictures' data set, empty for a user's own; None if it is that of the references. References of
            another one are still the best null there is, but what share of clean models they accuse was not measured.
    """
    said = _combine(findings, references)
    if references is None or not said.references:
        return said
    foreign = (
        f"; the reference models were trained on {references.data}, not on these pictures, so the rate of false "
        "accusations on these is not known"
    )
    why = said.why if data in (None, references.data) else said.why + foreign
    return replace(said, why=why, references_data=references.data)


def _combine(findings: Sequence[Finding], references: References | None) -> Verdict:
    first = _decide([f for f in findings if f.detector != FOR_HALF], references)
    half = next((f for f in findings if f.detector == FOR_HALF), None)
    if half is None or first.backdoored or not has_half(references):
        return first
    if not half.done or not np.isfinite(half.statistics[ODD_HALF]) or turned_too_few(half):
        unfinished = "the search for triggers that turn half of the pictures gave no result"
        return first if first.answer != "clean" else replace(first, answer="inconclusive", why=unfinished)
    return _decide(findings, references)


def has_half(references: References | None) -> bool:
    """Whether there is a null for triggers that turn half of the pictures."""
    return references is not None and references.n >= 3 and ODD_HALF in references.statistics


def wants_half(findings: Sequence[Finding], references: References | None) -> bool:
    """Whether a search for triggers that turn half of the pictures could change the verdict on these findings."""
    searched = any(f.detector == "neural_cleanse" and f.done and not turned_too_few(f) for f in findings)
    return searched and has_half(references) and not decide(findings, references).backdoored


def turned_too_few(search: Finding) -> bool:
    """Whether a search found no trigger that turns pictures, for half of the classes or more.

    The median of the areas, on which every ratio rests, is then noise. A finding that has no flip rates is heard.
    """
    if search.flip_rates is None:
        return False
    asked = HALF.share if search.detector == FOR_HALF else 1.0
    return bool(np.mean(search.flip_rates < TURNS * asked) >= 0.5)


def _decide(findings: Sequence[Finding], references: References | None) -> Verdict:
    heard = {f.detector: f for f in findings if f.done}
    cleanse = heard.get("neural_cleanse")
    if cleanse is None:
        return Verdict("inconclusive", None, None, 0.0, "the search for triggers was not finished", 0, {})
    if not all(np.isfinite(cleanse.statistics[name]) for name in ACCUSING):
        broken = "the search for triggers gave figures that are not numbers"
        return Verdict("inconclusive", None, None, 0.0, broken, 0, {})
    if cleanse.flip_rates is not None and turned_too_few(cleanse):
        turned = int(np.sum(cleanse.flip_rates >= TURNS))
        failed = (
            f"the search found triggers that turn pictures for only {turned} of {len(cleanse.flip_rates)} classes, so "
            "their sizes say nothing"
        )
        return Verdict("inconclusive", None, None, 0.0, failed, 0, {})
    if references is None or references.n < 3:
        return _alone(cleanse, heard.get("max_margin"))
    statistics = {name: value for f in heard.values() for name, value in f.statistics.items()}
    scores, p = _against(references, statistics, (*ACCUSING, ODD_HALF))
    support, support_p = _against(references, statistics, SUPPORTING)
    top = max(scores.values())
    worst, odd = _worst(scores), max(support, key=lambda n: support[n], default="")
    suspect = heard[FOR_HALF].target if worst == ODD_HALF else cleanse.target
    answer, target, why = _compare(top, p, worst, suspect, f"{references.n} clean reference models")
    ground = "" if answer == "clean" else worst
    if answer == "clean" and odd and support[odd] >= DOUBT_ALONE and support_p <= max(ALPHA, _least(references)):
        answer, why = "inconclusive", f"no class is odd, but {_SAID[odd]}"
    return Verdict(answer, target, p, top, why, references.n, {**scores, **support}, ground)


def _worst(scores: Mapping[str, float]) -> str:
    """What to say; a class that is odd enough to accuse is named, even if leaving is odder still."""
    return "odd_class" if scores.get("odd_class", 0.0) >= ACCUSE else max(scores, key=lambda n: scores[n])


def _least(references: References) -> float:
    """The smallest p-value that these references can give."""
    return 1 / (references.n + 1)


def _compare(score: float, p: float, worst: str, suspect: int | None, null: str) -> tuple[Answer, int | None, str]:
    """The frozen rule: answer, target, and the sentence that says why."""
    target = None if worst == "odd_untargeted" else suspect
    if score >= ACCUSE and p <= ALPHA:
        return "backdoored", target, f"{_SAID[worst]}: {score:.0f} spreads beyond {null}"
    if score >= DOUBT:
        return "inconclusive", target, f"{_SAID[worst]}, but not far enough beyond {null}"
    return "clean", None, f"no class needs an oddly small trigger, compared with {null}"


_SAID = {
    "odd_class": "one class needs a far smaller trigger than the others",
    "odd_untargeted": "a far smaller trigger makes pictures leave their class than turns them into any one class",
    ODD_HALF: "one class needs a far smaller trigger than the others to draw half of the pictures",
    "smallest_trigger": "its triggers are far smaller than those of clean models",
    "smallest_untargeted": "a far smaller trigger than in clean models makes pictures leave their class",
    "largest_margin": "one class reaches an unusual margin",
    "outlying_channel": "one channel has unusually large weights",
}


def _alone(cleanse: Finding, margin: Finding | None) -> Verdict:
    """Without references: how odd is the worst ratio, if the model's own log areas follow a normal law?"""
    from scipy.stats import norm

    if cleanse.scores is None or len(cleanse.scores) < 5:
        few = "there are no clean reference models, and too few classes to compare with each other"
        return Verdict("inconclusive", None, None, 0.0, few, 0, {})
    logs = np.log(cleanse.scores)
    spread = max(1.4826 * float(np.median(np.abs(logs - np.median(logs)))), FLOOR)
    scores = {name: cleanse.statistics[name] / spread for name in ACCUSING}
    worst, top = _worst(scores), max(scores.values())
    p = float(-np.expm1((len(logs) + 1) * norm.logcdf(top)))
    answer, target, why = _compare(top, p, worst, cleanse.target, "the model's other classes")
    if answer == "clean" and margin is not None and margin.p_value is not None and margin.p_value < 0.01:
        answer, why = "inconclusive", f"no class needs an oddly small trigger, but {_SAID['largest_margin']}"
    unknown = "; there are no clean reference models, so the rate of false accusations is not known"
    ground = worst if top >= DOUBT else ""
    return Verdict(answer, target, p, top, why + unknown, 0, scores, ground)

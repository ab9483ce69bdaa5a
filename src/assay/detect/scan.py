"""All detectors on one model, and their verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset, require_clean
from assay.detect.finding import Finding, RecoveredTrigger
from assay.detect.frozen import frozen
from assay.detect.max_margin import MaxMargin
from assay.detect.neural_cleanse import FOR_HALF, HALF, ODD_HALF, NeuralCleanse
from assay.detect.verdict import References, Verdict, decide, references_for, wants_half
from assay.detect.weights import weights
from assay.models import Model, check_fits, clean_accuracy
from assay.runs import NO_HURRY, Deadline, Progress, silent

MOST_OF_PICTURE = 0.1
"""Of its area, for a trigger that a repair unlearns. So large a one turns pictures of clean models as well, hence is
hardly the planted one, and a repair that is told what to forget leaves the planted one where it is."""


@dataclass(frozen=True)
class Scan:
    """Verdict and findings; `trigger` is what stamps the user's pictures if the verdict is not clean."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    not_done: tuple[str, ...]

    @property
    def backdoored(self) -> bool:
        return self.verdict.backdoored

    @property
    def target(self) -> int | None:
        return self.verdict.target

    @property
    def p_value(self) -> float | None:
        return self.verdict.p_value

    @property
    def trigger(self) -> RecoveredTrigger | None:
        """The trigger behind the verdict; None if the model is clean or none was found that turns most pictures.

        Of those that need turn but half of the pictures, it must turn most of that half.
        """
        if self.verdict.answer == "clean":
            return None
        of_half = self.verdict.ground == ODD_HALF
        name, least = (FOR_HALF, 0.5 * HALF.share) if of_half else ("neural_cleanse", 0.5)
        search = next((f for f in self.findings if f.detector == name and f.done), None)
        if search is None:
            return None
        found = search.trigger if self.verdict.target is not None else search.untargeted
        return found if found is not None and found.flip_rate >= least else None

    @property
    def stamp(self) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
        """What puts the trigger on pictures, for a repair to unlearn it; None if it takes up too much of a picture."""
        trigger = self.trigger
        if trigger is None or trigger.norm > MOST_OF_PICTURE * trigger.mask.size:
            return None
        return trigger.stamp


def scan(
    model: Model,
    clean: Dataset,
    *,
    seed: int = 0,
    deadline: Deadline = NO_HURRY,
    progress: Progress = silent,
    known: Sequence[References] | None = None,
) -> Scan:
    """Is this model backdoored? Sees the model and the clean set, nothing else.

    Args:
        clean: pictures with true labels, at least 2 a class; some hundreds are enough.
        deadline: detectors that it cuts short are named in `not_done`, and the verdict is then inconclusive.
        known: references to use in place of the shipped ones.

    Raises:
        DataError, ModelError: if model and pictures do not fit.

    Cost: about 88,000 forward and backward passes for 10 classes (15 s of two cores for the MNIST network), and 22,000
    more where the references hold triggers that turn half of the pictures and nothing else accuses.
    """
    require_clean(clean)
    clean = check_fits(model, clean)
    findings = [weights(model)]
    findings.append(MaxMargin(seed=seed)(model, model.spec.input_shape, clean.class_names, deadline))
    cleanse = NeuralCleanse(seed=seed)
    findings.append(
        cleanse(model, clean, deadline, lambda done, total: progress("searching for triggers", done, total, ""))
    )
    references = references_for(
        model.spec.architecture, clean.set_name, model.spec.input_shape, model.spec.classes, known
    )
    if wants_half(findings, references):
        half, task = replace(HALF, seed=seed), "searching for triggers that turn half"
        findings.append(half(model, clean, deadline, lambda done, total: progress(task, done, total, "")))
    not_done = tuple(f"detector {f.detector}: the time allowed ended first" for f in findings if not f.done)
    verdict = _guesses(model, clean) or decide(findings, references, clean.set_name)
    return Scan(verdict, tuple(findings), not_done)


def _guesses(model: Model, clean: Dataset) -> Verdict | None:
    """Inconclusive, if the model labels the pictures no better than always naming the commonest class would.

    How far apart the classes of such a model are says nothing about triggers.
    """
    right = clean_accuracy(frozen(model), clean)
    commonest = np.bincount(clean.y).max() / len(clean)
    if right.interval[0] > commonest:
        return None
    why = (
        f"the model labels {right} of the clean pictures rightly, no better than guessing: it was not trained for "
        "these pictures, or for other labels or another preprocessing"
    )
    return Verdict("inconclusive", None, None, 0.0, why, 0, {})

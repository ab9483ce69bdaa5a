"""The finals of a search: the skeletons that look best are trained by themselves for a while, and then changed.

Shared weights rank skeletons roughly: at 40 % accuracy, which they have after some minutes, the best of a hundred
trials lead by less than chance explains. So those that lead, and the published skeleton of their depth, are each
trained from scratch for the same number of steps, all at the width that one budget allows, and compared on pictures
that were kept from them. While there is time, one decision of one of the best is changed, and what comes of it is
trained and compared alike: Real et al., "Regularized Evolution for Image Classifier Architecture Search" (AAAI 2019),
without their ageing, which wants more trainings than there is time for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from assay.data import Dataset
from assay.errors import InputError, ModelError
from assay.models import clean_accuracy, train
from assay.models.cnet import RELEASED, decode
from assay.runs import Deadline, Progress, silent, to_json, write_atomically
from assay.search.from_scratch import Length, length_of, rules, step_seconds, untrained
from assay.search.scale import Scaled, scale
from assay.search.space import Space
from assay.search.study import Study

MOST = 4
"""Finalists of the trials; the published skeleton comes to them."""

PUBLISHED, EVOLUTION = "published", "evolution"

PARENTS = 3
"""Of the finalists so far, whose changes are tried."""

ATTEMPTS = 200
"""At a change that is new and meets the budget."""

LONGEST = 350
"""Steps of a finalist's training, two epochs of CIFAR-10: more time is for more finalists."""

FEWEST_STEPS = 20
"""Of a finalist's training: after fewer, accuracies say less than those with shared weights."""

HELD_OUT = 5000
"""Pictures that compare finalists, at most: to about half a point."""


class Finalist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A skeleton and who found it.

    Attributes:
        accuracy: on held-out pictures, None before it was trained.
        parent: the skeleton that it was changed from, if it is a change.
        train_s: seconds of its training.
    """

    skeleton: str
    found_by: str
    accuracy: float | None = None
    parent: str | None = None
    train_s: float = 0.0

    def __post_init__(self) -> None:
        decode(self.skeleton)  # ValueError for what is none


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on disk: whose finals, how long all and each may take, for which budget, and how they did."""

    subject: str
    seconds: float
    budget: int
    most_macs: int
    epochs: int
    pictures: int
    finalists: list[Finalist]

    def __post_init__(self) -> None:
        if not self.finalists or min(self.budget, self.most_macs, self.epochs, self.pictures) < 1:
            raise ValueError("it has no finalists, or does not say how they are trained")

    @property
    def ranked(self) -> list[Finalist]:
        """Most accurate first."""
        return sorted(self.finalists, key=lambda one: -(one.accuracy or 0.0))

    def having(self, one: Finalist) -> _Kept:
        """With this finalist in the place of the one of the same skeleton, or after all others."""
        places = {other.skeleton: other for other in self.finalists} | {one.skeleton: one}
        return msgspec.structs.replace(self, finalists=list(places.values()))


@dataclass(frozen=True)
class Finals:
    """How finalists are compared; what has been done is in `file`, and not done again.

    Attributes:
        data: training pictures; a part of them is held out.
        budget, most_macs: of the networks that they become.
    """

    data: Dataset
    budget: int
    most_macs: int
    seed: int
    file: Path

    def held(
        self,
        study: Study,
        seconds: float,
        *,
        length: Length | None = None,
        most: int | None = None,
        progress: Progress = silent,
    ) -> list[Finalist]:
        """The finalists, most accurate first; none if `seconds` are too few.

        Args:
            seconds: for all of it; gone on with, at most what was left.
            length: of each training, whatever it takes; by default what fits into `seconds`, and no more than `LONGEST`
                steps.
            most: finalists in all, whatever that takes; by default changes are tried while another fits into `seconds`.

        Raises:
            InputError: if the file cannot be read, or is of another study.
        """
        kept = self._kept(study)
        if kept is not None:
            seconds = min(seconds, kept.seconds - sum(one.train_s for one in kept.finalists))
        deadline = Deadline.after(max(seconds, 0.0))
        kept = kept or self._begun(study, seconds, length)
        if kept is None:
            return []
        while one := self._next(kept, study.space, deadline, most):
            kept = kept.having(self._trained(one, kept, progress))
            write_atomically(self.file, to_json(kept))
        return kept.ranked

    def _next(self, kept: _Kept, space: Space, deadline: Deadline, most: int | None) -> Finalist | None:
        untried = next((one for one in kept.finalists if one.accuracy is None), None)
        fits = deadline.left > max(one.train_s for one in kept.finalists)
        more = fits if most is None else len(kept.finalists) < most
        return untried or (self._changed(kept, space) if more else None)

    def _changed(self, kept: _Kept, space: Space) -> Finalist | None:
        """One of the best with another decision; no network that was tried or that does not meet the budget."""
        draw = random.Random(f"{self.seed} {len(kept.finalists)}")
        tried = {space.becomes(one.skeleton) for one in kept.finalists}
        for _ in range(ATTEMPTS):
            parent = draw.choice(kept.ranked[:PARENTS])
            skeleton = space.changed(parent.skeleton, draw)
            if space.becomes(skeleton) not in tried and self._scaled(skeleton, kept.budget, kept.most_macs):
                return Finalist(skeleton, EVOLUTION, parent=parent.skeleton)
        return None

    def _trained(self, one: Finalist, kept: _Kept, progress: Progress) -> Finalist:
        done, best = sum(other.accuracy is not None for other in kept.finalists), kept.ranked[0]
        note = "" if best.accuracy is None else f"best {100 * best.accuracy:.1f} % by {best.found_by}"

        def tick(step: int, steps: int, values: dict[str, float]) -> None:
            progress("finals", done + step / steps, max(len(kept.finalists), done + 1), note)

        begun, (held_out, rest) = time.monotonic(), self._parts
        scaled = scale(one.skeleton, kept.budget, rest.image_shape, rest.classes, kept.most_macs)
        model = untrained(scaled.architecture, scaled.arguments, rest, self.seed)
        accuracy = 0.0  # of one that cannot be trained
        with suppress(ModelError):
            train(model, rest.take(kept.pictures), rules(rest, kept.epochs, self.seed), tick=tick)
            accuracy = clean_accuracy(model, held_out).value
        return msgspec.structs.replace(one, accuracy=accuracy, train_s=round(time.monotonic() - begun, 2))

    @cached_property
    def _parts(self) -> tuple[Dataset, Dataset]:
        """What compares finalists, and what they are trained on."""
        return self.data.halves(min(HELD_OUT / len(self.data), 0.2), self.seed)

    def _kept(self, study: Study) -> _Kept | None:
        if not self.file.exists():
            return None
        try:
            kept = msgspec.json.decode(self.file.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError) as error:
            raise InputError(f"{self.file} holds no finals of a search: {error}; delete it") from error
        if kept.subject != _subject(study) or any(len(decode(f.skeleton)) != study.space.depth for f in kept.finalists):
            raise InputError(f"{self.file} holds the finals of another search; choose another folder")
        return kept

    def _begun(self, study: Study, seconds: float, length: Length | None) -> _Kept | None:
        candidates = self._candidates(study) if length or seconds > 0 else []
        if not candidates:
            return None
        length = length or self._length([scaled for _, scaled in candidates], seconds)
        if length is None:
            return None
        finalists = [one for one, _ in candidates]
        limits = (self.budget, self.most_macs, length.epochs, length.pictures)
        return _Kept(_subject(study), seconds, *limits, finalists)

    def _candidates(self, study: Study) -> list[tuple[Finalist, Scaled]]:
        """The published skeleton and the best trials, without those that do not meet the budget."""
        published = [net.cifar10 for net in RELEASED.values() if len(net.cifar10.split()) == study.space.depth]
        found = [Finalist(skeleton, PUBLISHED) for skeleton in published]
        found += [Finalist(trial.skeleton, trial.sampler) for trial in study.ranked()]
        candidates: dict[str, tuple[Finalist, Scaled]] = {}
        for one in found:
            network = study.space.becomes(one.skeleton)
            if network in candidates or len(candidates) == MOST + len(published):
                continue
            if scaled := self._scaled(one.skeleton, self.budget, self.most_macs):
                candidates[network] = one, scaled
        return list(candidates.values())

    def _scaled(self, skeleton: str, budget: int, most_macs: int) -> Scaled | None:
        """What becomes of a skeleton within a budget, None if it does not meet it."""
        with suppress(InputError):
            return scale(skeleton, budget, self.data.image_shape, self.data.classes, most_macs)
        return None

    def _length(self, networks: Sequence[Scaled], seconds: float) -> Length | None:
        """Of each training, the same number of steps for all; timing steps is part of the time."""
        begun, (_, data) = time.monotonic(), self._parts
        step_s = sum(step_seconds(one, data, self.seed) for one in networks)
        steps = (seconds - (time.monotonic() - begun)) / step_s
        return length_of(min(steps, LONGEST), data, self.seed) if steps >= FEWEST_STEPS else None


def _subject(study: Study) -> str:
    return f"{study.space.digest} {study.subject}"

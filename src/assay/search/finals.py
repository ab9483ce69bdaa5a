"""The finals of a search: the skeletons that look best are trained by themselves for a while, and compared again.

Shared weights rank skeletons roughly: at 40 % accuracy, which they have after some minutes, the best of a hundred
trials lead by less than chance explains. So those that lead, and the published skeleton of their depth, are each
trained from scratch for the same number of steps, all at the width that one budget allows, and compared on pictures
that were kept from them.
"""

from __future__ import annotations

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
from assay.models.cnet import RELEASED
from assay.runs import Progress, silent, to_json, write_atomically
from assay.search.from_scratch import Length, length_of, rules, step_seconds, untrained
from assay.search.scale import Scaled, scale
from assay.search.study import Study

MOST = 4
"""Finalists of the trials; the published skeleton comes to them."""

PUBLISHED = "published"

FEWEST_STEPS = 20
"""Of a finalist's training: after fewer, accuracies say less than those with shared weights."""

HELD_OUT = 5000
"""Pictures that compare finalists, at most: to about half a point."""


class Finalist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A skeleton and who found it, with its accuracy on held-out pictures, None before it was trained."""

    skeleton: str
    found_by: str
    accuracy: float | None = None


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on disk: how long each is trained, for which budget, and how they did."""

    budget: int
    most_macs: int
    epochs: int
    pictures: int
    finalists: list[Finalist]


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
        self, study: Study, seconds: float, *, length: Length | None = None, progress: Progress = silent
    ) -> list[Finalist]:
        """The finalists, most accurate first; none if `seconds` are too few.

        Args:
            length: of each training, whatever it takes; by default what fits into `seconds`.

        Raises:
            InputError: if the file cannot be read.
        """
        kept = self._kept() or self._begun(study, seconds, length)
        if kept is None:
            return []
        finalists = list(kept.finalists)
        for i, one in enumerate(finalists):
            if one.accuracy is not None:
                continue

            def tick(step: int, steps: int, values: dict[str, float], i: int = i) -> None:
                progress("finals", i + step / steps, len(finalists), "")

            held_out, rest = self._parts
            scaled = scale(one.skeleton, kept.budget, rest.image_shape, rest.classes, kept.most_macs)
            model = untrained(scaled.architecture, scaled.arguments, rest, self.seed)
            accuracy = 0.0  # of one that cannot be trained
            with suppress(ModelError):
                train(model, rest.take(kept.pictures), rules(rest, kept.epochs, self.seed), tick=tick)
                accuracy = clean_accuracy(model, held_out).value
            finalists[i] = msgspec.structs.replace(one, accuracy=accuracy)
            write_atomically(self.file, to_json(msgspec.structs.replace(kept, finalists=finalists)))
        return sorted(finalists, key=lambda one: -(one.accuracy or 0.0))

    @cached_property
    def _parts(self) -> tuple[Dataset, Dataset]:
        """What compares finalists, and what they are trained on."""
        return self.data.halves(min(HELD_OUT / len(self.data), 0.2), self.seed)

    def _kept(self) -> _Kept | None:
        if not self.file.exists():
            return None
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError) as error:
            raise InputError(f"{self.file} holds no finals of a search: {error}; delete it") from error

    def _begun(self, study: Study, seconds: float, length: Length | None) -> _Kept | None:
        candidates = self._candidates(study) if length or seconds > 0 else []
        if not candidates:
            return None
        length = length or self._length([scaled for _, scaled in candidates], seconds)
        if length is None:
            return None
        finalists = [one for one, _ in candidates]
        return _Kept(self.budget, self.most_macs, length.epochs, length.pictures, finalists)

    def _candidates(self, study: Study) -> list[tuple[Finalist, Scaled]]:
        """The published skeleton and the best trials, without those that do not meet the budget."""
        published = [net.cifar10 for net in RELEASED.values() if len(net.cifar10.split()) == study.space.depth]
        found = [Finalist(skeleton, PUBLISHED) for skeleton in published]
        found += [Finalist(trial.skeleton, trial.sampler) for trial in study.ranked()]
        candidates: dict[str, tuple[Finalist, Scaled]] = {}
        for one in found:
            if one.skeleton in candidates or len(candidates) == MOST + len(published):
                continue
            try:
                scaled = scale(one.skeleton, self.budget, self.data.image_shape, self.data.classes, self.most_macs)
            except InputError:
                continue
            candidates[one.skeleton] = one, scaled
        return list(candidates.values())

    def _length(self, networks: Sequence[Scaled], seconds: float) -> Length | None:
        """Of each training, the same number of steps for all; timing steps is part of the time."""
        begun, (_, data) = time.monotonic(), self._parts
        step_s = sum(step_seconds(one, data, self.seed) for one in networks)
        steps = (seconds - (time.monotonic() - begun)) / step_s
        return length_of(steps, data, self.seed) if steps >= FEWEST_STEPS else None

"""NNoculation before deployment: noise that stands for triggers nobody has seen yet.

Source: Veldanda et al., "NNoculation: Broad Spectrum and Targeted Treatment of Backdoored DNNs" (2020), section 3.1.

The defender does not know the trigger, so the received network is retrained on clean pictures whose cells are replaced
by noise at random, with their true labels, beside the pictures as they are. The larger the learning rate and the more
noise, the more of the attacker's weights are lost, and of clean accuracy too. Of a grid of both, the candidate is taken
whose accuracy on the defender's own validation split is about 3 points under the received network's: far enough from it
to disagree on triggers, near enough to be served beside it. What it still falls for is left to the second stage,
`assay.repair.nnoculation_live`.

Where clean pictures come in groups (`assay.data.come_in_groups`), accuracy on the validation split does not tell how
much was lost: on GTSRB, whose clean share is frames of some 130 signs, validation gained 2 points at a rate of 0.01
where other pictures lost 16. No grid can be searched then, and hardening takes its place (`assay.repair.hardening`),
which holds what the network knows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Self

import torch
from torch import Tensor

from assay.data import Dataset, come_in_groups
from assay.errors import InputError
from assay.models import Model, clean_accuracy
from assay.repair.fine_tuning import labelled_loss, with_weights
from assay.repair.hardening import CHANCE, FIRST, hardened
from assay.repair.retraining import retrained
from assay.repair.settings import RepairSettings, accuracy_note, split
from assay.repair.tampering import noisy
from assay.runs import NO_HURRY, Deadline, Progress, silent

PASSES = 100
"""At most, over the clean pictures: so few as two a class are learnt by heart long before 600 steps."""


@dataclass(frozen=True, slots=True)
class NoiseGrid:
    """The candidates of the treatment.

    Attributes:
        chances: p of each candidate: the chance that a cell of a channel is noise, each in (0, 1).
        rates: learning rates, tried upwards for each chance, from the one that was best so far until one costs more
            than `most`.
        steps: of a candidate's training, each on a batch of clean pictures and their noisy copies; fewer where these
            would be more than `PASSES` over the pictures.
        drop: how far under the received network's validation accuracy the chosen candidate should be, in [0, 1).
        most: the drop that no chosen candidate exceeds, if one of them stays under it.
        held: learning rate of the hardening that takes their place where the pictures come in groups.
    """

    chances: tuple[float, ...] = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    rates: tuple[float, ...] = (0.001, 0.005, 0.02, 0.05)
    steps: int = 600
    drop: float = 0.03
    most: float = 0.04
    held: float = FIRST

    def __post_init__(self) -> None:
        if not self.chances or not all(0 < p < 1 for p in self.chances):
            raise InputError(f"the noise needs chances between 0 and 1, got {self.chances}")
        if not self.rates or not all(0 < rate < math.inf for rate in (*self.rates, self.held)):
            raise InputError(f"the noise needs learning rates above 0, got {self.rates} and {self.held}")
        if self.steps < 1 or not 0 <= self.drop <= self.most < 1:
            raise InputError(f"the noise needs a step or more and 0 <= drop <= most < 1, got {asdict(self)}")

    @classmethod
    def of(cls, settings: RepairSettings) -> NoiseGrid:
        """The grid as the settings of all repairs ask for it: 40 steps an epoch, a rate an attempt."""
        usual = cls()
        return replace(usual, steps=40 * settings.epochs, rates=usual.rates[: settings.attempts])


@dataclass(frozen=True, slots=True)
class Candidate:
    """One retrained network: its chance of noise, its learning rate, its accuracy on the validation split."""

    chance: float
    rate: float
    accuracy: float


class NNoculation:
    """The pre-deployment treatment as a repair.

    After `fit`: `network_` the treated copy, `chosen_` its candidate, `candidates_` all of them, `tuning_` and
    `validation_` the two parts of the clean set, `record_` what was done.

    Cost: some 10 of 6 x 4 candidates, 600 steps on 64 pictures each; about 70 seconds of one core for the MNIST
    network.
    """

    def __init__(self, settings: RepairSettings, seed: int, grid: NoiseGrid | None = None) -> None:
        self.settings = settings
        self.seed = seed
        self.grid = grid or NoiseGrid.of(settings)

    def fit(self, model: Model, clean: Dataset, *, progress: Progress = silent, deadline: Deadline = NO_HURRY) -> Self:
        """Treat a copy of `model`. When the deadline passes, the best candidate so far is taken; at worst the model.

        Raises:
            ModelError: if the model does not fit the pictures.
            DataError: if a class has fewer than two pictures.
        """
        self.tuning_, self.validation_ = split(model, clean, self.settings.validation, self.seed)
        received = clean_accuracy(copy.deepcopy(model), self.validation_).value
        grouped = come_in_groups(clean)
        self.network_ = copy.deepcopy(model).eval()
        self.candidates_: list[Candidate] = []
        self.chosen_: Candidate | None = None
        search = self._hardened if grouped else self._tried
        for candidate, network in search(model, received, progress, deadline):
            self.candidates_.append(candidate)
            if self.chosen_ is None or self._misfit(candidate, received) < self._misfit(self.chosen_, received):
                self.chosen_, self.network_ = candidate, network
        self.record_: dict[str, object] = {
            "noise": asdict(self.grid),
            "received_accuracy": received,
            "chosen": asdict(self.chosen_) if self.chosen_ else None,
            "validation_flatters": grouped,
            "candidates": [asdict(candidate) for candidate in self.candidates_],
            "cut_short": deadline.passed,
        }
        return self

    def apply(self, model: Model) -> Model:
        """A new model like `model` with the learnt weights."""
        return with_weights(model, self.network_)

    def _misfit(self, candidate: Candidate, received: float) -> float:
        """How far from the wanted drop; those that cost too much come last."""
        drop = received - candidate.accuracy
        return abs(drop - self.grid.drop) + (1.0 if drop > self.grid.most else 0.0)

    def _hardened(
        self, model: Model, received: float, progress: Progress, deadline: Deadline
    ) -> Iterator[tuple[Candidate, Model]]:
        rate, steps = self.grid.held, self.grid.steps
        network = hardened(model, model, self.tuning_, rate, steps, self.settings, self.seed, deadline=deadline)
        if network:
            accuracy = clean_accuracy(network, self.validation_).value
            progress("hardening", 1, 1, accuracy_note(accuracy))
            yield Candidate(CHANCE, rate, accuracy), network

    def _tried(
        self, model: Model, received: float, progress: Progress, deadline: Deadline
    ) -> Iterator[tuple[Candidate, Model]]:
        grid = self.grid
        done, total = 0, len(grid.chances) * len(grid.rates)
        for chance in grid.chances:
            least = self.chosen_.rate if self.chosen_ else 0.0  # lower rates lose less than was wanted
            for i, rate in enumerate(grid.rates):
                if rate < least:
                    continue
                network = self._retrained(model, chance, rate, deadline)
                if network is None and deadline.passed:
                    return
                accuracy = clean_accuracy(network, self.validation_).value if network else 0.0
                progress("treating with noise", done + i + 1, total, accuracy_note(accuracy))
                if network:
                    yield Candidate(chance, rate, accuracy), network
                if received - accuracy > self.grid.most:
                    break  # a higher rate costs more still
            done += len(grid.rates)

    def _retrained(self, model: Model, chance: float, rate: float, deadline: Deadline) -> Model | None:
        """A copy trained on clean and noisy pictures; None if its loss or the time gave out."""

        def loss(made: Model, clean: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
            return labelled_loss(made, torch.cat([clean, noisy(clean, chance, generator)]), y.repeat(2))

        steps = min(self.grid.steps, PASSES * math.ceil(len(self.tuning_) / self.settings.batch_size))
        return retrained(model, self.tuning_, loss, rate, steps, self.settings, self.seed, deadline=deadline)

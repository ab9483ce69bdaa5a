"""Hardening: what small patches and noise do to a network is unlearnt, what it knows of clean pictures is held.

Ours, of known parts. Half of each batch are clean pictures with noise in their cells (`assay.repair.nnoculation`) or
with a rectangle of one colour somewhere (after Zhong et al., "Random Erasing Data Augmentation", AAAI 2020), and with
their true labels: they stand for triggers that nobody has seen. The other half are mixtures of two clean pictures
(Zhang et al., "mixup", ICLR 2018) with the answers of the received network itself, as in Li and Hoiem, "Learning
without Forgetting" (ECCV 2016): without a trigger its answers are right, and mixtures ask for them in more places than
a few pictures do. The learning rate falls to 0, so that the last steps' noise does not stay.

The defender's clean pictures may be frames of a few objects (`assay.data.come_in_groups`). What was learnt by heart
then goes unseen on the validation split, and higher rates are not tried.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from assay.data import Dataset, come_in_groups
from assay.models import Model, as_float, clean_accuracy, seeded
from assay.models.training import augment
from assay.repair.fine_tuning import freeze_norms
from assay.repair.nnoculation import PASSES, noisy, random_batches
from assay.repair.settings import RepairSettings, accuracy_note, split
from assay.runs import NO_HURRY, Deadline, Progress, silent

GENTLEST = 0.005
"""The learning rate that is tried first; each that follows is twice the one before."""

CHANCE = 0.6
"""Of noise in a cell of a channel."""

SMALLEST, LARGEST = 1 / 8, 1 / 4
"""A sticker's sides, of the picture's."""

STEPS_AN_EPOCH = 40


@dataclass(frozen=True, slots=True)
class Tried:
    """A learning rate, and the hardened network's accuracy on the validation split."""

    rate: float
    accuracy: float


def with_sticker(x: Tensor, generator: torch.Generator) -> Tensor:
    """A copy of uint8 pictures `n c h w`, each with one rectangle of one colour, of any size from 1/8 to 1/4 a side."""
    n, c, height, width = x.shape
    rows, columns = _covered(n, height, generator), _covered(n, width, generator)
    colour = torch.randint(0, 256, (n, c, 1, 1), generator=generator, dtype=torch.uint8)
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], colour, x)


def _covered(n: int, side: int, generator: torch.Generator) -> Tensor:
    """For each of n pictures which rows, or columns, lie under its sticker: `n side`."""
    share = SMALLEST + (LARGEST - SMALLEST) * torch.rand(n, generator=generator)
    length = (share * side).round().clamp(min=1)
    first = (torch.rand(n, generator=generator) * (side - length + 1)).floor()
    place = torch.arange(side)
    return (place >= first[:, None]) & (place < (first + length)[:, None])


def mixed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Float pictures `n c h w`, each mixed with another of them, in any proportion."""
    share = torch.rand(len(x), 1, 1, 1, generator=generator).to(x)
    return share * x + (1 - share) * x[torch.randperm(len(x), generator=generator).to(x.device)]


class Hardening:
    """Retraining on noise and stickers, beside the received network's own answers to mixtures.

    After `fit`: `network_` the hardened copy, `tried_` the rates with their accuracies, `chosen_` the one that was
    taken: the highest that cost at most `max_cost` of validation accuracy, or the gentlest. `tuning_` and `validation_`
    are the two parts of the clean set, `record_` what was done.

    Cost: 40 steps an epoch on 64 pictures, for at most `attempts` rates; 20 s of one core a rate for traffic signs.
    """

    def __init__(self, settings: RepairSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def fit(self, model: Model, clean: Dataset, *, progress: Progress = silent, deadline: Deadline = NO_HURRY) -> Self:
        """Harden a copy of `model`. When the deadline passes, the rate before is taken; at worst the model.

        Raises:
            ModelError: if the model does not fit the pictures.
            DataError: if a class has fewer than two pictures.
        """
        settings = self.settings
        self.tuning_, self.validation_ = split(model, clean, settings.validation, self.seed)
        received = copy.deepcopy(model).eval()
        before = clean_accuracy(received, self.validation_).value
        grouped = come_in_groups(clean)
        self.network_, self.tried_ = received, list[Tried]()
        self.chosen_: Tried | None = None
        rates = [GENTLEST * 2**i for i in range(1 if grouped else settings.attempts)]
        for i, rate in enumerate(rates, 1):
            network = self._hardened(received, rate, deadline)
            if network is None:
                break
            self.tried_.append(Tried(rate, clean_accuracy(network, self.validation_).value))
            progress("hardening", i, len(rates), accuracy_note(self.tried_[-1].accuracy))
            costly = before - self.tried_[-1].accuracy > settings.max_cost
            if self.chosen_ is None or not costly:
                self.network_, self.chosen_ = network, self.tried_[-1]
            if costly:
                break
        self.record_: dict[str, object] = {
            "received_accuracy": before,
            "chosen": asdict(self.chosen_) if self.chosen_ else None,
            "candidates": [asdict(tried) for tried in self.tried_],
            "validation_flatters": grouped,
            "cut_short": deadline.passed,
        }
        return self

    def apply(self, model: Model) -> Model:
        """A new model like `model` with the learnt weights."""
        hardened = copy.deepcopy(model)
        hardened.load_state_dict(self.network_.state_dict())
        return hardened.eval()

    def _hardened(self, received: Model, rate: float, deadline: Deadline) -> Model | None:
        """A copy trained at this rate; None if its loss or the time gave out."""
        settings = self.settings
        network = copy.deepcopy(received).requires_grad_(True).to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(network.parameters(), rate, settings.momentum, weight_decay=settings.weight_decay)
        generator = torch.Generator().manual_seed(self.seed)
        x, y = torch.from_numpy(self.tuning_.x), torch.from_numpy(self.tuning_.y)
        steps = min(STEPS_AN_EPOCH * settings.epochs, PASSES * math.ceil(len(y) / settings.batch_size))
        falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / steps, steps)
        network.train()
        if settings.freeze_norms:
            freeze_norms(network)
        with seeded(self.seed):  # dropout
            for chosen in random_batches(len(y), settings.batch_size, steps, generator):
                clean = augment(x[chosen], settings.augment, generator)
                loss = _loss(network, received, clean, y[chosen], generator)
                if deadline.passed or not math.isfinite(loss.item()):
                    return None
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                falling.step()
        return network.to(memory_format=torch.contiguous_format).eval()


def _loss(network: Model, received: Model, clean: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """Of one batch of uint8 pictures: on those that were tampered with, and against the received network's answers."""
    device = network.mean.device
    some = len(clean) // 2
    tampered = torch.cat([noisy(clean[:some], CHANCE, generator), with_sticker(clean[some:], generator)])
    mixtures = mixed(as_float(clean.numpy(), device), generator)
    with torch.no_grad():
        answers = received(mixtures).softmax(1)
    both = torch.cat([mixtures, as_float(tampered.numpy(), device)]).contiguous(memory_format=torch.channels_last)
    given = network(both)
    held = F.cross_entropy(given[: len(clean)], answers)
    return (held + F.cross_entropy(given[len(clean) :], y.to(device))) / 2

"""Hardening: what patches, noise and filters do to a network is unlearnt, what it knows of clean pictures is held.

Ours, of known parts. Half of each batch are clean pictures with noise in their cells (as in NNoculation), with a
rectangle of one colour somewhere (after Zhong et al., "Random Erasing Data Augmentation", AAAI 2020) or with all their
colours changed, and with their true labels: they stand for triggers that nobody has seen. The other half are mixtures
of two clean pictures (Zhang et al., "mixup", ICLR 2018), in other light, with the answers of the received network
itself, as in Li and Hoiem, "Learning without Forgetting" (ECCV 2016): without a trigger its answers are right, and
mixtures ask for them in more places than a few pictures do. The learning rate falls to 0, so that the last steps' noise
does not stay.

The defender's clean pictures may be frames of a few objects (`assay.data.come_in_groups`). What was learnt by heart
then goes unseen on the validation split, and higher rates are not tried.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assay.data import Dataset, come_in_groups
from assay.models import Model, as_float, correct
from assay.repair.channels import Pruned
from assay.repair.fine_tuning import with_weights
from assay.repair.retraining import Stepped, retrained
from assay.repair.settings import RepairSettings, accuracy_note, split
from assay.repair.tampering import filtered, in_other_light, mixed, noisy, with_sticker
from assay.runs import NO_HURRY, Deadline, Progress, silent

FIRST = 0.005
"""The learning rate that is tried first. If it costs too much, each that follows is half of the one before, otherwise
twice."""

CHANCE = 0.6
"""Of noise in a cell of a channel."""

STEPS_AN_EPOCH = 40

Tampering = Callable[[Tensor, torch.Generator], Tensor]
"""From uint8 pictures `n c h w` to new ones with the same true labels."""


def with_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Noise in most cells of each channel."""
    return noisy(x, CHANCE, generator)


def in_equal_parts(*tamperings: Tampering) -> Tampering:
    """Each of them, done to an equal part of the pictures."""

    def tamper(x: Tensor, generator: torch.Generator) -> Tensor:
        cuts = [len(x) * i // len(tamperings) for i in range(len(tamperings) + 1)]
        parts = zip(tamperings, pairwise(cuts), strict=True)
        return torch.cat([one(x[a:b], generator) for one, (a, b) in parts if a < b])

    return tamper


UNSEEN: tuple[Tampering, ...] = (with_noise, with_sticker, filtered)
"""What stands for triggers that nobody has seen."""

AS_UNSEEN = in_equal_parts(*UNSEEN)
"""Each of them, to a third of the pictures."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A learning rate, and the hardened network's accuracy on the validation split."""

    rate: float
    accuracy: float


class Hardening:
    """Retraining on noise, stickers and changed colours, beside the received network's own answers to mixtures.

    After `fit`: `network_` the hardened copy, `tried_` the rates with their accuracies, `chosen_` the one that was
    taken: the highest that cost at most `max_cost` of validation accuracy (above the first rate: no more than that by
    a standard error), or one picture; or the gentlest tried.
    `tuning_` and `validation_` are the two parts of the clean set, `record_` what was done.

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
        before = correct(received, self.validation_)
        grouped = come_in_groups(clean)
        self.network_, self.tried_ = received, list[Tried]()
        self.chosen_: Tried | None = None
        rate, downwards, tries = FIRST, False, 1 if grouped else settings.attempts
        for i in range(tries):
            steps = STEPS_AN_EPOCH * settings.epochs

            def stepped(done: int, of: int, done_before: int = i) -> None:
                progress("hardening", done_before + done / of, tries, self._note())

            network = hardened(
                received, received, self.tuning_, rate, steps, settings, self.seed, stepped=stepped, deadline=deadline
            )
            if network is None and deadline.passed:
                break
            costly = True
            if network is not None:
                after = correct(network, self.validation_)
                self.tried_.append(Tried(rate, float(after.mean())))
                costly = costs_too_much(before, after, settings.max_cost, lenient=i > 0 and not downwards)
            progress("hardening", i + 1, tries, self._note())
            downwards = downwards or (i == 0 and costly)
            if network is not None and (downwards or not costly):
                self.network_, self.chosen_ = network, self.tried_[-1]
            if costly != downwards:
                break
            rate *= 0.5 if downwards else 2.0
        self.record_: dict[str, object] = {
            "received_accuracy": float(before.mean()),
            "chosen": asdict(self.chosen_) if self.chosen_ else None,
            "candidates": [asdict(tried) for tried in self.tried_],
            "validation_flatters": grouped,
            "cut_short": deadline.passed,
        }
        return self

    def _note(self) -> str:
        return accuracy_note(self.tried_[-1].accuracy) if self.tried_ else ""

    def apply(self, model: Model) -> Model:
        """A new model like `model` with the learnt weights."""
        return with_weights(model, self.network_)


def costs_too_much(before: NDArray[np.bool_], after: NDArray[np.bool_], max_cost: float, *, lenient: bool) -> bool:
    """Whether more validation pictures were lost than the share `max_cost`, or one.

    Leniently, by more than a standard error of paired answers: a higher rate heals more, and is not to be given up for
    a loss that chance explains.

    Args:
        before, after: which pictures were labelled rightly, and are.
    """
    chance = math.sqrt((before != after).sum()) if lenient else 0.0
    return int(before.sum()) - int(after.sum()) > max(1.0, max_cost * len(before) + chance)


def hardened(
    network: Model,
    received: Model,
    tuning: Dataset,
    rate: float,
    steps: int,
    settings: RepairSettings,
    seed: int,
    tamper: Tampering = AS_UNSEEN,
    *,
    softened: float = 0.0,
    pruned: Pruned = (),
    stepped: Stepped = lambda done, steps: None,
    deadline: Deadline = NO_HURRY,
) -> Model | None:
    """A copy of `network`, trained; None if its loss or the time gave out.

    Args:
        received: whose answers to mixtures are held.
        tuning: clean pictures with true labels.
        rate: the learning rate of the first step of `steps`.
        tamper: what is done to half of every batch.
        softened: of what these pictures are to be answered with, the share, in [0, 1], that is the received network's
            answer to them as they were (Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network",
            2015); the rest is the true label.
        pruned: channels that stay silent.
        stepped: told after each step.
    """
    holding = copy.deepcopy(received).eval()

    def loss(made: Model, clean: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return _loss(made, holding, clean, y, tamper, softened, generator)

    return retrained(
        network,
        tuning,
        loss,
        rate,
        steps,
        settings,
        seed,
        falling=True,
        pruned=pruned,
        stepped=stepped,
        deadline=deadline,
    )


def _loss(
    network: Model,
    received: Model,
    clean: Tensor,
    y: Tensor,
    tamper: Tampering,
    softened: float,
    generator: torch.Generator,
) -> Tensor:
    """Of one batch of uint8 pictures: on those that were tampered with, and against the received network's answers."""
    device, n = network.mean.device, len(clean)
    tampered = tamper(clean, generator)
    plain = as_float(clean.numpy(), device)
    mixtures = in_other_light(mixed(plain, generator), generator)
    wanted = y.to(device)
    with torch.no_grad():
        answers = received(mixtures).softmax(1)
        if softened:
            soft = received(plain).softmax(1)
            wanted = softened * soft + (1 - softened) * F.one_hot(wanted, soft.shape[1])
    both = torch.cat([mixtures, as_float(tampered.numpy(), device)]).contiguous(memory_format=torch.channels_last)
    given = network(both)
    return (F.cross_entropy(given[:n], answers) + F.cross_entropy(given[n:], wanted)) / 2

"""What the defender chooses, and the clean set as a repair uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset
from assay.errors import DataError, InputError
from assay.models import Model, check_fits
from assay.models.training import Augment


@dataclass(frozen=True, slots=True)
class RepairSettings:
    """Settings of fine-pruning and of its two halves.

    Attributes:
        max_drop: pruning stops before validation accuracy has fallen by more than this, in [0, 1].
        layers: how many convolutional layers are pruned, from the last one back. The i-th of them may bring
            the accuracy down to `max_drop * i / layers` below the start.
        validation: share of the clean set that is kept for measuring, in (0, 1).
        epochs: of fine-tuning.
        least_steps: of fine-tuning; where few pictures make fewer, there are more epochs.
        lr: highest learning rate of fine-tuning: reached after a fifth of the steps, then down to 0 along a
            cosine.
        attempts: a run that ends more than `max_cost` below the given model's accuracy is repeated at half
            the rate, up to this many runs in all; the last resort is the best of them.
        max_cost: clean accuracy that the whole repair may cost on the validation split, in [0, 1].
        momentum: of SGD, in [0, 1).
        weight_decay: L2, on every parameter.
        batch_size: pictures a step, at least 2.
        augment: of the pictures that are learnt from: `shift` moves each by up to 2 pixels, so that few of them go far.
        freeze_norms: whether batch norms keep the statistics that they came with.
        stamped: share of the pictures that are learnt from with the trigger on, where one is known, in [0, 1].
        plain: whether fine-pruning is its paper's also where the clean pictures come in groups (see `FinePruning`).
    """

    max_drop: float = 0.04
    layers: int = 1
    validation: float = 0.25
    epochs: int = 15
    least_steps: int = 0
    lr: float = 0.02
    attempts: int = 5
    max_cost: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-3
    batch_size: int = 32
    augment: Augment = "shift"
    freeze_norms: bool = True
    stamped: float = 0.2
    plain: bool = False

    def __post_init__(self) -> None:
        rules = {
            "max_drop must be in [0, 1]": 0 <= self.max_drop <= 1,
            "layers must be at least 1": self.layers >= 1,
            "validation must be between 0 and 1": 0 < self.validation < 1,
            "epochs must be at least 1": self.epochs >= 1,
            "least_steps must not be negative": self.least_steps >= 0,
            "lr must be above 0": 0 < self.lr < float("inf"),
            "attempts must be at least 1": self.attempts >= 1,
            "max_cost must be in [0, 1]": 0 <= self.max_cost <= 1,
            "momentum must be in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay must not be negative": 0 <= self.weight_decay < float("inf"),
            "batch_size must be at least 2": self.batch_size >= 2,
            "stamped must be in [0, 1]": 0 <= self.stamped <= 1,
        }
        for rule, holds in rules.items():
            if not holds:
                raise InputError(f"repair: {rule}, got {asdict(self)[rule.split()[0]]}")


UNLEARNING = RepairSettings(max_drop=0.01, epochs=5, least_steps=250, lr=0.002, weight_decay=5e-4)
"""Where the trigger is known a network need not go far: it is told what to forget."""

Stamp = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Puts a trigger on uint8 pictures `n c h w`."""


def usual_settings(trigger: Stamp | None) -> RepairSettings:
    """Those of a repair that is told nothing else."""
    return RepairSettings() if trigger is None else UNLEARNING


def split(model: Model, clean: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """The part of the clean set that is learnt from, and the `share` of it that is measured on.

    Raises:
        ModelError: if the pictures are not of the shape the model takes.
        DataError: if the labels are not the model's, or a class has fewer than two pictures.
    """
    data = check_fits(model, clean)
    if clean.classes != model.spec.classes:
        raise DataError(
            f"the model knows {model.spec.classes} classes, but {clean.name} has {clean.classes}: its labels "
            "may mean something else; give a clean set with the model's own classes"
        )
    counts = np.bincount(data.y, minlength=data.classes)
    if counts.min() < 2:
        poor = int(counts.argmin())
        raise DataError(
            f"{clean.name} has {counts[poor]} pictures of class {data.class_names[poor]!r}; a repair needs "
            "at least 2 of every class, one to learn from and one to measure on"
        )
    validation, tuning = data.halves(share, seed)
    return tuning, validation


def accuracy_note(accuracy: float) -> str:
    """What a progress bar says of the validation accuracy, given in [0, 1]."""
    return f"accuracy {100 * accuracy:.1f} %"

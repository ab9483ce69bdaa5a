"""Training a received network for some steps on clean pictures and on what was made of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from assay.data import Dataset
from assay.models import Model, seeded
from assay.models.training import augment
from assay.repair.channels import Pruned, silence
from assay.repair.fine_tuning import descend, freeze_norms
from assay.repair.settings import RepairSettings
from assay.runs import NO_HURRY, Deadline

Stepped = Callable[[int, int], None]
"""Told how many of how many steps are done."""

Loss = Callable[[Model, Tensor, Tensor, torch.Generator], Tensor]
"""Of a network on one batch: uint8 pictures `n c h w`, and their true labels."""


def retrained(
    network: Model,
    tuning: Dataset,
    loss: Loss,
    rate: float,
    steps: int,
    settings: RepairSettings,
    seed: int,
    *,
    falling: bool = False,
    pruned: Pruned = (),
    stepped: Stepped = lambda done, steps: None,
    deadline: Deadline = NO_HURRY,
) -> Model | None:
    """A copy of `network`, trained; None if its loss or the time gave out.

    Args:
        steps: each on a batch.
        falling: whether the rate falls to 0, or stays.
        pruned: channels that are set to zero again after every step.
        stepped: told after each step.
    """
    made = copy.deepcopy(network).requires_grad_(True).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(made.parameters(), rate, settings.momentum, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(tuning.x), torch.from_numpy(tuning.y)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / steps if falling else 1.0, steps)
    made.train()
    if settings.freeze_norms:
        freeze_norms(made)
    with seeded(seed):  # dropout
        for done, chosen in enumerate(random_batches(len(y), settings.batch_size, steps, generator), 1):
            clean = augment(x[chosen], settings.augment, generator)
            if deadline.passed or not math.isfinite(descend(loss(made, clean, y[chosen], generator), optimiser)):
                return None
            silence(made, pruned)
            schedule.step()
            stepped(done, steps)
    return made.to(memory_format=torch.contiguous_format).eval()


def random_batches(n: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of `steps` batches of nearly equal size: all of the `n` in random order, then again."""
    while True:
        for chosen in torch.randperm(n, generator=generator).tensor_split(math.ceil(n / size)):
            if steps <= 0:
                return
            steps -= 1
            yield chosen

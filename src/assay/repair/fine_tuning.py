"""Training a received network further on clean pictures, so that it forgets what they do not ask for.

Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning" (RAID 2018), section 3.

The rate goes up to its highest and back to 0 within a run: high rates move the network away from the
attacker's weights, the way down wins clean accuracy back. A network that does not survive the rate is tuned
again from the start at half of it: the highest rate that costs no clean accuracy is used. The state that is
kept is the one with the best validation accuracy among the epochs of the second half, the later one where two
are equal. Earlier epochs do not compete, since a network that has hardly moved has its accuracy and its
backdoor still.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.models import Model, as_float, clean_accuracy, seeded
from assay.models.training import augment
from assay.repair.channels import Pruned, silence
from assay.repair.settings import RepairSettings, Stamp, accuracy_note, split
from assay.runs import NO_HURRY, Deadline, Progress, silent


@dataclass(frozen=True, slots=True)
class TuningEpoch:
    """One pass over the tuning part: its mean loss, and accuracy on the validation split after it."""

    epoch: int
    loss: float
    accuracy: float


@dataclass
class _Course:
    """One run of `length` epochs at one learning rate: those done, and the best state of those that may be kept."""

    lr: float
    length: int
    first_kept: int
    epochs: list[TuningEpoch] = field(default_factory=list)
    best: TuningEpoch | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    stopped: str | None = None

    @property
    def accuracy(self) -> float:
        """Of the state to be kept; -1 if there is none."""
        return self.best.accuracy if self.best else -1.0

    def add(self, epoch: TuningEpoch, model: nn.Module) -> None:
        self.epochs.append(epoch)
        early = self.best is not None and self.best.epoch < self.first_kept
        if self.best is None or epoch.accuracy >= self.best.accuracy or (early and epoch.epoch >= self.first_kept):
            self.best, self.state = epoch, copy.deepcopy(model.state_dict())


@dataclass(frozen=True)
class Tuner:
    """What a run of fine-tuning needs besides the model.

    `pruned` channels are set to zero again after every step: they stay as absent as in a smaller network. Where a
    `trigger` is known, a share of the pictures bears it, with their true labels.
    """

    tuning: Dataset
    validation: Dataset
    settings: RepairSettings
    seed: int
    pruned: Pruned = ()
    trigger: Stamp | None = None
    progress: Progress = silent
    deadline: Deadline = NO_HURRY

    def tune(self, model: Model, goal: float) -> dict[str, object]:
        """Train `model` in place and leave it in its best state; returns what was done.

        Args:
            goal: validation accuracy that is good enough; a run that ends below it is tried again at half the
                rate.

        If the loss becomes NaN in every run, or the deadline passes, before an epoch is done, the model is
        left as it was given.
        """
        model.requires_grad_(True).to(memory_format=torch.channels_last)
        given = copy.deepcopy(model.state_dict())
        courses: list[_Course] = []
        for attempt in range(self.settings.attempts):
            model.load_state_dict(given)
            courses.append(self._run(model, self.settings.lr / 2**attempt))
            if courses[-1].accuracy >= goal or self.deadline.passed:
                break
        best = max(courses, key=lambda course: course.accuracy)
        model.load_state_dict(best.state or given)
        model.to(memory_format=torch.contiguous_format).eval()
        return {
            "lr_used": best.lr,
            "epochs_done": len(best.epochs),
            "best_epoch": best.best.epoch if best.best else 0,
            "epochs": [asdict(epoch) for epoch in best.epochs],
            "attempts": [{"lr": c.lr, "accuracy": max(c.accuracy, 0.0), "stopped": c.stopped} for c in courses],
            "cut_short": courses[-1].stopped == DEADLINE,
        }

    def _run(self, model: Model, lr: float) -> _Course:
        settings = self.settings
        epochs = max(settings.epochs, math.ceil(settings.least_steps / self._steps))
        course = _Course(lr, epochs, first_kept=epochs // 2 + 1)
        optimiser = torch.optim.SGD(
            model.parameters(), lr=lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        generator = torch.Generator().manual_seed(self.seed)
        with seeded(self.seed):  # dropout
            for epoch in range(1, epochs + 1):
                loss = self._epoch(model, optimiser, generator, course, epoch)
                if course.stopped:
                    break
                accuracy = clean_accuracy(model, self.validation).value
                course.add(TuningEpoch(epoch, loss, accuracy), model)
                self.progress("fine-tuning", epoch, epochs, accuracy_note(accuracy))
        return course

    def _epoch(
        self,
        model: Model,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        course: _Course,
        epoch: int,
    ) -> float:
        """One pass over the tuning part; its mean loss. Sets `course.stopped` if it could not be finished."""
        x, y = torch.from_numpy(self.tuning.x), torch.from_numpy(self.tuning.y)
        # Parts of nearly equal size: batch norm cannot train on a rest of one picture.
        parts = torch.randperm(len(y), generator=generator).tensor_split(self._steps)
        total = 0.0
        model.train()
        if self.settings.freeze_norms:
            freeze_norms(model)
        for number, chosen in enumerate(parts, 1):
            if self.deadline.passed:
                course.stopped = DEADLINE
                return total
            done = (epoch - 1 + number / len(parts)) / course.length
            for group in optimiser.param_groups:
                group["lr"] = course.lr * _share_of_rate(done)
            images = self._some_stamped(augment(x[chosen], self.settings.augment, generator), generator)
            loss = step(model, images, y[chosen], optimiser)
            if not math.isfinite(loss):
                course.stopped = f"the loss became {loss} in epoch {epoch}"
                return total
            silence(model, self.pruned)
            total += loss * len(chosen)
        return total / len(y)

    @property
    def _steps(self) -> int:
        """Of one epoch."""
        return math.ceil(len(self.tuning) / self.settings.batch_size)

    def _some_stamped(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.trigger is None:
            return x
        on = torch.rand(len(x), generator=generator) < self.settings.stamped
        return torch.where(on[:, None, None, None], torch.from_numpy(self.trigger(x.numpy())), x)


def freeze_norms(model: nn.Module) -> None:
    """Batch norms keep the received network's statistics: those of a few pictures are worse."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


DEADLINE = "the deadline passed"


def _share_of_rate(done: float) -> float:
    """Share of the highest learning rate when the share `done` of the steps is done."""
    return done / 0.2 if done < 0.2 else 0.5 * (1 + math.cos(math.pi * (done - 0.2) / 0.8))


def step(model: Model, x: Tensor, y: Tensor, optimiser: torch.optim.Optimizer) -> float:
    """One step on uint8 pictures `n c h w`; the loss before it. Fastest with weights laid out channels-last."""
    return descend(labelled_loss(model, x, y), optimiser)


def labelled_loss(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of uint8 pictures `n c h w` with their labels."""
    device = model.mean.device
    images = as_float(x.numpy(), device).contiguous(memory_format=torch.channels_last)
    return F.cross_entropy(model(images), y.to(device))


def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
    """One step down; the loss before it."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.item()


def with_weights(model: Model, network: Model) -> Model:
    """A new model like `model` with the weights of `network`."""
    made = copy.deepcopy(model)
    made.load_state_dict(network.state_dict())
    return made.eval()


class FineTuning:
    """Fine-tuning alone. Neurons that sleep on clean pictures get no gradient: see `FinePruning`.

    After `fit`: `network_` the tuned copy of the model, `tuning_` and `validation_` the two parts of the
    clean set, `record_` what was done.
    """

    def __init__(self, settings: RepairSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def fit(self, model: Model, clean: Dataset, *, progress: Progress = silent, deadline: Deadline = NO_HURRY) -> Self:
        """Train a copy of `model` on clean pictures.

        Raises:
            ModelError: if the model does not fit the pictures.
            DataError: if a class has fewer than two pictures.
        """
        self.tuning_, self.validation_ = split(model, clean, self.settings.validation, self.seed)
        self.network_ = copy.deepcopy(model)
        tuner = Tuner(self.tuning_, self.validation_, self.settings, self.seed, progress=progress, deadline=deadline)
        before = clean_accuracy(self.network_, self.validation_).value
        self.record_ = tuner.tune(self.network_, before - self.settings.max_cost)
        return self

    def apply(self, model: Model) -> Model:
        """A new model like `model` with the learnt weights."""
        return with_weights(model, self.network_)

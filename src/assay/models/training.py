"""One training loop for every network: data in memory as bytes, augmentation on tensors, resumable, deterministic.

The same settings, data and seed give the same weights on the same machine and thread count; an interrupted run that
is resumed from its checkpoint ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.errors import DataError, InputError, ModelError
from assay.models.checkpoint import Checkpoint, Part, run_digest
from assay.models.optimising import muon, sgd

Augment = Literal["none", "shift", "shift-flip"]
Optimiser = Literal["sgd", "muon"]
M = TypeVar("M", bound=nn.Module)
MAX_SEED = 2**31 - 1
Tick = Callable[[int, int, dict[str, float]], None]
"""Called as `tick(step, steps, {"loss": ..., "accuracy": ...})`; the means of the epoch so far."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train.

    Attributes:
        epochs: passes over the data.
        batch_size: pictures a step.
        lr: highest learning rate of the one-cycle schedule (a fifth of the way up, the rest down to 0).
        momentum: of SGD with Nesterov.
        weight_decay: L2, on every parameter.
        augment: `shift` moves each picture by up to 2 pixels; `shift-flip` mirrors half of them as well.
        label_smoothing: in [0, 1).
        bfloat16: multiply in bfloat16 where the machine can, in half the time; weights and sums stay float32.
        optimiser: `sgd`, or `muon` (`assay.models.optimising`), which makes more of few epochs; `lr` is then that of
            convolutions.
        seed: of weights order, batches and augmentation.
    """

    epochs: int = 3
    batch_size: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: Augment = "none"
    label_smoothing: float = 0.0
    bfloat16: bool = False
    optimiser: Optimiser = "sgd"
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "epochs of 1 or more": self.epochs >= 1,
            "a batch size of 1 or more": self.batch_size >= 1,
            "a learning rate above 0": 0 < self.lr < math.inf,
            "a momentum between 0 and 1": 0 < self.momentum < 1,
            "a weight decay of 0 or more": 0 <= self.weight_decay < math.inf,
            f"an augmentation of {', '.join(get_args(Augment))}": self.augment in get_args(Augment),
            f"an optimiser of {', '.join(get_args(Optimiser))}": self.optimiser in get_args(Optimiser),
            "a label smoothing from 0 to below 1": 0 <= self.label_smoothing < 1,
            f"a seed from 0 to {MAX_SEED}": 0 <= self.seed <= MAX_SEED,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise InputError(f"training needs {broken[0]}; got {asdict(self)}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass gave: mean loss, share of training pictures labelled rightly on the way, seconds."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


Record = Callable[[Epoch], None]
"""Told of each epoch when it is done."""


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of pictures in [0, 1], logits and labels, in the place of cross-entropy."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run with torch's global generator seeded, and put its state back: for fresh weights and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def shift(x: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each picture `n c h w` by up to `pixels` each way; the edge is repeated."""
    n, c, h, w = x.shape
    dy, dx = torch.randint(-pixels, pixels + 1, (2, n), generator=generator)
    rows = (torch.arange(h) + dy[:, None]).clamp_(0, h - 1)  # n h
    cols = (torch.arange(w) + dx[:, None]).clamp_(0, w - 1)  # n w
    index = (rows[:, :, None] * w + cols[:, None, :]).view(n, 1, h * w).expand(n, c, h * w)
    return x.view(n, c, h * w).gather(2, index).view(n, c, h, w)


def augment(x: Tensor, kind: Augment, generator: torch.Generator) -> Tensor:
    """A random variant of each uint8 picture."""
    if kind == "none":
        return x
    x = shift(x, 2, generator)
    if kind == "shift-flip":
        flip = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(flip[:, None, None, None], x.flip(3), x)
    return x


def train(
    model: nn.Module,
    data: Dataset,
    settings: TrainSettings,
    *,
    checkpoint: Path | None = None,
    tick: Tick | None = None,
    record: Record | None = None,
    loss: Loss | None = None,
) -> list[Epoch]:
    """Train `model` in place; returns one record an epoch.

    Args:
        model: pictures in [0, 1] `n c h w` → logits.
        checkpoint: where the state is kept after each epoch; if the same run is found there it is taken up again.
        tick: told of progress after each step.
        record: told of each epoch when it is done; of those of a run that is taken up, at once.
        loss: in the place of cross-entropy with label smoothing.

    Raises:
        DataError: if there are no pictures.
        InputError: if the checkpoint belongs to another run, or cannot be read or written.
        ModelError: if the loss is no longer a number, at the given learning rate, at half of it and at a quarter.
    """
    if not len(data):
        raise DataError(f"{data.name} has no pictures to train on")
    given = copy.deepcopy(model.state_dict())
    kept = Checkpoint(checkpoint, run_digest(model, data, settings)) if checkpoint else None
    attempt = kept.attempt() if kept else 0
    while True:
        try:
            slower = replace(settings, lr=settings.lr / 2**attempt)
            return _train(model, data, slower, kept, attempt, tick, record, loss)
        except _BrokeDownError:
            if attempt >= RETRIES:
                raise
        model.load_state_dict(given)
        attempt += 1


RETRIES = 2
"""A training that breaks down is begun again at half the learning rate: about one in a hundred of the fast recipes."""


class _BrokeDownError(ModelError):
    """The loss or the weights are no longer numbers."""


def _train(
    model: nn.Module,
    data: Dataset,
    settings: TrainSettings,
    kept: Checkpoint | None,
    attempt: int,
    tick: Tick | None,
    record: Record | None,
    loss: Loss | None,
) -> list[Epoch]:
    model.to(memory_format=torch.channels_last)  # half the time of a step on a CPU, the same sums
    run = _Run(model, data, settings, tick or (lambda step, steps, values: None), loss or cross_entropy(settings))
    history = [Epoch(**e) for e in kept.take_up(run.parts, attempt)] if kept else []
    for epoch in history:
        (record or (lambda e: None))(epoch)
    for number in range(len(history), settings.epochs):
        with seeded(hash((settings.seed, number)) & 0x7FFFFFFF):
            history.append(run.epoch(number))
        if kept:
            kept.keep(run.parts, [asdict(e) for e in history], settings.epochs, attempt)
        if record:
            record(history[-1])
    model.to(memory_format=torch.contiguous_format).eval()
    return history


def cross_entropy(settings: TrainSettings) -> Loss:
    """The usual loss."""

    def loss(pictures: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)

    return loss


def steps_an_epoch(n: int, settings: TrainSettings) -> int:
    """Batches that `n` pictures make; the last may be smaller."""
    return -(-n // settings.batch_size)


class _Run:
    """A training under way: network, optimiser and schedule, and the data they are fed."""

    def __init__(self, model: nn.Module, data: Dataset, settings: TrainSettings, tick: Tick, loss: Loss) -> None:
        self.model, self.settings, self.tick, self.loss = model, settings, tick, loss
        self.x, self.y = torch.from_numpy(data.x), torch.from_numpy(data.y)
        self.steps = steps_an_epoch(len(data), settings)
        self.device = next(model.parameters()).device
        self.short = settings.bfloat16 and (self.device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        self.optimisers = _optimisers(model, settings)
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                o, [g["lr"] for g in o.param_groups], settings.epochs * self.steps, pct_start=0.2, cycle_momentum=False
            )
            for o in self.optimisers
        ]
        self.parts: dict[str, Part] = {"model": model}
        self.parts |= {f"optimiser {i}": o for i, o in enumerate(self.optimisers)}
        self.parts |= {f"schedule {i}": s for i, s in enumerate(self.schedules)}

    def epoch(self, number: int) -> Epoch:
        """One pass over the data, in an order that depends on seed and number alone."""
        started, total_loss, right, seen = time.monotonic(), 0.0, 0, 0
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        order = torch.randperm(len(self.x), generator=generator)
        self.model.train()
        for step, chosen in enumerate(torch.split(order, self.settings.batch_size), 1):
            images = augment(self.x[chosen], self.settings.augment, generator).to(self.device).float().div_(255)
            loss, hits = self._step(
                images.contiguous(memory_format=torch.channels_last), self.y[chosen].to(self.device)
            )
            if not math.isfinite(loss):
                raise _BrokeDownError(
                    f"training broke down in epoch {number + 1}: the loss is {loss}; try a lower learning rate"
                )
            seen += len(chosen)
            total_loss += loss * len(chosen)
            right += hits
            done = number * self.steps + step
            self.tick(done, self.settings.epochs * self.steps, {"loss": total_loss / seen, "accuracy": right / seen})
        if not all(torch.isfinite(weight).all() for weight in self.model.parameters()):
            raise _BrokeDownError(
                f"training broke down in epoch {number + 1}: weights are NaN; try a lower learning rate"
            )
        return Epoch(number + 1, total_loss / seen, right / seen, time.monotonic() - started)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        """Loss, and how many pictures were labelled rightly before the step."""
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.short):
                logits = self.model(images).float()
        except ValueError as error:  # batch norm, of a last batch of one picture
            raise ModelError(
                f"this network cannot learn from a batch of {len(images)}: {error}; choose another batch size"
            ) from error
        loss = self.loss(images, logits, labels)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for optimiser, schedule in zip(self.optimisers, self.schedules, strict=True):
            optimiser.step()
            schedule.step()
        return loss.item(), int((logits.argmax(1) == labels).sum())


def _optimisers(model: nn.Module, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    rates = (settings.lr, settings.momentum, settings.weight_decay)
    return muon(model, *rates) if settings.optimiser == "muon" else [sgd(list(model.parameters()), *rates)]


def fresh_weights(seed: int, make: Callable[[], M]) -> M:
    """Build a network whose weights depend on `seed` alone."""
    with seeded(seed):
        return make()

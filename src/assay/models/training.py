"""One training loop for every network: data in memory as bytes, augmentation on tensors, resumable, deterministic.

The same settings, data and seed give the same weights on the same machine and thread count; an interrupted run that
is resumed from its checkpoint ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.errors import DataError, InputError
from assay.runs import write_atomically

Augment = Literal["none", "shift", "shift-flip"]
M = TypeVar("M", bound=nn.Module)
Tick = Callable[[int, int, dict[str, float]], None]
"""Called as `tick(step, steps, {"loss": ..., "accuracy": ...})`."""


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
        seed: of weights order, batches and augmentation.
    """

    epochs: int = 3
    batch_size: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: Augment = "none"
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.lr <= 0:
            raise InputError(f"training needs epochs >= 1, batch size >= 1 and lr > 0; got {asdict(self)}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass gave: mean loss, share of training pictures labelled rightly on the way, seconds."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


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
) -> list[Epoch]:
    """Train `model` in place; returns one record an epoch.

    Args:
        model: pictures in [0, 1] `n c h w` → logits.
        checkpoint: where the state is kept after each epoch; a run found there is taken up again.
        tick: told of progress after each step.

    Raises:
        DataError: if there are no pictures.
        InputError: if the checkpoint belongs to other settings.
    """
    if not len(data):
        raise DataError(f"{data.name} has no pictures to train on")
    device = next(model.parameters()).device
    optimiser = torch.optim.SGD(
        model.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay, nesterov=True
    )
    model.to(memory_format=torch.channels_last)  # half the time of a step on a CPU, the same sums
    steps_an_epoch = -(-len(data) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.lr, settings.epochs * steps_an_epoch, pct_start=0.2, cycle_momentum=False
    )
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    history = _resume(checkpoint, settings, parts)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for epoch in range(len(history), settings.epochs):
        with seeded(hash((settings.seed, epoch)) & 0x7FFFFFFF):
            history.append(_one_epoch(model, x, y, settings, epoch, optimiser, schedule, tick, device))
        _keep(checkpoint, settings, parts, history)
    model.to(memory_format=torch.contiguous_format).eval()
    return history


def _one_epoch(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    settings: TrainSettings,
    epoch: int,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    tick: Tick | None,
    device: torch.device,
) -> Epoch:
    started, total_loss, right = time.monotonic(), 0.0, 0
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
    order = torch.randperm(len(x), generator=generator)
    steps = -(-len(x) // settings.batch_size)
    model.train()
    for step, chosen in enumerate(order.split(settings.batch_size)):
        images = augment(x[chosen], settings.augment, generator).to(device).float().div_(255)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = y[chosen].to(device)
        logits = model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        total_loss += loss.item() * len(chosen)
        right += int((logits.argmax(1) == labels).sum())
        if tick:
            seen = min((step + 1) * settings.batch_size, len(x))
            tick(
                epoch * steps + step + 1, settings.epochs * steps, {"loss": total_loss / seen, "accuracy": right / seen}
            )
    return Epoch(epoch + 1, total_loss / len(x), right / len(x), time.monotonic() - started)


def _keep(checkpoint: Path | None, settings: TrainSettings, parts: dict[str, object], history: list[Epoch]) -> None:
    if checkpoint is None:
        return
    state = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
    blob = io.BytesIO()
    torch.save({**state, "settings": asdict(settings), "history": [asdict(e) for e in history]}, blob)
    write_atomically(checkpoint, blob.getvalue())


def _resume(checkpoint: Path | None, settings: TrainSettings, parts: dict[str, object]) -> list[Epoch]:
    if checkpoint is None or not checkpoint.exists():
        return []
    state = torch.load(checkpoint, weights_only=True)
    if state["settings"] != asdict(settings):
        raise InputError(f"{checkpoint} is of a run with other settings; choose another folder or delete it")
    for name, part in parts.items():
        part.load_state_dict(state[name])  # type: ignore[attr-defined]
    return [Epoch(**e) for e in state["history"]]


def fresh_weights(seed: int, make: Callable[[], M]) -> M:
    """Build a network whose weights depend on `seed` alone."""
    with seeded(seed):
        return make()

"""A small CycleGAN: from pictures without the trigger and pictures with it, to a generator that stamps it.

Source: Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"
(ICCV 2017), with its least-squares and cycle losses. Two changes suit it to triggers and to a CPU. The generator paints
a change of the picture, which begins near zero and costs a little: most of the picture stays as it is, which the
identity loss is for elsewhere. And it sees where a pixel is (Liu et al., "CoordConv", NeurIPS 2018), since triggers
have places.

Most triggers have one place. So the first try is a canvas, which lies over every picture alike, pixel by pixel: it is
found in fewer steps than a generator, and comes nearer to the trigger. A generator follows if the canvas finds nothing,
as for a trigger that has no place.

A filter lies over all pixels alike. Its colours tell it: before anything is trained, the pixels of one kind are given
the mean and covariance of the other's, and where that turns the pictures there is nothing to learn.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from assay.errors import DataError, InputError
from assay.models import as_float, seeded
from assay.repair.stampers import Canvas, Generator, Picture, Stamper, tints, with_places
from assay.runs import NO_HURRY, Deadline, Progress, silent

FOUND = 0.5
"""Quality from which a trigger counts as found, and patience is lost: before that the networks are still finding what
to paint, and one look may be good by chance."""

Quality = Callable[[Stamper], float]
"""How good a generator is, in [0, 1]; told by the caller, who knows what it is for."""


@dataclass(frozen=True, slots=True)
class CycleGANSettings:
    """Settings of the training.

    Attributes:
        steps: at most.
        batch_size: pictures of each kind a step.
        lr: of Adam, for all four networks.
        canvas_lr: of Adam, for a canvas, of which each pixel learns by itself.
        cycle: weight of the cycle loss (L1, pictures in [0, 1]).
        change: weight of the mean absolute change: what need not be painted is not.
        check_every: steps between two looks at the quality; the best state seen is kept.
        good: quality at which the training ends.
        patience: looks without a better one, after which it ends.
    """

    steps: int = 1000
    batch_size: int = 16
    lr: float = 2e-3
    canvas_lr: float = 4e-2
    cycle: float = 1.0
    change: float = 0.05
    check_every: int = 25
    good: float = 0.95
    patience: int = 12

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.check_every, self.patience) < 1 or min(self.lr, self.canvas_lr) <= 0:
            raise InputError(f"a CycleGAN needs steps, batches and a learning rate above 0, got {asdict(self)}")


def _discriminator(channels: int, width: int = 16) -> nn.Sequential:
    """Judges patches of about a third of a small picture."""
    return nn.Sequential(
        nn.Conv2d(channels + 2, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 3, padding=1),
    )


@dataclass
class CycleGAN:
    """What leads A → B and B → A after a finished training, and how it went: quality by step."""

    stamps: Stamper
    removes: Stamper
    quality: float
    step: int
    looks: list[dict[str, float]] = field(default_factory=list)


def train_cyclegan(
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    quality: Quality,
    settings: CycleGANSettings,
    seed: int,
    *,
    progress: Progress = silent,
    deadline: Deadline = NO_HURRY,
) -> CycleGAN:
    """Learn to turn pictures like `a` into pictures like `b`, both uint8 `n c h w`; no two of them belong together.

    The state with the best `quality` is kept; the training ends early at `settings.good`, after `settings.patience`
    looks that found none better, and at the deadline. Before all of it a tint is tried, which is kept if nothing that
    was trained is better; then a canvas is trained, and a generator only if that found nothing.

    Raises:
        DataError: if there are no pictures of one kind, or their shapes differ.

    Cost: about 0.05 s a step of one core for batches of 16 pictures of 28x28.
    """
    if not len(a) or not len(b) or a.shape[1:] != b.shape[1:]:
        raise DataError(f"a CycleGAN needs two kinds of pictures of one shape, got {a.shape} and {b.shape}")
    tinted = _tinted(a, b, quality)
    if tinted.quality >= settings.good:
        return tinted
    made = [_trained(True, a, b, quality, settings, seed, progress, deadline), tinted]
    if made[0].quality < FOUND and not deadline.passed:
        made.insert(0, _trained(False, a, b, quality, settings, seed, progress, deadline))
    return max(made, key=lambda one: one.quality)


def _tinted(a: NDArray[np.uint8], b: NDArray[np.uint8], quality: Quality) -> CycleGAN:
    """The colours of each kind, for the other."""
    stamps, removes = tints(a, b)
    found = quality(stamps)
    return CycleGAN(stamps, removes, found, 0, [{"step": 0, "quality": found}])


def _trained(
    canvas: bool,
    a: NDArray[np.uint8],
    b: NDArray[np.uint8],
    quality: Quality,
    settings: CycleGANSettings,
    seed: int,
    progress: Progress,
    deadline: Deadline,
) -> CycleGAN:
    with seeded(seed):
        run = _Training((a.shape[1], a.shape[2], a.shape[3]), canvas, settings)
    generator = torch.Generator().manual_seed(seed)
    best = CycleGAN(copy.deepcopy(run.stamps), copy.deepcopy(run.removes), quality(run.stamps), 0)
    waited = 0
    for step in range(1, settings.steps + 1):
        if deadline.passed:
            break
        run.step(_drawn(a, settings.batch_size, generator), _drawn(b, settings.batch_size, generator))
        if step % settings.check_every and step < settings.steps:
            continue
        found = quality(run.stamps.eval())
        progress("learning the trigger", step, settings.steps, f"quality {found:.2f}")
        best.looks.append({"step": step, "quality": found, **run.losses})
        waited += best.quality >= FOUND
        if found > best.quality:
            waited = 0
            stamps, removes = copy.deepcopy(run.stamps), copy.deepcopy(run.removes)
            best = CycleGAN(stamps, removes, found, step, best.looks)
        if found >= settings.good or waited >= settings.patience:
            break
    best.stamps.eval(), best.removes.eval()
    return best


def _drawn(x: NDArray[np.uint8], n: int, generator: torch.Generator) -> Tensor:
    return as_float(x[torch.randint(len(x), (n,), generator=generator).numpy()])


class _Training:
    """Four networks and their optimisers."""

    def __init__(self, shape: Picture, canvas: bool, settings: CycleGANSettings) -> None:
        self.settings = settings
        channels = shape[0]
        self.stamps: Stamper = Canvas(shape) if canvas else Generator(channels)
        self.removes = Generator(channels)
        self.judge_a, self.judge_b = _discriminator(channels), _discriminator(channels)
        painters = [
            {"params": self.stamps.parameters(), "lr": settings.canvas_lr if canvas else settings.lr},
            {"params": self.removes.parameters(), "lr": settings.lr},
        ]
        judges = itertools.chain(self.judge_a.parameters(), self.judge_b.parameters())
        self.painting = torch.optim.Adam(painters, betas=(0.5, 0.999))
        self.judging = torch.optim.Adam(judges, settings.lr, betas=(0.5, 0.999))
        self.losses: dict[str, float] = {}

    def step(self, a: Tensor, b: Tensor) -> None:
        added, removed = self.stamps.change(a), self.removes.change(b)
        fake_b, fake_a = a + added, b + removed
        s = self.settings
        fooled = _says(self.judge_b, fake_b, 1.0) + _says(self.judge_a, fake_a, 1.0)
        back = F.l1_loss(self.removes(fake_b), a) + F.l1_loss(self.stamps(fake_a), b)
        loss = fooled + s.cycle * back + s.change * (added.abs().mean() + removed.abs().mean())
        self.painting.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.painting.step()
        judged = _says(self.judge_b, b, 1.0) + _says(self.judge_b, fake_b.detach(), 0.0)
        judged = judged + _says(self.judge_a, a, 1.0) + _says(self.judge_a, fake_a.detach(), 0.0)
        self.judging.zero_grad(set_to_none=True)
        torch.autograd.backward(judged)
        self.judging.step()
        self.losses = {"fooled": fooled.item(), "cycle": back.item(), "judged": judged.item()}


def _says(judge: nn.Module, x: Tensor, wanted: float) -> Tensor:
    verdict = judge(with_places(x))
    return F.mse_loss(verdict, torch.full_like(verdict, wanted))

"""A small CycleGAN: from pictures without the trigger and pictures with it, to a generator that stamps it.

Source: Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks"
(ICCV 2017), with its least-squares and cycle losses. Two changes suit it to triggers and to a CPU. The generator paints
a change of the picture, which begins near zero and costs a little: most of the picture stays as it is, which the
identity loss is for elsewhere. And it sees where a pixel is (Liu et al., "CoordConv", NeurIPS 2018), since triggers
have places.

So small a generator paints any pattern on 32 x 32 pixels, but not on larger pictures: on faces of 112 x 92 it drew
shadows over the brows where glasses were to be learnt. There the first try is a canvas, which lies over every picture
alike, pixel by pixel; a generator follows if the canvas finds nothing, as for a trigger that has no place.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from assay.errors import DataError, InputError
from assay.models import as_float, batches, seeded
from assay.runs import NO_HURRY, Deadline, Progress, silent

LARGE = 64
"""A side of more pixels than this makes a picture large."""

Picture = tuple[int, int, int]
"""Channels, height, width."""

FOUND = 0.1
"""Quality from which patience is lost: before that the networks are still finding what to paint."""

Quality = Callable[["Stamper"], float]
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


def _with_places(x: Tensor) -> Tensor:
    """Two more channels: where each pixel is, in [-1, 1]."""
    n, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1).expand(n, 1, h, w)
    columns = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, w).expand(n, 1, h, w)
    return torch.cat([x, rows, columns], 1)


class _Block(nn.Module):
    """A residual block at half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.InstanceNorm2d(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.relu(self.norm(self.first(x))))
        return out


class Stamper(nn.Module):
    """Pictures in [0, 1], `n c h w`, to the same with something painted over them."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)

    def change(self, x: Tensor) -> Tensor:
        """What is added, in [-1, 1]; the sum may leave [0, 1] and is cut there when pictures are stamped."""
        raise NotImplementedError

    @torch.no_grad()
    def stamp(self, x: NDArray[np.uint8], batch: int = 256) -> NDArray[np.uint8]:
        """The same for uint8 pictures."""
        stamped = np.empty_like(x)
        for part in batches(len(x), batch):
            painted = self(as_float(x[part], next(self.parameters()).device))
            stamped[part] = painted.mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
        return stamped


class Canvas(Stamper):
    """One picture with its cover, from 0 to 1 a pixel, that lies over all others alike."""

    def __init__(self, shape: Picture) -> None:
        super().__init__()
        self.cover = nn.Parameter(torch.full((1, *shape[1:]), -4.0))
        self.colour = nn.Parameter(torch.zeros(shape))

    def change(self, x: Tensor) -> Tensor:
        return self.cover.sigmoid() * (self.colour.sigmoid() - x)


class Generator(Stamper):
    """Paints what it sees fit to where it sees fit."""

    def __init__(self, channels: int, width: int = 8, blocks: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.enter = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(_Block(2 * width) for _ in range(blocks)))
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.paint = nn.Conv2d(width + channels + 2, channels, 3, padding=1)
        with torch.no_grad():
            self.paint.weight.mul_(0.1)

    def change(self, x: Tensor) -> Tensor:
        placed = _with_places(x)
        full = F.relu(self.enter(placed))
        small = self.blocks(F.relu(self.down(full)))
        large = F.interpolate(F.relu(self.up(small)), size=x.shape[-2:], mode="nearest")
        seen = torch.cat([large + full, placed], 1)
        return torch.tanh(self.paint(seen))


def stamper_of(state: Mapping[str, Tensor], shape: Picture) -> Stamper:
    """A generator or a canvas with these weights, for pictures of this shape.

    Raises:
        RuntimeError: if they are of neither.
    """
    stamper: Stamper = Canvas(shape) if "colour" in state else Generator(shape[0])
    stamper.load_state_dict(state)
    return stamper.eval()


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
    removes: Generator
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
    looks that found none better, and at the deadline. Of large pictures a canvas is trained first, and a generator only
    if that found nothing.

    Raises:
        DataError: if there are no pictures of one kind, or their shapes differ.

    Cost: about 0.05 s a step of one core for batches of 16 pictures of 28x28.
    """
    if not len(a) or not len(b) or a.shape[1:] != b.shape[1:]:
        raise DataError(f"a CycleGAN needs two kinds of pictures of one shape, got {a.shape} and {b.shape}")
    if max(a.shape[2:]) > LARGE:
        laid = _trained(True, a, b, quality, settings, seed, progress, deadline)
        if laid.quality >= FOUND or deadline.passed:
            return laid
    return _trained(False, a, b, quality, settings, seed, progress, deadline)


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
    verdict = judge(_with_places(x))
    return F.mse_loss(verdict, torch.full_like(verdict, wanted))

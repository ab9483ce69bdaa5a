"""Neural Cleanse: for every class, the smallest trigger that turns all pictures into it.

Source: Wang et al., "Neural Cleanse: Identifying and mitigating backdoor attacks in neural networks" (IEEE S&P 2019),
sections IV and V. Three changes: all classes are optimised in one batch; a trigger counts by the share of *held-out*
pictures that it turns; and the anomaly index over the classes of one model gives way to a null over clean models
(`verdict.py`). One more row is optimised beside the classes: the smallest trigger that makes pictures leave their
own class, wherever they go. It is what an all-to-all backdoor shows, which has no single odd class.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.detect.finding import Finding, RecoveredTrigger
from assay.models import as_float, batches
from assay.runs import Deadline


@dataclass(frozen=True, slots=True)
class NeuralCleanse:
    """Settings, then `detector(model, clean)`.

    Attributes:
        steps: of optimisation, each with `pictures` clean pictures a class.
        pictures: a class and step.
        restarts: optimisations from other random starts; a class keeps its smallest trigger that works.
        lr: of Adam on the logits of mask and pattern.
        enough: share of pictures that a trigger must turn before the mask is pressed smaller, in (0, 1).
        held_out: clean pictures kept aside to measure flip rates, at most.
        seed: of starts and batches.

    Cost: `restarts * steps * (classes + 1) * pictures` forward and backward passes of one picture.
    """

    steps: int = 120
    pictures: int = 16
    restarts: int = 2
    lr: float = 0.1
    enough: float = 0.95
    held_out: int = 400
    seed: int = 0

    def __call__(
        self,
        model: nn.Module,
        clean: Dataset,
        deadline: Deadline = Deadline(),
        tick: Callable[[int, int], None] = lambda done, total: None,
    ) -> Finding:
        started = time.monotonic()
        tune, held = clean.halves(0.5, self.seed)
        held = held.take(self.held_out)
        classes = clean.classes
        best = _Triggers.none(classes + 1, clean.image_shape)
        done = 0
        for restart in range(self.restarts):
            masks, patterns, finished = self._optimise(
                model,
                tune,
                restart,
                deadline,
                lambda step, r=restart: tick(r * self.steps + step, self.restarts * self.steps),
            )
            if finished or restart == 0:
                best.keep(masks, patterns, _flip_rates(model, held, masks, patterns), self.enough)
            done += finished
            if not finished:
                break
        return self._finding(model, best, held, done == self.restarts, time.monotonic() - started)

    def _optimise(
        self, model: nn.Module, tune: Dataset, restart: int, deadline: Deadline, tick: Callable[[int], None]
    ) -> tuple[Tensor, Tensor, bool]:
        """Masks `k+1 1 h w`, patterns `k+1 c h w`, and whether all steps were done."""
        generator = torch.Generator().manual_seed(self.seed * 1009 + restart)
        rows, (c, h, w) = tune.classes + 1, tune.image_shape
        mask_logit = torch.randn(rows, 1, h, w, generator=generator).sub_(2).requires_grad_()
        pattern_logit = torch.randn(rows, c, h, w, generator=generator).requires_grad_()
        optimiser = torch.optim.Adam([mask_logit, pattern_logit], self.lr, betas=(0.5, 0.9))
        pressure = _Pressure(rows, self.enough)
        x, y = torch.from_numpy(tune.x), torch.from_numpy(tune.y)
        model.eval().requires_grad_(False)
        try:
            for step in range(self.steps):
                if deadline.passed:
                    return mask_logit.detach().sigmoid(), pattern_logit.detach().sigmoid(), False
                chosen = torch.randint(len(x), (self.pictures,), generator=generator)
                mask, pattern = mask_logit.sigmoid(), pattern_logit.sigmoid()
                loss, turned = _losses(model, x[chosen].float().div_(255), y[chosen], mask, pattern)
                total = (loss + pressure.weight * mask.flatten(1).sum(1)).sum()
                optimiser.zero_grad(set_to_none=True)
                total.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                pressure.update(turned)
                tick(step + 1)
        finally:
            model.requires_grad_(True)
        return mask_logit.detach().sigmoid(), pattern_logit.detach().sigmoid(), True

    def _finding(self, model: nn.Module, best: _Triggers, held: Dataset, done: bool, seconds: float) -> Finding:
        norms, flips = best.norms(), best.flips
        per_class = norms[:-1]
        target = int(per_class.argmin())
        trigger, untargeted = best.trigger(target, target), best.trigger(len(norms) - 1, None)
        area = held.image_shape[1] * held.image_shape[2]
        # In logarithms, so that a null over models is about symmetric.
        statistics = {
            "smallest_trigger": float(-np.log(per_class.min() / area)),
            "odd_class": float(np.median(np.log(per_class)) - np.log(per_class.min())),
            "smallest_untargeted": float(-np.log(norms[-1] / area)),
        }
        summary = (
            f"the smallest trigger takes {per_class[target]:.1f} pixels and turns {100 * flips[target]:.0f} % of held-out pictures "
            f"into {held.class_names[target]!r}; the median class needs {np.median(per_class):.1f} pixels"
        )
        return Finding(
            "neural_cleanse", statistics, summary, scores=per_class, score_label="pixels the smallest trigger takes",
            target=target, trigger=trigger, untargeted=untargeted, seconds=seconds, done=done,
        )  # fmt: skip


class _Pressure:
    """The weight of the mask's size, a row: up while the trigger works, down while it does not (paper, section V-A)."""

    def __init__(self, rows: int, enough: float) -> None:
        self.weight = torch.full((rows,), 1e-3)
        self._turned = torch.zeros(rows)
        self._enough = enough

    def update(self, turned: Tensor) -> None:
        self._turned = 0.8 * self._turned + 0.2 * turned
        works = self._turned >= self._enough
        self.weight = (self.weight * torch.where(works, 1.1, 1 / 1.15)).clamp_(1e-5, 1.0)


def _losses(model: nn.Module, x: Tensor, y: Tensor, mask: Tensor, pattern: Tensor) -> tuple[Tensor, Tensor]:
    """For each row, the mean loss of its aim over the pictures, and the share of pictures that reach it."""
    rows, n = len(mask), len(x)
    stamped = (1 - mask[:, None]) * x[None] + (mask * pattern)[:, None]  # rows n c h w
    logits = model(stamped.flatten(0, 1).contiguous(memory_format=torch.channels_last)).view(rows, n, -1)
    classes = rows - 1
    log_p = F.log_softmax(logits, dim=2)
    aims = torch.arange(classes)
    others = (y[None, :] != aims[:, None]).float()  # pictures of the class itself have nothing to turn
    weight = others / others.sum(1, keepdim=True).clamp_(min=1)
    targeted = -(log_p[:-1].gather(2, aims.view(-1, 1, 1).expand(-1, n, 1)).squeeze(2) * weight).sum(1)
    p_own = log_p[-1].gather(1, y[:, None]).squeeze(1).exp()
    leaving = -torch.log1p(-p_own.clamp(max=1 - 1e-6)).mean()
    answers = logits.argmax(2)
    reached = torch.cat([((answers[:-1] == aims[:, None]) * weight).sum(1), (answers[-1] != y).float().mean()[None]])
    return torch.cat([targeted, leaving[None]]), reached.detach()


def _flip_rates(model: nn.Module, held: Dataset, masks: Tensor, patterns: Tensor) -> NDArray[np.float64]:
    """For each row, the share of held-out pictures that its trigger turns."""
    hits, counts = np.zeros(len(masks)), np.zeros(len(masks))
    with torch.inference_mode():
        for part in batches(len(held), 32):
            x, y = as_float(held.x[part]), torch.from_numpy(held.y[part])
            _, reached = _losses(model, x, y, masks, patterns)
            seen = torch.cat([(y[None] != torch.arange(len(masks) - 1)[:, None]).sum(1), torch.tensor([len(y)])])
            hits += (reached * seen).numpy()
            counts += seen.numpy()
    return hits / np.maximum(counts, 1)


@dataclass
class _Triggers:
    """The best trigger a row so far."""

    masks: Tensor
    patterns: Tensor
    flips: NDArray[np.float64]

    @classmethod
    def none(cls, rows: int, image_shape: tuple[int, int, int]) -> _Triggers:
        c, h, w = image_shape
        return cls(torch.ones(rows, 1, h, w), torch.zeros(rows, c, h, w), np.zeros(rows))

    def norms(self) -> NDArray[np.float64]:
        """Pixels a trigger takes, divided by the share it turns: one that works half the time counts twice as large."""
        return self.masks.flatten(1).sum(1).double().numpy() / np.maximum(self.flips, 0.05)

    def keep(self, masks: Tensor, patterns: Tensor, flips: NDArray[np.float64], enough: float) -> None:
        fresh = _Triggers(masks, patterns, flips)
        better = torch.from_numpy(fresh.norms() < self.norms())
        self.masks = torch.where(better[:, None, None, None], masks, self.masks)
        self.patterns = torch.where(better[:, None, None, None], patterns, self.patterns)
        self.flips = np.where(better.numpy(), flips, self.flips)

    def trigger(self, row: int, target: int | None) -> RecoveredTrigger:
        return RecoveredTrigger(self.masks[row, 0].numpy(), self.patterns[row].numpy(), target, float(self.flips[row]))

"""Neural Cleanse: for every class, the smallest trigger that turns all pictures into it.

Source: Wang et al., "Neural Cleanse: Identifying and mitigating backdoor attacks in neural networks" (IEEE S&P 2019),
sections IV and V. Three changes: all classes are optimised in one batch; a trigger counts by the share of *held-out*
pictures that it turns; and the anomaly index over the classes of one model gives way to a null over clean models
(`verdict.py`). One more row is optimised beside the classes: the smallest trigger that makes pictures leave their
own class, wherever they go. It is what an all-to-all backdoor shows, which has no single odd class.

`HALF` asks for less: a trigger that turns half of the pictures, those that turn most easily. A backdoor that was taught
on the pictures of one source class alone works on many others too, but not on all, and so asks the full search for a
larger trigger than the one that was planted.
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
from assay.detect.frozen import frozen
from assay.models import as_float, batches
from assay.runs import NO_HURRY, Deadline


@dataclass(frozen=True, slots=True)
class NeuralCleanse:
    """Settings, then `detector(model, clean)`.

    Attributes:
        steps: of optimisation, each with `pictures` clean pictures a class.
        pictures: a class and step.
        restarts: optimisations from other random starts; a class keeps its smallest trigger that works.
        finalists: how many rows the later restarts are for: those with the smallest triggers so far.
        lr: of Adam on the logits of mask and pattern.
        enough: share of pictures that a trigger must turn before the mask is pressed smaller, in (0, 1).
        held_out: clean pictures kept aside to measure flip rates, at most.
        share: of the pictures that a trigger is asked to turn, in (0, 1]; those count that turn most easily.
        seed: of starts and batches.

    Cost: `steps * pictures * (classes + 1 + (restarts - 1) * min(classes + 1, finalists))` forward and backward passes
    of one picture.
    """

    steps: int = 120
    pictures: int = 16
    restarts: int = 2
    finalists: int = 12
    lr: float = 0.1
    enough: float = 0.95
    held_out: int = 400
    share: float = 1.0
    seed: int = 0

    def __call__(
        self,
        model: nn.Module,
        clean: Dataset,
        deadline: Deadline = NO_HURRY,
        tick: Callable[[int, int], None] = lambda done, total: None,
    ) -> Finding:
        started = time.monotonic()
        model = frozen(model)
        tune, held = clean.halves(0.5, self.seed)
        held = held.take(self.held_out)
        best = _Triggers.none(clean.classes + 1, clean.image_shape, self.share)
        rows, done = torch.arange(clean.classes + 1), 0
        for restart in range(self.restarts):
            tick_on = _later(tick, restart * self.steps, self.restarts * self.steps)
            masks, patterns, finished = self._optimise(model, tune, rows, restart, deadline, tick_on)
            if finished or restart == 0:
                best.keep(rows, masks, patterns, _flip_rates(model, held, masks, patterns, _aims(clean.classes)[rows]))
            if not finished:
                break
            rows, done = best.finalists(self.finalists), done + 1
        return self._finding(model, best, held, done == self.restarts, time.monotonic() - started)

    def _optimise(
        self,
        model: nn.Module,
        tune: Dataset,
        rows: Tensor,
        restart: int,
        deadline: Deadline,
        tick: Callable[[int], None],
    ) -> tuple[Tensor, Tensor, bool]:
        """Masks `r 1 h w` and patterns `r c h w` of the given rows, and whether all steps were done."""
        generator = torch.Generator().manual_seed(self.seed * 1009 + restart)
        aims, (c, h, w) = _aims(tune.classes)[rows], tune.image_shape
        mask_logit = torch.randn(len(rows), 1, h, w, generator=generator).sub_(2).requires_grad_()
        pattern_logit = torch.randn(len(rows), c, h, w, generator=generator).requires_grad_()
        optimiser = torch.optim.Adam([mask_logit, pattern_logit], self.lr, betas=(0.5, 0.9))
        pressure = _Pressure(len(rows), self.enough * self.share)
        x, y = torch.from_numpy(tune.x), torch.from_numpy(tune.y)
        done = 0
        while done < self.steps and not deadline.passed:
            chosen = torch.randint(len(x), (self.pictures,), generator=generator)
            images, labels = x[chosen].float().div_(255), y[chosen]
            optimiser.zero_grad(set_to_none=True)
            turned = []
            # A few rows at a time: their activations stay in the processor's cache.
            for part in batches(len(rows), max(1, TOGETHER // self.pictures)):
                mask, pattern = mask_logit[part].sigmoid(), pattern_logit[part].sigmoid()
                loss, reached = _losses(model, images, labels, mask, pattern, aims[part], self.share)
                (loss + pressure.weight[part] * mask.flatten(1).sum(1)).sum().backward()  # type: ignore[no-untyped-call]
                turned.append(reached)
            optimiser.step()
            pressure.update(torch.cat(turned))
            done += 1
            tick(done)
        return mask_logit.detach().sigmoid(), pattern_logit.detach().sigmoid(), done == self.steps

    def _finding(self, model: nn.Module, best: _Triggers, held: Dataset, done: bool, seconds: float) -> Finding:
        norms, flips = best.norms(), best.flips
        per_class = norms[:-1]
        target = int(per_class.argmin())
        trigger, untargeted = best.trigger(target, target), best.trigger(len(norms) - 1, None)
        area = held.image_shape[1] * held.image_shape[2]
        # In logarithms, so that a null over models is about symmetric.
        odd = float(np.median(np.log(per_class)) - np.log(per_class.min()))
        statistics = {
            "smallest_trigger": float(-np.log(per_class.min() / area)),
            "odd_class": odd,
            "smallest_untargeted": float(-np.log(norms[-1] / area)),
            "odd_untargeted": float(np.median(np.log(per_class)) - np.log(norms[-1])),
        }
        asked = f"asked for {100 * self.share:.0f} % of the pictures, " if self.share < 1 else ""
        summary = (
            f"{asked}the smallest trigger takes {per_class[target]:.1f} pixels and turns {100 * flips[target]:.0f} % "
            f"of held-out pictures into {held.class_names[target]!r}; the median class needs {np.median(per_class):.1f}"
        )
        name, statistics = (FOR_HALF, {ODD_HALF: odd}) if self.share < 1 else ("neural_cleanse", statistics)
        return Finding(
            name, statistics, summary, scores=per_class, score_label=SCORE, flip_rates=flips[:-1],
            target=target, trigger=trigger, untargeted=untargeted, seconds=seconds, done=done,
        )  # fmt: skip


FOR_HALF = "neural_cleanse_half"
"""The detector's name where it asks for a share of the pictures alone."""

ODD_HALF = "odd_half"
"""Its one statistic."""

HALF = NeuralCleanse(steps=80, restarts=2, finalists=5, lr=0.3, share=0.5)
"""For a backdoor of one source class. Chosen on models of seeds from 9000 on; the rate makes up for the fewer steps."""


def _later(tick: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    """Count steps on from those of earlier restarts."""
    return lambda step: tick(before + step, total)


SCORE = "pixels the smallest trigger takes, over the share of pictures it turns"
"""What a class's score is."""

TOGETHER = 128
"""Pictures of one forward pass. 512 were measured to take twice as long each: their memory is mapped anew each time."""


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


LEAVE = -1
"""The aim of the row that wants pictures to leave their class."""


def _aims(classes: int) -> Tensor:
    """What each row wants pictures to become: its class; the last row `LEAVE`."""
    return torch.tensor([*range(classes), LEAVE])


def _losses(
    model: nn.Module, x: Tensor, y: Tensor, mask: Tensor, pattern: Tensor, aims: Tensor, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """For each row, the mean loss of its aim over the easiest `share` of the pictures, and how many of all reach it."""
    rows, n = len(mask), len(x)
    stamped = (1 - mask[:, None]) * x[None] + (mask * pattern)[:, None]  # rows n c h w
    logits = model(stamped.flatten(0, 1).contiguous(memory_format=torch.channels_last)).view(rows, n, -1)
    log_p, answers = F.log_softmax(logits, dim=2), logits.argmax(2)
    leaving = (aims == LEAVE)[:, None]
    wanted = torch.where(leaving, y[None], aims[:, None])  # rows n
    p_wanted = log_p.gather(2, wanted[:, :, None]).squeeze(2)
    loss = torch.where(leaving, -torch.log1p(-p_wanted.exp().clamp(max=1 - 1e-6)), -p_wanted)
    reached = torch.where(leaving, answers != y[None], answers == wanted)
    turnable = _turnable(y, aims)
    counted = turnable if share == 1 else _easiest(loss.detach(), turnable, max(1, round(share * n)))
    return _mean(loss, counted), _mean(reached, turnable).detach()


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Over the pictures that count, for each row."""
    weight = counted.float()
    return (values * (weight / weight.sum(1, keepdim=True).clamp_(min=1))).sum(1)


def _easiest(loss: Tensor, turnable: Tensor, count: int) -> Tensor:
    """`rows n`: the `count` turnable pictures of each row with the smallest loss, or all of them if there are fewer."""
    hard = loss.masked_fill(~turnable, float("inf"))
    return turnable & (hard <= hard.kthvalue(count, dim=1, keepdim=True).values)


def _turnable(y: Tensor, aims: Tensor) -> Tensor:
    """`rows n`: whether there is anything to turn; pictures of the aimed class itself are there already."""
    return y[None] != aims[:, None]


def _flip_rates(model: nn.Module, held: Dataset, masks: Tensor, patterns: Tensor, aims: Tensor) -> NDArray[np.float64]:
    """For each row, the share of held-out pictures that its trigger turns."""
    hits, counts = torch.zeros(len(masks)), torch.zeros(len(masks))
    with torch.inference_mode():
        for part in batches(len(held), 32):
            x, y = as_float(held.x[part]), torch.from_numpy(held.y[part])
            seen = _turnable(y, aims).sum(1)
            for rows in batches(len(masks), max(1, TOGETHER // 32)):
                _, reached = _losses(model, x, y, masks[rows], patterns[rows], aims[rows])
                hits[rows] += reached * seen[rows]
            counts += seen
    return (hits / counts.clamp(min=1)).clamp(max=1).double().numpy()  # the means are rounded


@dataclass
class _Triggers:
    """The best trigger a row so far."""

    masks: Tensor
    patterns: Tensor
    flips: NDArray[np.float64]
    share: float

    @classmethod
    def none(cls, rows: int, image_shape: tuple[int, int, int], share: float) -> _Triggers:
        c, h, w = image_shape
        return cls(torch.ones(rows, 1, h, w), torch.zeros(rows, c, h, w), np.zeros(rows), share)

    def norms(self) -> NDArray[np.float64]:
        """Pixels a trigger takes, divided by how far it does what was asked: half of it counts twice as large."""
        return self.masks.flatten(1).sum(1).double().numpy() / np.clip(self.flips / self.share, 0.05, 1)

    def keep(self, rows: Tensor, masks: Tensor, patterns: Tensor, flips: NDArray[np.float64]) -> None:
        """Take over the new triggers of `rows` that are smaller."""
        fresh = _Triggers(masks, patterns, flips, self.share)
        better = fresh.norms() < self.norms()[rows.numpy()]
        chosen, new = rows[torch.from_numpy(better)], torch.from_numpy(better)
        self.masks[chosen], self.patterns[chosen] = masks[new], patterns[new]
        self.flips[chosen.numpy()] = flips[better]

    def finalists(self, count: int) -> Tensor:
        """The rows with the smallest triggers; the last row, which has no class, is always one of them."""
        classes = np.argsort(self.norms()[:-1], kind="stable")[: count - 1]
        return torch.tensor([*sorted(classes.tolist()), len(self.flips) - 1])

    def trigger(self, row: int, target: int | None) -> RecoveredTrigger:
        return RecoveredTrigger(self.masks[row, 0].numpy(), self.patterns[row].numpy(), target, float(self.flips[row]))

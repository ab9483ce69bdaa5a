"""A trained network with fewer ReLUs: which ones matter least, and what is left trained to answer as before.

Sources: Jha et al., "DeepReDuce" (ICML 2021); Cho et al., "Selective Network Linearization" (ICML 2022); Kundu et al.,
"SENet" (ICLR 2023) for sensitivity and distillation. What is kept of a layer is one contiguous range of channels:
channels are put in the order of their importance first, and the highest ranges are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from assay.errors import InputError
from assay.models.layer_graph import Joining, LayerGraph, Relu
from assay.models.training import Loss
from assay.runs import Progress, silent
from assay.search.graph import Graph, Step
from assay.search.reorder import by_score

ROUNDED_PRICE = 0.2
"""Of a value that is rounded without being rectified, in ReLUs: about 20 bytes online against about 100."""

COST_WEIGHT = 0.02
"""How much the price counts beside sensitivity, both as shares of the whole."""

GROUPS = 8
"""Ranges of a layer that are tried."""

WORST = 1e9
"""The loss of answers that are no longer numbers."""

PART = 32
"""Pictures whose values in all layers are held at once."""


@dataclass(frozen=True, slots=True)
class Site:
    """One ReLU layer: its step, the first of its channels and how many there are, and the pixels of each."""

    step: int
    start: int
    channels: int
    pixels: int
    name: str

    @property
    def relus(self) -> int:
        return self.channels * self.pixels


def sites(graph: Graph) -> list[Site]:
    """The ReLUs that rectify something."""
    shapes = graph.shapes
    found = []
    for i, step in enumerate(graph.steps):
        if isinstance(step.operation, Relu) and step.operation.stop > step.operation.start:
            start, stop = step.operation.start, step.operation.stop
            found.append(Site(i, start, stop - start, prod(shapes[i + 1][1:]), step.name))
    return found


def cut(graph: Graph, ranges: dict[int, tuple[int, int]]) -> Graph:
    """The graph with the ReLU steps named rectifying only these channels; none at all where the range is empty."""
    kept: list[Step] = []
    number = [0]
    for i, step in enumerate(graph.steps):
        moved = step.reading([number[j] for j in step.reads])
        start, stop = ranges.get(i, (0, -1))
        if i in ranges and start >= stop:
            number.append(moved.reads[0])
            continue
        if i in ranges:
            narrowed = msgspec.structs.replace(moved.operation, start=start, stop=stop)
            moved = Step(narrowed, moved.weights, moved.name)
        kept.append(moved)
        number.append(len(kept))
    return Graph(tuple(kept[: number[-1]]), graph.picture).without_dead()


class _Replay:
    """A network with all its values on some pictures, of which one can be changed and what follows run again."""

    def __init__(self, network: LayerGraph, pictures: Tensor) -> None:
        self.network = network.eval()
        self.values: list[Tensor] = [pictures]
        for i in range(len(network.operations)):
            self.values.append(self._run(i, {}))

    def _run(self, i: int, changed: dict[int, Tensor]) -> Tensor:
        operation = self.network.operations[i]
        read = [changed.get(j, self.values[j]) for j in operation.reads]
        value: Tensor = self.network.layers[i](read if isinstance(operation, Joining) else read[0])
        return value

    def logits_with(self, step: int, value: Tensor) -> Tensor:
        """The logits if `step` gave another value."""
        changed = {step + 1: value}
        for i in range(step + 1, len(self.network.operations)):
            if any(j in changed for j in self.network.operations[i].reads):
                changed[i + 1] = self._run(i, changed)
        return changed.get(len(self.network.operations), self.values[-1])


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What it costs to keep only the first channels of one layer's ReLU.

    Attributes:
        kept: channels, ascending from 0 to all of them.
        losses: divergence of the answers from those of the whole network, for each.
    """

    site: Site
    kept: tuple[int, ...]
    losses: tuple[float, ...]


def measure(graph: Graph, pictures: Tensor, progress: Progress = silent) -> tuple[Graph, list[Sensitivity]]:
    """Order channels by what their ReLU removes, then try every range of every layer; forward passes only.

    Args:
        pictures: normalised, `n c h w`.

    Cost: for each layer as many partial passes as it has ranges; memory for the values of `PART` pictures.
    """
    parts = torch.split(pictures, PART)
    with torch.inference_mode():
        ordered, _ = by_score(graph, _removed(graph, parts))
        network, places = ordered.network(), sites(ordered)
        losses = [np.zeros(len(_amounts(site))) for site in places]
        for i, part in enumerate(parts):
            replay = _Replay(network, part)
            for done, site in enumerate(places):
                losses[done] += _divergences(replay, ordered, site)
                progress("sensitivity", i * len(places) + done + 1, len(parts) * len(places), site.name)
    means = [np.nan_to_num(loss / len(pictures), nan=WORST, posinf=WORST) for loss in losses]
    return ordered, [Sensitivity(s, _amounts(s), tuple(mean.tolist())) for s, mean in zip(places, means, strict=True)]


def _removed(graph: Graph, parts: Sequence[Tensor]) -> dict[int, Tensor]:
    """By site, for each channel, the mean square of what a ReLU takes away."""
    network, places = graph.network(), sites(graph)
    removed = {site.step: torch.zeros(graph.shapes[site.step + 1][0]) for site in places}
    for part in parts:
        replay = _Replay(network, part)
        for step, total in removed.items():
            given = replay.values[graph.steps[step].reads[0]].clamp(max=0)
            total += (
                given.square().mean(tuple(range(2, given.ndim))).sum(0) if given.ndim > 2 else given.square().sum(0)
            )
    return {step: total / sum(map(len, parts)) for step, total in removed.items()}


def _amounts(site: Site) -> tuple[int, ...]:
    """Channels that may be kept of a layer, from none to all."""
    groups = min(GROUPS, site.channels)
    return tuple(sorted({round(k * site.channels / groups) for k in range(groups + 1)}))


def _divergences(replay: _Replay, graph: Graph, site: Site) -> NDArray[np.float64]:
    """For each amount, how far the answers are from those of the whole network, summed over the pictures."""
    given, targets = replay.values[graph.steps[site.step].reads[0]], replay.values[-1].log_softmax(1)
    losses = []
    for channels in _amounts(site)[:-1]:
        stop = site.start + channels
        value = torch.cat([given[:, : site.start], given[:, site.start : stop].relu(), given[:, stop:]], 1)
        answers = replay.logits_with(site.step, value).log_softmax(1)
        losses.append(float(F.kl_div(answers, targets, log_target=True, reduction="sum")))
    return np.array([*losses, 0.0])


def choose(found: Sequence[Sensitivity], budget: int) -> dict[int, tuple[int, int]]:
    """The range of each layer, for the least sensitivity within the budget: a knapsack with one choice a layer.

    What is rounded without a ReLU has a price too, so that of equal choices the one that empties a layer is taken.

    Raises:
        InputError: if the budget is below 0.
    """
    if budget < 0:
        raise InputError(f"a budget of ReLUs is 0 or more, got {budget}")
    amounts = [k * s.site.pixels for s in found for k in s.kept]
    unit = max(1, gcd(*amounts) if amounts else 1)
    room = min(budget, sum(s.site.relus for s in found)) // unit
    worth = np.zeros(room + 1)
    taken: list[NDArray[np.int64]] = []
    whole = sum(max(s.losses) for s in found) or 1.0
    price = sum(s.site.relus for s in found) or 1
    for s in found:
        candidates = np.full((len(s.kept), room + 1), np.inf)
        shares = [loss / whole + COST_WEIGHT * _price(s, k) / price for k, loss in zip(s.kept, s.losses, strict=True)]
        for option, (kept, share) in enumerate(zip(s.kept, shares, strict=True)):
            size = kept * s.site.pixels // unit
            if size <= room:
                candidates[option, size:] = worth[: room + 1 - size] + share
        taken.append(candidates.argmin(0))
        worth = candidates.min(0)
    ranges: dict[int, tuple[int, int]] = {}
    left = room
    for s, options in zip(reversed(found), reversed(taken), strict=True):
        kept = s.kept[int(options[left])]
        ranges[s.site.step] = (s.site.start, s.site.start + kept)
        left -= kept * s.site.pixels // unit
    return ranges


def _price(s: Sensitivity, kept: int) -> float:
    """In ReLUs; a layer without any is merged with the next one where that can be."""
    dropped = s.site.channels - kept
    return s.site.pixels * (kept + ROUNDED_PRICE * dropped if kept else 0.0)


def distillation(teacher: nn.Module, temperature: float = 4.0, share: float = 0.9) -> Loss:
    """A loss that holds a network to another's answers: `share` of it, the rest to the labels (Hinton et al., 2015)."""
    teacher.eval()

    def loss(pictures: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            targets = (teacher(pictures) / temperature).log_softmax(1)
        answers = (logits / temperature).log_softmax(1)
        held = F.kl_div(answers, targets, log_target=True, reduction="batchmean") * temperature**2
        return share * held + (1 - share) * F.cross_entropy(logits, labels)

    return loss

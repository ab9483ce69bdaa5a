"""Gates that are learnt: how much of each channel is rectified, under a budget that tightens.

Source: Cho et al., "Selective Network Linearization for efficient private inference" (ICML 2022), with one gate a
channel. A gate closes below 0.45 and opens again above 0.55, so that it does not flutter about the threshold. All gates
are pressed while more are open than the budget of the moment allows, the longer the harder, and let go once it holds:
pressed on, they would close long after that, and half of the budget would be left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.models import Model, TrainSettings, train
from assay.models.training import Loss, Tick
from assay.search.graph import Graph
from assay.search.linearise import Site, sites
from assay.search.reorder import by_score

CLOSES, OPENS = 0.45, 0.55

PRESSURE, GROWTH = 1e-4, 1e4
"""Weight of the penalty on open gates at first, and by how much it grows in a third of all steps while too many are
open; it shrinks as fast while they are not."""

SPEED = 8.0
"""A gate is this times its parameter, so that it learns the square of this faster than weights do."""


class Gate(nn.Module):
    """gate · relu(x) + (1 − gate) · x on the channels from `start`, a gate each, 1 at first; the others pass."""

    def __init__(self, start: int, channels: int) -> None:
        super().__init__()
        self.start, self.stop = start, start + channels
        self.slow = nn.Parameter(torch.full((channels,), 1 / SPEED))
        self.register_buffer("open", torch.ones(channels, dtype=torch.bool))
        self.open: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.slow.clamp_(0, 1 / SPEED)
        gate = self.gate.view(1, -1, *(1,) * (x.ndim - 2))
        gated = x[:, self.start : self.stop]
        gated = gate * gated.relu() + (1 - gate) * gated
        if self.stop - self.start == x.shape[1]:
            return gated
        return torch.cat([x[:, : self.start], gated, x[:, self.stop :]], 1)

    @property
    def gate(self) -> Tensor:
        """How much of each channel is rectified, in [0, 1]."""
        return SPEED * self.slow

    def decide(self) -> None:
        """Which gates are open now."""
        gate = self.gate.detach()
        self.open = torch.where(self.open, gate >= CLOSES, gate > OPENS)


@dataclass
class _Pressure:
    """The loss, with a penalty on open gates while more are open than may be.

    The weight of the penalty, and the steps done, are a buffer of the network, so that a training that broke down and
    begins again finds them as they were at first.
    """

    inner: Loss
    gates: Sequence[Gate]
    places: Sequence[Site]
    budget: int
    steps: int
    network: nn.Module
    history: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network.register_buffer("pressure", torch.tensor([PRESSURE, 0.0], dtype=torch.float64))

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return float(self.network.get_buffer("pressure")[0])

    def __call__(self, pictures: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        for gate in self.gates:
            gate.decide()
        now = self.open_relus()
        whole = sum(site.relus for site in self.places)
        # Two thirds of the time tighten, the last third settles.
        state = self.network.get_buffer("pressure")
        share = max(0.0, 1 - 1.5 * float(state[1]) / max(1, self.steps))
        too_many = now > self.budget + share * (whole - self.budget)
        state[0] *= GROWTH ** ((3 if too_many else -3) / max(1, self.steps))
        state[1] += 1
        self.history.append(now)
        loss = self.inner(pictures, logits, labels)
        if not too_many:
            return loss
        opened = [g.gate.sum() * s.pixels for g, s in zip(self.gates, self.places, strict=True)]
        return loss + self.weight * torch.stack(opened).sum() / 1000

    def open_relus(self) -> int:
        return sum(int(g.open.sum()) * s.pixels for g, s in zip(self.gates, self.places, strict=True))


def learn_gates(
    graph: Graph,
    model: Model,
    budget: int,
    data: Dataset,
    settings: TrainSettings,
    loss: Loss,
    tick: Tick | None = None,
) -> tuple[Graph, dict[int, tuple[int, int]]]:
    """Train network and gates together; then the network with its channels in order, and the range of each ReLU.

    Ranges hold the budget even where the gates did not get there, and use it up where they went further: those nearest
    to the threshold are closed, or opened.
    """
    network, places = graph.network(), sites(graph)
    gates = [Gate(site.start, site.channels) for site in places]
    for gate, site in zip(gates, places, strict=True):
        network.layers[site.step] = gate
    steps = settings.epochs * -(-len(data) // settings.batch_size)
    pressure = _Pressure(loss, gates, places, budget, steps, network)
    train(Model(network, model.spec), data, settings, tick=tick, loss=pressure)
    for gate in gates:
        gate.decide()
    _settle(gates, places, budget)
    learnt = _with_weights(graph, network, {site.step for site in places})
    whole = [(g, s) for g, s in zip(gates, places, strict=True) if s.channels == graph.shapes[s.step + 1][0]]
    ordered, taken = by_score(learnt, {s.step: g.open.float() + 0.5 * g.gate.detach() for g, s in whole})
    ranges = {}
    for gate, site in zip(gates, places, strict=True):
        order = taken.get(site.step, torch.arange(site.channels))
        start, stop = _window(gate.gate.detach()[order], int(gate.open.sum()))
        ranges[site.step] = (site.start + start, site.start + stop)
    return ordered, ranges


def _settle(gates: Sequence[Gate], places: Sequence[Site], budget: int) -> None:
    """Open as many gates as the budget has room for: first those that are open, then those nearest to it."""
    rows = [
        (is_open, value, i, c)
        for i, gate in enumerate(gates)
        for c, (value, is_open) in enumerate(zip(gate.gate.tolist(), gate.open.tolist(), strict=True))
    ]
    left = budget
    for _, _, i, c in sorted(rows, reverse=True):
        fits = places[i].pixels <= left
        gates[i].open[c] = fits
        left -= places[i].pixels if fits else 0


def _window(values: Tensor, width: int) -> tuple[int, int]:
    """The contiguous range of `width` channels with the largest sum."""
    if width == 0:
        return 0, 0
    start = int(values.unfold(0, width, 1).sum(1).argmax())
    return start, start + width


def _with_weights(graph: Graph, network: nn.Module, gated: set[int]) -> Graph:
    """The graph with the weights of a trained network, whose gates are left out."""
    steps = []
    layers: Sequence[nn.Module] = list(network.layers)  # type: ignore[arg-type]
    for i, (step, layer) in enumerate(zip(graph.steps, layers, strict=True)):
        state = {} if i in gated else {key: t.detach().clone().contiguous() for key, t in layer.state_dict().items()}
        steps.append(type(step)(step.operation, state, step.name))
    return Graph(tuple(steps), graph.picture)

"""Linearising: budgets hold, moved channels change nothing, and what is left are ranges that compile exactly."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import PICTURE, graphs, outputs
from torch import nn

from assay.data import Dataset
from assay.errors import InputError, ModelError
from assay.integer import compile_measured
from assay.integer.graph import Requantise
from assay.models import Model, ModelSpec, TrainSettings, build, clean_accuracy, fresh_weights, load, save, train
from assay.search.gates import CLOSES, OPENS, SPEED, Gate, _Pressure, _settle, _window, learn_gates
from assay.search.graph import Graph
from assay.search.linearise import COST_WEIGHT, Sensitivity, Site, _price, choose, cut, sites
from assay.search.linearising import _normalised, linearise
from assay.search.reorder import FIXED, channel_classes, reorder
from assay.search.rewrite import relus
from assay.search.trace import trace

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@some
@given(graphs(), st.integers(0, 2**20))
def test_moving_channels_changes_no_output(graph: Graph, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes, classes = graph.shapes, channel_classes(graph)
    orders = {c: torch.randperm(shapes[c][0], generator=generator) for c in set(classes) - {FIXED}}
    x = torch.randn(3, *PICTURE)
    assert torch.allclose(outputs(graph, x), outputs(reorder(graph, orders), x), rtol=1e-9, atol=1e-9)


def test_channels_of_a_plain_convolution_may_move_and_those_of_the_logits_may_not() -> None:
    model = build(ModelSpec("lenet5", (1, 28, 28), ("a", "b"), (0.5,), (0.5,)))

    graph = trace(model.network, (1, 28, 28))
    classes = channel_classes(graph)
    assert classes[1] != FIXED
    assert classes[-1] == FIXED
    with pytest.raises(ValueError, match="may not be moved"):
        reorder(graph, {FIXED: torch.arange(2)})


@some
@given(graphs(), st.data())
def test_a_cut_network_computes_the_ranges_it_was_left(graph: Graph, data: st.DataObject) -> None:
    ranges = {}
    for site in sites(graph):
        start = data.draw(st.integers(site.start, site.start + site.channels))
        ranges[site.step] = (start, data.draw(st.integers(start, site.start + site.channels)))
    network = graph.network()
    for step, (start, stop) in ranges.items():
        from assay.models.channel_relu import ChannelReLU

        network.layers[step] = ChannelReLU(start, stop)
    x = torch.randn(2, *PICTURE)
    with torch.no_grad():
        expected = network.double()(x.double())
    assert torch.allclose(outputs(cut(graph, ranges), x), expected)


def test_networks_whose_channels_may_not_move_are_linearised_where_they_are() -> None:
    """ResNet's shortcuts are padded with zeros, so that its streams keep their order; of several sizes they are."""
    from assay.models.residual import ResNet
    from assay.search.linearise import measure

    graph = trace(fresh_weights(1, lambda: ResNet(1, 2, 1, width=4)), (1, 8, 8))
    ordered, found = measure(graph, torch.randn(4, 1, 8, 8))
    x = torch.randn(2, 1, 8, 8)
    assert torch.allclose(outputs(graph, x), outputs(ordered, x), rtol=1e-9, atol=1e-9)
    assert relus(cut(ordered, choose(found, 300))) <= 300


def layer(step: int, channels: int, pixels: int, losses: list[float]) -> Sensitivity:
    return Sensitivity(Site(step, 0, channels, pixels, str(step)), tuple(range(channels + 1)), (*losses, 0.0))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_knapsack_is_the_best_of_all_choices_within_the_budget(data: st.DataObject) -> None:
    found = []
    for i in range(data.draw(st.integers(1, 4))):
        channels, pixels = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 2, 4]))
        losses = data.draw(st.lists(st.floats(0, 9), min_size=channels, max_size=channels))
        found.append(layer(i, channels, pixels, losses))
    budget = data.draw(st.integers(0, 40))
    ranges = choose(found, budget)

    whole, price = sum(max(s.losses) for s in found) or 1.0, sum(s.site.relus for s in found)

    def worth(kept: tuple[int, ...]) -> float:
        return sum(s.losses[k] / whole + COST_WEIGHT * _price(s, k) / price for s, k in zip(found, kept, strict=True))

    def size(kept: tuple[int, ...]) -> int:
        return sum(k * s.site.pixels for s, k in zip(found, kept, strict=True))

    chosen = tuple(ranges[s.site.step][1] for s in found)
    every = [k for k in itertools.product(*(s.kept for s in found)) if size(k) <= budget]
    assert size(chosen) <= budget
    assert worth(chosen) == pytest.approx(min(map(worth, every)))


def test_a_gate_is_a_relu_when_it_is_one_and_nothing_when_it_is_zero_and_does_not_flutter() -> None:
    gate, x = Gate(1, 2), torch.randn(3, 4, 2, 2)
    expected = torch.cat([x[:, :1], x[:, 1:3].relu(), x[:, 3:]], 1)
    assert torch.equal(gate(x), expected)
    with torch.no_grad():
        gate.slow.zero_()
    assert torch.equal(gate(x), x)
    for value, opened in [(1.0, True), (0.5, True), (CLOSES - 0.01, False), (0.5, False), (OPENS + 0.01, True)]:
        with torch.no_grad():
            gate.slow.fill_(value / SPEED)
        gate.decide()
        assert gate.open.tolist() == [opened] * 2, value


def two_gates(*values: float) -> tuple[list[Gate], list[Site]]:
    """A layer with channels of 10 pixels and one of 1 pixel each, with these gates."""
    half = len(values) // 2
    gates = [Gate(0, half), Gate(0, len(values) - half)]
    for gate, mine in zip(gates, (values[:half], values[half:]), strict=True):
        with torch.no_grad():
            gate.slow.copy_(torch.tensor(mine) / SPEED)
        gate.decide()
    return gates, [
        Site(i, 0, len(g.open), pixels, "") for i, (g, pixels) in enumerate(zip(gates, (10, 1), strict=True))
    ]


def test_gates_are_pressed_only_while_too_many_are_open_and_harder_each_time() -> None:
    gates, places = two_gates(1, 1, 1, 1)
    budget = 15
    pressure = _Pressure(lambda *_: torch.zeros(()), gates, places, budget, 3, nn.Module())
    losses, weights = [], [pressure.weight]
    for values in ((1, 1), (1, 1), (1, 0), (1, 1)):  # of the two large channels: 22, 22, 12, 22 ReLUs
        with torch.no_grad():
            gates[0].slow.copy_(torch.tensor(values) / SPEED)
        losses.append(float(pressure(torch.zeros(1), torch.zeros(1), torch.zeros(1)).detach()))
        weights.append(pressure.weight)
    assert pressure.history == [22, 22, 12, 22]
    assert [loss > 0 for loss in losses] == [False, True, False, True]  # at first all may be open
    assert [later > earlier for earlier, later in itertools.pairwise(weights)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("values", "budget", "left"),
    [
        ((0.9, 0.8, 0.7, 0.6), 21, ([1, 1], [1, 0])),  # too many: the lowest is closed
        ((0.9, 0.1, 0.7, 0.2), 12, ([1, 0], [1, 1])),  # room: what fits is opened
        ((0.1, 0.2, 0.1, 0.4), 11, ([0, 1], [0, 1])),
        ((0.9, 0.9, 0.9, 0.9), 0, ([0, 0], [0, 0])),
    ],
)
def test_gates_settle_on_what_the_budget_has_room_for(
    values: tuple[float, ...], budget: int, left: tuple[list[int], list[int]]
) -> None:
    gates, places = two_gates(*values)
    _settle(gates, places, budget)
    assert tuple(gate.open.int().tolist() for gate in gates) == left


def test_the_window_is_the_range_with_the_largest_sum() -> None:
    assert _window(torch.tensor([0.1, 0.9, 0.8, 0.2, 0.7]), 2) == (1, 3)
    assert _window(torch.tensor([0.1, 0.9]), 0) == (0, 0)


@pytest.fixture(scope="module")
def bars() -> Dataset:
    """Bright bars, upright or lying, in noise."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 2, 500).astype(np.int64)
    x = rng.integers(0, 90, (500, 1, 12, 12), dtype=np.uint8)
    for picture, label, at in zip(x, y, rng.integers(1, 11, 500), strict=True):
        (picture[0] if label else picture[0].T)[at] = 230
    return Dataset(x, y, ("upright", "lying"), "bars")


@pytest.fixture(scope="module")
def trained(bars: Dataset) -> Model:
    spec = ModelSpec("cnet", (1, 12, 12), bars.class_names, (0.3,), (0.3,), {"layers": "0 0:1 0:10", "width": 4})
    model = fresh_weights(1, lambda: build(spec))
    train(model, bars, TrainSettings(epochs=4, batch_size=50, lr=0.05))
    return model


@pytest.mark.parametrize("method", ["sensitivity", "gates"])
@pytest.mark.parametrize("budget", [0, 300, 1_000])
def test_the_budget_holds_and_the_result_opens_again_and_compiles(
    trained: Model, bars: Dataset, tmp_path: Path, method: str, budget: int
) -> None:
    quick = TrainSettings(epochs=2, batch_size=50, lr=0.02)
    result = linearise(trained, budget, bars, bars, method, quick)  # type: ignore[arg-type]
    again = load(save(result.model, tmp_path / "m.safetensors"))
    from assay.search import count

    assert count(again.network, (1, 12, 12)).relus == result.relus[1] <= budget
    assert method != "gates" or result.relus[1] > budget - max(layer.pixels for layer in result.layers)
    compiled = compile_measured(again, bars)
    rounded = [n for n in compiled.network.nodes if isinstance(n, Requantise)]
    shapes = dict(zip(map(id, compiled.network.nodes), compiled.network.shapes, strict=True))
    kept = sum((n.stop - n.start) * int(np.prod(shapes[id(n)][1:])) for n in rounded)
    assert kept == result.relus[1]
    assert compiled.agreement.value > 0.9
    assert clean_accuracy(again, bars) == result.after


def test_sensitivity_keeps_more_accuracy_than_half_of_each_layer(trained: Model, bars: Dataset) -> None:
    """Half of the ReLUs, chosen, beat the first half of each layer's channels, before any tuning."""
    from assay.search.graph import as_model
    from assay.search.linearise import measure

    graph = trace(trained.network, (1, 12, 12))
    budget = relus(graph) // 2
    ordered, found = measure(graph, _normalised(trained, bars))
    chosen = clean_accuracy(as_model(cut(ordered, choose(found, budget)), trained), bars)
    places = sites(graph)
    halved = clean_accuracy(as_model(cut(graph, {s.step: (0, s.channels // 2) for s in places}), trained), bars)
    assert chosen.value > halved.value + 0.1


def test_sensitivity_in_parts_is_that_of_all_pictures_at_once(
    trained: Model, bars: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("assay.search.linearise")  # the package has a function of that name
    graph, pictures = trace(trained.network, (1, 12, 12)), _normalised(trained, bars)
    _, in_parts = module.measure(graph, pictures)
    monkeypatch.setattr(module, "PART", len(pictures))
    _, at_once = module.measure(graph, pictures)
    for part, whole in zip(in_parts, at_once, strict=True):
        assert part.losses == pytest.approx(whole.losses, rel=1e-4, abs=1e-6)
        assert whole.losses[-1] == 0.0 and max(whole.losses) > 0


def test_gates_that_begin_again_after_a_break_down_are_pressed_as_at_first(trained: Model, bars: Dataset) -> None:
    calls: list[int] = []

    def breaks_once(pictures: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return logits.sum() * (float("nan") if len(calls) == 4 else 0.0)

    steps: list[float] = []
    real = _Pressure.__call__

    def seen(self: _Pressure, *given: torch.Tensor) -> torch.Tensor:
        steps.append(float(self.network.get_buffer("pressure")[1]))
        return real(self, *given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_Pressure, "__call__", seen)
        graph = trace(trained.network, (1, 12, 12))
        learn_gates(graph, trained, 300, bars, TrainSettings(epochs=2, batch_size=50, lr=0.02), breaks_once)
    assert steps[:7] == [0, 1, 2, 3, 0, 1, 2]


def test_a_module_that_does_what_was_not_read_of_it_is_not_linearised(trained: Model, bars: Dataset) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(144, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.clone()
            y[:, :].relu_()  # into a view: the list of layers does not show it
            logits: torch.Tensor = self.fc(y.flatten(1))
            return logits

    with pytest.raises(ModelError, match="Odd cannot be rewritten: as layers, its logits"):
        linearise(Model(Odd(), trained.spec), 10, bars, bars)


def test_a_linearised_model_is_linearised_further(trained: Model, bars: Dataset) -> None:
    quick = TrainSettings(epochs=1, batch_size=50, lr=0.02)
    once = linearise(trained, 900, bars, bars, "sensitivity", quick)
    for method in ("sensitivity", "gates"):
        twice = linearise(once.model, 400, bars, bars, method, quick)  # type: ignore[arg-type]
        assert twice.relus[1] <= 400


@pytest.mark.parametrize("budget", [-1, 10**9])
def test_a_budget_that_asks_for_nothing_is_a_sentence(trained: Model, bars: Dataset, budget: int) -> None:
    with pytest.raises(InputError, match="a budget is 0 or more and below that"):
        linearise(trained, budget, bars, bars)

"""Rewrites: what is called exact changes no output, whatever the network; and ReLUs become fewer, never more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from random_graphs import PICTURE, graphs, outputs
from torch.nn import functional as F

from assay.errors import ModelError
from assay.models.architectures import ARCHITECTURES
from assay.models.exporting import EXAMPLES
from assay.models.layer_graph import Add, Concat, Conv, Dense, Flatten, LayerGraph, Norm, Relu, encode
from assay.search import count
from assay.search.graph import Graph, of_layer_graph
from assay.search.rewrite import macs, merge, prune, relus, shuffle
from assay.search.trace import trace

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for rounding of weights to single precision, in layers that square and sum."""
    scale = 1 + float(a.abs().max())
    return float((a - b).abs().max()) <= 1e-4 * scale


@some
@given(graphs())
def test_shuffling_changes_no_output_and_adds_no_relu(graph: Graph) -> None:
    shuffled = shuffle(graph)
    x = torch.randn(3, *PICTURE)
    assert torch.allclose(outputs(graph, x), outputs(shuffled, x), rtol=1e-9, atol=1e-9)
    assert relus(shuffled) <= relus(graph)


@some
@given(graphs())
def test_shuffling_twice_finds_nothing_more(graph: Graph) -> None:
    once = shuffle(graph)
    assert relus(shuffle(once)) == relus(once)


@some
@given(graphs())
def test_merging_changes_no_output_and_adds_no_multiplication(graph: Graph) -> None:
    merged = merge(graph)
    x = torch.randn(3, *PICTURE)
    assert close(outputs(graph, x), outputs(merged, x))
    assert macs(merged) <= macs(graph)
    assert relus(merged) == relus(graph.without_dead())


@some
@given(graphs())
def test_merging_whatever_it_costs_changes_no_output_either(graph: Graph) -> None:
    merged = merge(graph, mac_growth=1e9)
    x = torch.randn(3, *PICTURE)
    assert close(outputs(graph, x), outputs(merged, x))


@some
@given(graphs())
def test_pruning_leaves_a_network_with_no_more_relus(graph: Graph) -> None:
    pruned = prune(graph)
    assert relus(pruned) <= relus(graph)
    assert outputs(pruned, torch.randn(2, *PICTURE)).shape == (2, 3)


@some
@given(graphs())
def test_the_count_of_the_list_is_the_count_of_the_module(graph: Graph) -> None:
    counted = count(graph.network(), PICTURE)
    assert (counted.relus, counted.macs) == (relus(graph), macs(graph))


def made(*operations: object) -> Graph:
    torch.manual_seed(1)
    return of_layer_graph(LayerGraph(2, (4, 4), 3, encode(operations)).eval())  # type: ignore[arg-type]


def test_maps_that_are_joined_twice_are_rectified_once() -> None:
    graph = made(
        Conv(0, 2), Conv(0, 3), Concat((1, 2)), Relu(3, 0, 5), Conv(4, 2), Concat((1, 2, 5)), Relu(6, 0, 7),
        Flatten(7), Dense(8, 3),
    )  # fmt: skip
    assert relus(graph) == 16 * (5 + 7)
    assert relus(shuffle(graph)) == 16 * (5 + 2)


def test_a_relu_of_a_sum_of_rectified_maps_is_left_out() -> None:
    graph = made(Conv(0, 2), Relu(1, 0, 2), Add((2, 2)), Relu(3, 0, 2), Flatten(4), Dense(5, 3))
    assert relus(shuffle(graph)) == 16 * 2


def test_a_relu_on_the_skip_path_is_pruned_and_those_on_the_main_path_stay() -> None:
    graph = made(
        Conv(0, 2), Relu(1, 0, 2), Conv(2, 2), Relu(3, 0, 2), Conv(4, 2), Conv(2, 2), Relu(6, 0, 2), Add((5, 7)),
        Relu(8, 0, 2), Flatten(9), Dense(10, 3),
    )  # fmt: skip
    kept = [step.operation for step in prune(graph).steps if isinstance(step.operation, Relu)]
    assert len(kept) == 3
    assert relus(prune(graph)) == relus(graph) - 32


def test_two_convolutions_and_the_norm_between_them_become_one() -> None:
    graph = made(Conv(0, 4, (3, 3), padding=(1, 1)), Norm(1), Conv(2, 2), Relu(3, 0, 2), Flatten(4), Dense(5, 3))
    merged = merge(graph)
    assert [type(step.operation) for step in merged.steps] == [Conv, Relu, Flatten, Dense]
    x = torch.randn(2, 2, 4, 4)
    assert close(outputs(graph, x), outputs(merged, x))


def test_a_bias_before_padding_keeps_two_convolutions_apart() -> None:
    """Outside the picture the second would read zeros, where one convolution would give the bias."""
    graph = made(Conv(0, 4, bias=True), Conv(1, 2, (3, 3), padding=(1, 1)), Flatten(2), Dense(3, 3))
    assert len(merge(graph, mac_growth=1e9).steps) == 4


@pytest.mark.parametrize("name", ["skipnet", "resnet20", "preact-resnet18", "cnet", "minionn7", "deepid"])
def test_a_module_is_rewritten_without_a_change(name: str) -> None:
    side = 64 if name == "deepid" else 32
    network = ARCHITECTURES[name](in_channels=3, image_size=(side, side), classes=10).eval()
    x = torch.rand(2, 3, side, side)
    with torch.no_grad():
        expected = network(x)
        for rewritten in (trace(network, (3, side, side)), shuffle(trace(network, (3, side, side)))):
            assert torch.allclose(rewritten.network()(x), expected, atol=1e-5)
        assert torch.allclose(merge(shuffle(trace(network, (3, side, side)))).network()(x), expected, atol=1e-4)


def test_the_example_network_loses_a_quarter_of_its_relus_by_shuffling() -> None:
    network = ARCHITECTURES["skipnet"](in_channels=1, image_size=(28, 28), classes=10)
    graph = trace(network, (1, 28, 28))
    before = relus(graph)
    assert before == count(network, (1, 28, 28)).relus
    assert relus(shuffle(graph)) < 0.75 * before
    assert relus(prune(shuffle(graph))) < relus(shuffle(graph))


class Gelu(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.GELU()
        self.fc = torch.nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.inner(x).flatten(1))


class Branching(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1)) if x.sum() > 0 else x.flatten(1)


class Uneven(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.conv(x)).flatten(1)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Gelu(), "layer inner .gelu.default. cannot be rewritten"),
        (Branching(12, 3), "Branching cannot be exported"),
        (Uneven(), "the tensors to be added have the shapes"),
    ],
)
def test_a_module_that_cannot_be_rewritten_is_named(network: torch.nn.Module, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        trace(network, (3, 2, 2))


class Applied(torch.nn.Module):
    """A function of the picture with a linear layer behind it, or before the function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], values: int = 48) -> None:
        super().__init__()
        self.function = function
        self.fc = torch.nn.Linear(values, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.function(x))
        return logits


def in_a_mode(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return x.relu().flatten(1)


def of_two(x: torch.Tensor) -> torch.Tensor:
    assert len(x) != EXAMPLES
    return x.flatten(1)


def joined_by_row(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.flatten(2), x.flatten(2)], -1).flatten(1)


@pytest.mark.parametrize(
    ("function", "values", "said"),
    [
        (joined_by_row, 96, "flattening is supported of"),
        (lambda x: F.dropout(x, 0.5).flatten(1), 48, "active"),
        (lambda x: F.batch_norm(x, None, None, training=True).flatten(1), 48, "by the pictures at hand"),
        (torch.nn.Sequential(torch.nn.BatchNorm2d(3, track_running_stats=False), torch.nn.Flatten()), 48, "at hand"),
        (in_a_mode, 48, "a block of its own"),
        (of_two, 48, "Applied cannot be exported"),
        (lambda x: x.flatten(2), 16, "flattening is supported of"),
        (lambda x: x.reshape(len(x) * 3, -1), 16, "is not flattening"),
        (lambda x: x.double().float().flatten(1), 48, "float32 throughout"),
        (lambda x: torch.zeros_like(x).copy_(x).flatten(1), 48, "cannot be rewritten"),
    ],
)
def test_what_a_list_of_layers_does_not_show_is_refused(
    function: Callable[[torch.Tensor], torch.Tensor], values: int, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        trace(Applied(function, values), (3, 4, 4))


@pytest.mark.parametrize(
    "layer", [torch.nn.Dropout2d(), torch.nn.AlphaDropout(), torch.nn.FeatureAlphaDropout(), torch.nn.Identity()]
)
def test_dropout_of_any_kind_vanishes_and_types_that_change_nothing_too(layer: torch.nn.Module) -> None:
    network = Applied(lambda x: layer.eval()(x).float().flatten(1))
    assert [type(step.operation) for step in trace(network, (3, 4, 4)).steps] == [Flatten, Dense]


def test_flat_tensors_may_be_longer_than_there_may_be_channels() -> None:
    assert len(trace(Applied(lambda x: x.flatten(1), 8 * 96 * 96), (8, 96, 96)).steps) == 2

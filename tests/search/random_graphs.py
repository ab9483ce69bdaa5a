"""Random networks with skips that are summed and concatenated, for property tests."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from assay.models.layer_graph import (
    Add,
    AnyOperation,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Flatten,
    LayerGraph,
    MaxPool,
    Norm,
    PadChannels,
    Relu,
    Square,
    Subsample,
    encode,
    shapes,
)
from assay.search.graph import Graph, of_layer_graph

PICTURE = (2, 6, 6)


@st.composite
def graphs(draw: st.DrawFn, most: int = 12) -> Graph:
    """A network of 3 x 6 x 6 pictures; each layer reads any values before it that fit."""
    operations: list[AnyOperation] = []
    for _ in range(draw(st.integers(1, most))):
        known = shapes(operations, PICTURE)
        operations.append(draw(_layers(known)))
    operations.append(Flatten(len(operations)))
    for _ in range(draw(st.integers(0, 2))):
        operations.append(Dense(len(operations), draw(st.integers(2, 5)), draw(st.booleans())))
        between = draw(st.sampled_from([None, Norm(len(operations)), Relu(len(operations), 0, operations[-1].out)]))  # type: ignore[attr-defined]
        operations += [between] if between else []
    operations.append(Dense(len(operations), 3))
    network = LayerGraph(PICTURE[0], PICTURE[1:], 3, encode(operations))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.7)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.3)
    return of_layer_graph(network)


@st.composite
def _layers(draw: st.DrawFn, known: list[tuple[int, ...]]) -> AnyOperation:
    value = len(known) - 1 - min(draw(st.integers(0, 5)), len(known) - 1)  # mostly near the end
    channels, height, width = known[value]
    alike = [v for v, shape in enumerate(known) if shape == known[value]]
    same_size = [v for v, shape in enumerate(known) if shape[1:] == known[value][1:]]
    start = draw(st.integers(0, channels))
    choices: list[AnyOperation] = [
        Relu(value, 0, channels),
        Relu(value, 0, channels),
        Relu(value, start, draw(st.integers(start, channels))),
        Norm(value),
        Add((value, draw(st.sampled_from(alike)))),
        Concat((value, *draw(st.lists(st.sampled_from(same_size), min_size=1, max_size=2)))),
        Conv(value, 2, bias=draw(st.booleans())),
        Conv(value, 3, (3, 3), padding=(1, 1), bias=draw(st.booleans())),
        PadChannels(value, draw(st.integers(0, 1)), 1),
        Square(value),
        Conv(value, channels, (3, 3), padding=(1, 1), groups=channels),
        Conv(value, 2, (3, 3), padding=(2, 2), dilation=(2, 2), bias=draw(st.booleans())),
        Subsample(value, draw(st.sampled_from([(2, 2), (1, 2)]))),
    ]
    if channels % 2 == 0:
        choices.append(Conv(value, 4, bias=draw(st.booleans()), groups=2))
    if min(height, width) >= 3:
        choices += [
            Conv(value, 2, (3, 3), draw(st.sampled_from([(1, 1), (2, 2)])), bias=True),
            Conv(value, 2, (3, 2), padding=(1, 0)),
            MaxPool(value, (2, 2), (2, 2)),
            AvgPool(value, (3, 3), (1, 1), (1, 1)),
        ]
    return draw(st.sampled_from(choices))


def outputs(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """Logits in double precision, so that what is left of a difference is rounding."""
    with torch.no_grad():
        return graph.network().double()(x.double())

"""A network as a list of layers with their weights: what rewrites read and write.

It is the list of `assay.models.layer_graph`, so what comes out is a model file that opens without code. Batch norms
stay batch norms, so that it can be trained further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
from torch import Tensor

from assay.models import Model
from assay.models.layer_graph import AnyOperation, Joining, LayerGraph, Shape, encode, shapes

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One layer: what it does, its state dict, and what it was called where it came from."""

    operation: AnyOperation
    weights: Weights = field(default_factory=dict)
    name: str = ""

    @property
    def reads(self) -> tuple[int, ...]:
        return self.operation.reads

    def reading(self, values: Sequence[int]) -> Step:
        """The same layer over other values."""
        if isinstance(self.operation, Joining):
            return replace(self, operation=msgspec.structs.replace(self.operation, inputs=tuple(values)))
        return replace(self, operation=msgspec.structs.replace(self.operation, input=values[0]))


@dataclass(frozen=True, slots=True)
class Graph:
    """Step i computes value i + 1; value 0 is the picture, normalised; the last value is the logits."""

    steps: tuple[Step, ...]
    picture: tuple[int, int, int]

    @property
    def operations(self) -> list[AnyOperation]:
        return [step.operation for step in self.steps]

    @property
    def shapes(self) -> list[Shape]:
        """Of each value."""
        return shapes(self.operations, self.picture)

    def uses(self) -> Counter[int]:
        """How often each value is read; the logits count as read once."""
        return Counter([j for step in self.steps for j in step.reads] + [len(self.steps)])

    def readers(self) -> dict[int, list[int]]:
        """For each value, the steps that read it."""
        found: dict[int, list[int]] = {v: [] for v in range(len(self.steps) + 1)}
        for i, step in enumerate(self.steps):
            for j in set(step.reads):
                found[j].append(i)
        return found

    def network(self) -> LayerGraph:
        """The torch module, in eval mode."""
        channels, *size = self.picture
        height, width = size
        module = LayerGraph(channels, (height, width), self.shapes[-1][0], encode(self.operations))
        state = {f"layers.{i}.{key}": t for i, step in enumerate(self.steps) for key, t in step.weights.items()}
        module.load_state_dict(state)
        return module.eval()

    def without_dead(self) -> Graph:
        """Only the layers that the logits depend on."""
        alive = {len(self.steps)}
        for i in reversed(range(len(self.steps))):
            if i + 1 in alive:
                alive.update(self.steps[i].reads)
        number = {0: 0}
        kept: list[Step] = []
        for i, step in enumerate(self.steps):
            if i + 1 in alive:
                kept.append(step.reading([number[j] for j in step.reads]))
                number[i + 1] = len(kept)
        return Graph(tuple(kept), self.picture)


def as_model(graph: Graph, like: Model) -> Model:
    """A `layer-graph` model with the pictures and classes of another."""
    network = graph.network()
    spec = msgspec.structs.replace(
        like.spec, architecture="layer-graph", arguments={"graph": encode(network.operations)}
    )
    return Model(network, spec).eval()


def of_layer_graph(network: LayerGraph) -> Graph:
    """The list of a network that is one already, with copies of its weights."""
    steps = [
        Step(operation, {key: t.detach().clone() for key, t in layer.state_dict().items()}, f"layers.{i}")
        for i, (operation, layer) in enumerate(zip(network.operations, network.layers, strict=True))
    ]
    channels, height, width = network.shapes[0]
    return Graph(tuple(steps), (channels, height, width))

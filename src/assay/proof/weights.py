"""Public weights: the verifier holds the network and evaluates its weights itself, once a batch."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof.field import Element, unpack
from assay.proof.layers.convolution import bind_outputs
from assay.proof.multilinear import Point, combine, eq_table, evaluate, narrow, pad_axes
from assay.proof.plan import Architecture, Interval, Plan, looked_up, reaches
from assay.proof.transcript import ProverChannel, VerifierChannel

_ARCHITECTURES: WeakKeyDictionary[IntegerNetwork, Architecture] = WeakKeyDictionary()


def architecture_of(network: IntegerNetwork) -> Architecture:
    """What is proven about this network, weights in the types that the kernels take. Kept with the network."""
    if network not in _ARCHITECTURES:
        _ARCHITECTURES[network] = _architecture(network)
    return _ARCHITECTURES[network]


def _architecture(network: IntegerNetwork) -> Architecture:
    nodes = tuple(
        replace(node, weight=narrow(node.weight)) if isinstance(node, g.Conv2d | g.Linear) else node
        for node in network.nodes
    )
    return Architecture(nodes, network.shapes, reaches(network.nodes, lambda k: _limits(network.nodes[k])))


def _limits(node: g.Node) -> tuple[int, int]:
    """Largest magnitude of a weight, and of a bias."""
    assert isinstance(node, g.Conv2d | g.Linear)
    weight, bias = (max(-int(a.min()), int(a.max()), 0) for a in (node.weight, node.bias))
    return weight, bias


def intervals_of(network: IntegerNetwork, known: Architecture) -> dict[int, Interval]:
    """The ranges of looked-up values that an honest prover chooses: no picture leads outside.

    Outside a picture, max pooling reads what is lowest by all that the verifier knows.
    """
    found = {}
    for position in looked_up(network.nodes):
        node = network.nodes[position]
        bound = network.bounds[node.inputs[0]]
        low, high = int(bound.low.min()), int(bound.high.max())
        if isinstance(node, g.MaxPool) and any(node.padding):
            low = min(low, -known.reach[node.input])
        found[position] = low, high
    return found


class NothingToSay:
    """The prover's side: the verifier holds the weights."""

    def weight(self, channel: ProverChannel, position: int, rows: Point, columns: Point, value: Element) -> None:
        """Nothing is said."""

    def bias(self, channel: ProverChannel, position: int, rows: Point) -> None:
        """Nothing is said."""

    def finish(self, channel: ProverChannel) -> None:
        """Nothing is owed."""


class PublicWeights:
    """The verifier's side. Cost: one pass over a layer's weights."""

    def __init__(self, plan: Plan) -> None:
        self._nodes = plan.nodes

    def weight(self, channel: VerifierChannel, position: int, rows: Point, columns: Point) -> Element:
        node = self._nodes[position]
        if isinstance(node, g.Linear):
            return evaluate(combine(node.weight, eq_table(rows)), columns)
        assert isinstance(node, g.Conv2d)
        table = bind_outputs(node, rows)
        return evaluate(pad_axes(table, table.shape[:-1]), columns)

    def bias(self, channel: VerifierChannel, position: int, rows: Point) -> Element:
        node = self._nodes[position]
        assert isinstance(node, g.Conv2d | g.Linear)
        return unpack(combine(node.bias[:, None], eq_table(rows)))[0]

    def finish(self, channel: VerifierChannel) -> None:
        """Nothing was taken on trust."""

"""The same count for an integer network, with what private inference pays for beside ReLUs: values that are rounded."""

from __future__ import annotations

from math import prod

from assay.integer import IntegerNetwork, Node
from assay.integer.graph import Conv2d, Linear, MaxPool, ReLU, Requantise, Square
from assay.integer.shapes import multiplications
from assay.search.count import Counts
from assay.search.operations import LayerCount


def count_integer(network: IntegerNetwork) -> Counts:
    """Count each node; a rectified requantisation counts as ReLUs, one that is not as nothing here."""
    return Counts(
        tuple(
            _node(node, [network.shapes[i] for i in node.inputs], shape)
            for node, shape in zip(network.nodes, network.shapes, strict=True)
        )
    )


def rounded_values(network: IntegerNetwork) -> int:
    """Values that are requantised, rectified or not."""
    shapes = zip(network.nodes, network.shapes, strict=True)
    return sum(prod(shape) for node, shape in shapes if isinstance(node, Requantise))


def _node(node: Node, given: list[tuple[int, ...]], shape: tuple[int, ...]) -> LayerCount:
    layer = LayerCount(node.name)
    match node:
        case Requantise(start=start, stop=stop) | ReLU(start=start, stop=stop):
            layer.relus = (stop - start) * prod(shape[1:])
        case Conv2d() | Linear():
            layer.macs, layer.parameters = multiplications(node, shape), node.weight.size + node.bias.size
        case MaxPool(kernel=kernel):
            layer.maxima = prod(shape) * (prod(kernel) - 1)
        case Square():
            layer.squares = prod(given[0])
    return layer

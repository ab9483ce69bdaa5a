"""The same network with the channels of its layers in another order.

What is to be rectified can so be put side by side: one contiguous range, which integer networks, proofs and private
inference run as a slice. Channels that are summed are one class and move together; a class that is concatenated, padded
or flattened over several places stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from assay.models.layer_graph import Add, Concat, Conv, Dense, Flatten, Norm, PadChannels, Relu, Shape
from assay.search.graph import Graph, Step

FIXED = 0
"""The class of the picture, and of all channels that may not move."""


def channel_classes(graph: Graph) -> list[int]:
    """For each value the class of its channels: values of one class must have one order."""
    shapes = graph.shapes
    parent = list(range(len(shapes)))

    def find(value: int) -> int:
        while parent[value] != value:
            value = parent[value]
        return value

    def tie(values: list[int]) -> None:
        roots = {find(v) for v in values}
        for root in roots:
            parent[root] = min(roots)

    for i, step in enumerate(graph.steps):
        for group in _tied(step, i + 1, shapes):
            tie(group)
    tie([FIXED, len(graph.steps)])
    return [find(v) for v in range(len(shapes))]


def _tied(step: Step, value: int, shapes: list[Shape]) -> list[list[int]]:
    """Groups of values whose channels must keep one order because of this step; with 0, none may move."""
    read = list(step.reads)
    match step.operation:
        case Conv(groups=1) | Dense():
            return []
        case Conv(groups=groups, out=out):
            same = groups == out == shapes[read[0]][0]
            return [[value, *read]] if same else [[FIXED, value, *read]]
        case Concat() | PadChannels():
            return [[FIXED, value, *read]]
        case Flatten():
            several = shapes[read[0]][1:] != (1, 1)
            return [[FIXED, value, *read]] if several else [[value, *read]]
        case Relu(start=start, stop=stop):
            whole = (start, stop) == (0, shapes[value][0])
            return [[value, *read]] if whole else [[FIXED, value, *read]]
        case Add():
            return [[value, *read]]
        case _:
            return [[value, *read]]


def reorder(graph: Graph, orders: Mapping[int, Tensor]) -> Graph:
    """The same function with new orders: `orders[class]` lists the old channel in each new place.

    Raises:
        ValueError: if a class may not move.
    """
    if FIXED in orders:
        raise ValueError("the channels of class 0 may not be moved")
    classes = channel_classes(graph)
    steps = []
    for i, step in enumerate(graph.steps):
        weights = dict(step.weights)
        out = orders.get(classes[i + 1])
        given = orders.get(classes[step.reads[0]])
        if out is not None and isinstance(step.operation, Conv | Dense | Norm):
            weights = {key: t[out] if t.ndim else t for key, t in weights.items()}
        mixes = isinstance(step.operation, Dense) or (isinstance(step.operation, Conv) and step.operation.groups == 1)
        if given is not None and mixes:
            weights["weight"] = weights["weight"][:, given]
        steps.append(replace(step, weights=weights))
    return Graph(tuple(steps), graph.picture)


def by_score(graph: Graph, scores: Mapping[int, Tensor]) -> tuple[Graph, dict[int, Tensor]]:
    """Channels with the highest scores first.

    Args:
        scores: for each ReLU step, by its index, one number a channel. Those of one class are added up, each divided by
            its sum.

    Returns:
        The graph, and for each ReLU step the old channel in each new place.
    """
    classes = channel_classes(graph)
    sums: dict[int, Tensor] = {}
    movable = {i: score for i, score in scores.items() if classes[i + 1] != FIXED}
    for i, score in movable.items():
        share = score / score.sum().clamp_min(1e-12)
        sums[classes[i + 1]] = sums.get(classes[i + 1], torch.zeros_like(share)) + share
    orders = {c: torch.argsort(total, descending=True, stable=True) for c, total in sums.items()}
    taken = {i: orders.get(classes[i + 1], torch.arange(len(score))) for i, score in scores.items()}
    return reorder(graph, orders), taken

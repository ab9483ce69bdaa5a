"""Rewriting the real graph without changing what it computes: fewer operations, each with an integer form.

Batch norm goes into the convolution before it, borders into the operation that reads them; a ReLU after a max pool
moves before it, so that what is rounded is never negative. An affine map that nothing before it can take stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from assay.errors import ModelError
from assay.integer.graph import MaxPool, ReLU, Subsample
from assay.integer.real import Affine, AveragePool, Border, Convolution, Dense, RealNode, Sum, uses, with_inputs

Rewrite = Callable[[list[RealNode], int], bool]
"""Looks at node i; True if it changed something. A node may be put in the place of another, inputs of others not."""


def fold(nodes: list[RealNode]) -> list[RealNode]:
    """An equal graph without `Border`, and with as few affine maps as can be.

    Raises:
        ModelError: if a border is read by something that cannot take it in.
    """
    nodes = list(nodes)
    for rewrite in (_take_in_border, _fold_affine, _rectify_before_pool, _subsample_once):
        while any(rewrite(nodes, i) for i in range(len(nodes))):
            nodes = without_dead(nodes)
    for node in nodes:
        if isinstance(node, Border):
            raise ModelError(f"layer {node.name} pads with zeros for something other than a convolution or an average")
    return nodes


def without_dead(nodes: list[RealNode]) -> list[RealNode]:
    """Only the nodes that the output depends on, and the input."""
    alive = {0, len(nodes) - 1}
    for i in range(len(nodes) - 1, 0, -1):
        if i in alive:
            alive.update(nodes[i].inputs)
    number = {old: new for new, old in enumerate(sorted(alive))}
    return [with_inputs(nodes[i], [number[j] for j in nodes[i].inputs]) for i in sorted(alive)]


def _take_in_border(nodes: list[RealNode], i: int) -> bool:
    node = nodes[i]
    if not isinstance(node, Convolution | AveragePool) or not isinstance(border := nodes[node.input], Border):
        return False
    top, bottom, left, right = (a + b for a, b in zip(node.padding, border.padding, strict=True))
    nodes[i] = replace(node, input=border.input, padding=(top, bottom, left, right))
    return True


def _fold_affine(nodes: list[RealNode], i: int) -> bool:
    """scale · (W x + b) + shift = (scale · W) x + (scale · b + shift), where nothing else reads W x + b."""
    node = nodes[i]
    if not isinstance(node, Affine):
        return False
    before = nodes[node.input]
    if uses(nodes)[node.input] != 1 or not isinstance(before, Affine | Convolution | Dense):
        return False
    if isinstance(before, Affine):
        nodes[i] = replace(before, scale=before.scale * node.scale, shift=before.shift * node.scale + node.shift)
    else:
        scale = node.scale.reshape(-1, *(1,) * (before.weight.ndim - 1))
        nodes[i] = replace(before, weight=before.weight * scale, bias=before.bias * node.scale + node.shift)
    return True


def _rectify_before_pool(nodes: list[RealNode], i: int) -> bool:
    """relu(max(x)) = max(relu(x)); in integers, the half of the range below zero is not wasted."""
    node = nodes[i]
    if not isinstance(node, ReLU) or not isinstance(pool := nodes[node.input], MaxPool):
        return False
    if uses(nodes)[node.input] != 1 or not isinstance(nodes[pool.input], Convolution | Dense | Sum | Affine):
        return False
    nodes[node.input] = replace(node, input=pool.input)
    nodes[i] = replace(pool, input=node.input)
    return True


def _subsample_once(nodes: list[RealNode], i: int) -> bool:
    """Rows and columns are sliced one after the other; here both at once."""
    node = nodes[i]
    if not isinstance(node, Subsample) or not isinstance(before := nodes[node.input], Subsample):
        return False
    down, across = (a * b for a, b in zip(node.stride, before.stride, strict=True))
    nodes[i] = replace(node, input=before.input, stride=(down, across))
    return True

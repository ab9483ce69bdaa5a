"""Linear layers with nothing between them become one: the same function, with fewer values to round.

In integers, what a linear layer gives is rounded before the next one reads it, which costs far more than a product:
commitments in a proof, rounds and bytes between two parties. The layers of a CryptoNAS network are joined by a 1x1
convolution over concatenated, averaged convolutions; here that is a sum of convolutions over rectified maps, of which
only the sum is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeGuard

import numpy as np
import torch

from assay.integer.fold import without_dead
from assay.integer.graph import Concat, Flatten, Pair, ReLU, Shape
from assay.integer.real import Affine, AveragePool, Convolution, Dense, RealNode, Reals, Sum, evaluate, with_inputs

MAC_GROWTH = 2.0
"""A composed network may have so many multiplications, relative to the one that was given."""


def compose(nodes: Sequence[RealNode], picture: Shape) -> list[RealNode]:
    """An equal graph in which fewer tensors are rounded, or the given one.

    All layers that can be composed are; where that takes too many multiplications, each alone that does not.

    Args:
        nodes: a folded graph.
        picture: shape of its input, `c h w`.
    """
    sizes = shapes(nodes, picture)
    places = {i: terms for i in range(len(nodes)) if (terms := _terms(nodes, sizes, i))}
    if not places:
        return list(nodes)
    best, most = list(nodes), MAC_GROWTH * macs(nodes, picture)
    chosen: set[int] = set()
    for trial in (places.keys(), *({i} for i in places)):
        if trial <= chosen:
            continue
        made = _composed(nodes, {i: places[i] for i in chosen | trial})
        if roundings(made) < roundings(best) and macs(made, picture) <= most:
            best, chosen = made, chosen | trial
    return best


def shapes(nodes: Sequence[RealNode], picture: Shape) -> list[Shape]:
    """Of every tensor of one picture."""
    with torch.inference_mode():
        return [tuple(t.shape[1:]) for t in evaluate(nodes, torch.zeros(1, *picture))]


def macs(nodes: Sequence[RealNode], picture: Shape) -> int:
    """Multiplications of weights and values."""
    return sum(
        node.weight.size * prod(shape[1:])
        for node, shape in zip(nodes, shapes(nodes, picture), strict=True)
        if isinstance(node, Convolution | Dense)
    )


def roundings(nodes: Sequence[RealNode]) -> int:
    """Tensors of products or sums that something reads that needs few bits: not a ReLU, nor a sum."""
    needed = {
        i
        for node in nodes
        if not isinstance(node, ReLU | Sum)
        for i in node.inputs
        if isinstance(nodes[i], Convolution | Dense | Sum)
    }
    return len(needed)


def _composed(nodes: Sequence[RealNode], terms: Mapping[int, list[RealNode]]) -> list[RealNode]:
    """The graph with the sum of some layers in the place of one, wherever that is said."""
    made: list[RealNode] = []
    number: list[int] = []
    for i, node in enumerate(nodes):
        written = []
        for term in terms.get(i, [node]):
            inputs = [number[j] for j in term.inputs]
            if i in terms and isinstance(term, Dense):
                made.append(Flatten(inputs[0]))
                inputs = [len(made) - 1]
            made.append(replace(with_inputs(term, inputs), name=node.name))
            written.append(len(made) - 1)
        if len(written) > 1:
            made.append(Sum(tuple(written), name=node.name))
        number.append(len(made) - 1)
    return without_dead(made)


@dataclass(frozen=True, slots=True, eq=False)
class _Mix:
    """A linear layer that mixes channels at each place, over weighted windows of a map: matrix ⊗ window, plus bias."""

    input: int
    matrix: Reals
    bias: Reals
    window: Reals
    stride: Pair


def _terms(nodes: Sequence[RealNode], sizes: Sequence[Shape], i: int) -> list[RealNode]:
    """Layers whose sum is layer i, past a convolution behind it; none if it cannot be composed with one."""
    node = nodes[i]
    point = np.ones((1, 1))
    if isinstance(node, Convolution) and node.weight.shape[2:] == (1, 1) and node.groups == 1 and not any(node.padding):
        mix = _Mix(node.input, node.weight[:, :, 0, 0], node.bias, point, node.stride)
    elif isinstance(node, Dense) and isinstance(flat := nodes[node.input], Flatten):
        if sizes[flat.input][1:] != (1, 1):
            return []
        mix = _Mix(flat.input, node.weight, node.bias, point, (1, 1))
    else:
        return []
    ends = _ends(nodes, sizes, mix)
    if not any(_composable(nodes[end.input]) for end in ends):
        return []
    layers = [_layer(nodes, end) for end in ends]
    return [_over_all_pixels(layer, sizes[layer.input]) for layer in layers] if isinstance(node, Dense) else [*layers]


def _ends(nodes: Sequence[RealNode], sizes: Sequence[Shape], mix: _Mix) -> list[_Mix]:
    """The same past concatenations, averages and affine maps."""
    match node := nodes[mix.input]:
        case Concat():
            parts = np.split(mix.matrix, np.cumsum([sizes[j][0] for j in node.inputs])[:-1], axis=1)
            biases = [mix.bias, *[np.zeros_like(mix.bias)] * (len(parts) - 1)]
            split = zip(node.inputs, parts, biases, strict=True)
            moved = [replace(mix, input=j, matrix=matrix, bias=bias) for j, matrix, bias in split]
            return [end for part in moved for end in _ends(nodes, sizes, part)]
        case Affine(input=j, scale=scale, shift=shift):
            bias = mix.bias + mix.window.sum() * (mix.matrix @ shift)
            return _ends(nodes, sizes, replace(mix, input=j, matrix=mix.matrix * scale, bias=bias))
        case AveragePool(input=j, padding=(0, 0, 0, 0)):
            window = _spread(np.full(node.kernel, 1 / node.divisor), mix.window, node.stride)
            return _ends(nodes, sizes, replace(mix, input=j, window=window, stride=_times(mix.stride, node.stride)))
    return [mix]


def _composable(node: RealNode) -> TypeGuard[Convolution]:
    return isinstance(node, Convolution) and node.groups == 1 and node.dilation == (1, 1)


def _layer(nodes: Sequence[RealNode], mix: _Mix) -> Convolution:
    """A mix as a convolution; over another convolution, as one that reads what that reads. Zeros outside stay zeros."""
    node = nodes[mix.input]
    if not _composable(node):
        return Convolution(mix.input, mix.matrix[:, :, None, None] * mix.window, mix.bias, mix.stride)
    weight = _spread(np.tensordot(mix.matrix, node.weight, 1), mix.window, node.stride)
    bias = mix.bias + mix.window.sum() * (mix.matrix @ node.bias)
    return Convolution(node.input, weight, bias, _times(mix.stride, node.stride), node.padding)


def _spread(kernel: Reals, window: Reals, stride: Pair) -> Reals:
    """The kernel of a window over what `kernel` gives at that stride: copies of it, moved and weighted."""
    height, width = kernel.shape[-2:]
    down, across = stride
    rows, columns = (window.shape[0] - 1) * down + height, (window.shape[1] - 1) * across + width
    spread = np.zeros((*kernel.shape[:-2], rows, columns))
    for (y, x), weight in np.ndenumerate(window):
        spread[..., y * down : y * down + height, x * across : x * across + width] += weight * kernel
    return spread


def _times(one: Pair, other: Pair) -> Pair:
    return one[0] * other[0], one[1] * other[1]


def _over_all_pixels(layer: Convolution, shape: Shape) -> Dense:
    """A convolution that gives one pixel, as a linear layer over the flat map."""
    top, left = layer.padding[0], layer.padding[2]
    kernel = layer.weight[:, :, top : top + shape[1], left : left + shape[2]]
    weight = np.zeros((*kernel.shape[:2], *shape[1:]))
    weight[:, :, : kernel.shape[2], : kernel.shape[3]] = kernel
    return Dense(layer.input, weight.reshape(len(weight), -1), layer.bias)

"""The network as SafetyNets' client would run it by himself: every product and sum in F_p, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.integer.graph import Linear, Node, Square
from assay.kernels import kernel
from assay.proof.field import Words, add, from_integers, mul


@kernel
def _linear(x: Words, weight: Words, bias: Words, out: Words) -> None:
    """weight · x + bias for each row of x; all entries below p."""
    for i in range(len(x)):
        for o in range(len(weight)):
            total = bias[o]
            for k in range(x.shape[1]):
                total = add(total, mul(x[i, k], weight[o, k]))
            out[i, o] = total


@kernel
def _square(x: Words, out: Words) -> None:
    for i in range(len(x)):
        for k in range(x.shape[1]):
            out[i, k] = mul(x[i, k], x[i, k])


def elements(values: NDArray[np.int64]) -> Words:
    """Field elements of an array of any shape."""
    return from_integers(values).reshape(values.shape)


def prepared(nodes: Sequence[Node]) -> list[tuple[Words, Words] | None]:
    """The weights of each linear layer as field elements; None for a square.

    Raises:
        ValueError: if there is anything else: this loop is for SafetyNets' fully connected networks.
    """
    layers: list[tuple[Words, Words] | None] = []
    for node in nodes:
        if not isinstance(node, Linear | Square):
            raise ValueError(f"the modular loop has no {type(node).__name__}")
        layers.append((elements(node.weight), elements(node.bias)) if isinstance(node, Linear) else None)
    return layers


def run(layers: Sequence[tuple[Words, Words] | None], x: NDArray[np.int64]) -> Words:
    """The outputs as field elements for flat features."""
    values = elements(x)
    for layer in layers:
        if layer is None:
            out = np.empty_like(values)
            _square(values, out)
        else:
            out = np.empty((len(values), len(layer[0])), np.uint64)
            _linear(values, *layer, out)
        values = out
    return values

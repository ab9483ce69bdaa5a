"""Small integer networks that between them use every operation."""

from __future__ import annotations

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from integer_networks import convolutional, drawing, network, perceptron, pictures, residual

__all__ = ["NETWORKS", "network", "pictures", "weights"]

weights = drawing(21)


def squares() -> IntegerNetwork:
    """A square that is rounded, linear layers one after the other, a tensor that two layers read, a pool first."""
    return network(
        g.Input((3, 4, 4)),
        g.MaxPool(input=0, kernel=(2, 2), stride=(2, 2)),
        g.Conv2d(input=1, weight=weights(4, 3, 1, 1, largest=3), bias=weights(4)),
        g.Conv2d(input=2, weight=weights(2, 4, 2, 2, largest=3), bias=weights(2)),
        g.Conv2d(input=1, weight=weights(2, 3, 2, 2, largest=3), bias=weights(2), stride=(2, 2)),
        g.Add(inputs=(3, 4), shifts=(0, 2)),
        g.Requantise(input=5, shift=4, low=-255, high=255),
        g.Square(input=6),
        g.Requantise(input=7, shift=5, low=0, high=255),
        g.Flatten(input=8),
        g.Linear(input=9, weight=weights(5, 2), bias=weights(5)),
    )


NETWORKS = {
    "perceptron": perceptron(weights),
    "convolutional": convolutional(weights),
    "residual": residual(weights),
    "squares": squares(),
}

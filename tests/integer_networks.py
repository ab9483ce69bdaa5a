"""Small integer networks that proofs and private inference are both tested on; the weights are the caller's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from assay.integer import IntegerNetwork
from assay.integer import graph as g

Draw = Callable[..., g.Ints]
"""Called with a shape: weights of it."""


def drawing(seed: int) -> Draw:
    """Integers from -20 to 20, or to `largest`, from one stream."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int, largest: int = 20) -> g.Ints:
        return rng.integers(-largest, largest + 1, shape).astype(np.int64)

    return weights


def network(*nodes: g.Node, classic: bool = False) -> IntegerNetwork:
    last = nodes[-1]
    assert isinstance(last, g.Linear)
    return IntegerNetwork(nodes, tuple(f"class {k}" for k in range(len(last.weight))), 1.0, classic)


def perceptron(weights: Draw) -> IntegerNetwork:
    """Flatten of sides that are powers of two, one hidden layer."""
    return network(
        g.Input((1, 4, 4)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=weights(6, 16), bias=weights(6)),
        g.Requantise(input=2, shift=6, low=0, high=255, start=0, stop=6),
        g.Linear(input=3, weight=weights(3, 6), bias=weights(3)),
    )


def convolutional(weights: Draw) -> IntegerNetwork:
    """Offset, signed and partly rectified channels, both kinds of max pooling, flatten of odd sides."""
    return network(
        g.Input((1, 12, 12)),
        g.Offset(input=0, value=np.array([-33])),
        g.Conv2d(input=1, weight=weights(5, 1, 5, 5), bias=weights(5), padding=(2, 2, 2, 2)),
        g.Requantise(input=2, shift=6, low=-128, high=127, start=1, stop=4),
        g.MaxPool(input=3, kernel=(2, 2), stride=(2, 2)),
        g.Conv2d(input=4, weight=weights(6, 5, 3, 3), bias=weights(6)),
        g.Requantise(input=5, shift=7, low=-128, high=127),
        g.MaxPool(input=6, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
        g.Flatten(input=7),
        g.Linear(input=8, weight=weights(3, 24), bias=weights(3)),
    )


def residual(weights: Draw) -> IntegerNetwork:
    """Strides, dilation, groups, a shortcut by subsampling and padding, plain ReLU, concatenation, average pooling."""
    return network(
        g.Input((2, 8, 8)),
        g.Conv2d(input=0, weight=weights(4, 1, 3, 3), bias=weights(4), padding=(1, 1, 1, 1), groups=2),
        g.Requantise(input=1, shift=6, low=0, high=255, start=0, stop=4),
        g.Conv2d(
            input=2, weight=weights(8, 4, 3, 3), bias=weights(8), stride=(2, 2), padding=(2, 2, 2, 2), dilation=(2, 2)
        ),
        g.Subsample(input=2, stride=(2, 2)),
        g.PadChannels(input=4, before=1, after=3),
        g.Add(inputs=(3, 5), shifts=(0, 6)),
        g.Requantise(input=6, shift=7, low=-128, high=127),
        g.ReLU(input=7, start=2, stop=8),
        g.Concat(inputs=(8, 5)),
        g.SumPool(input=9, kernel=(3, 3), stride=(1, 1), padding=(1, 0, 1, 0)),
        g.Requantise(input=10, shift=3, low=-128, high=127),
        g.Add(inputs=(11, 11), shifts=(0, 1)),
        g.Flatten(input=12),
        g.Linear(input=13, weight=weights(4, 144), bias=weights(4)),
    )


def pictures(of: IntegerNetwork, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *of.input_shape)).astype(np.uint8)

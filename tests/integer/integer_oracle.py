"""Comparison of the fast execution with the definition in plain Python, and random networks to compare them on."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import strategies as st

from assay.integer import LARGEST, IntegerNetwork, Node
from assay.integer.definition import centred, define
from assay.integer.graph import Flatten, Input, Ints


def defined(network: IntegerNetwork, picture: Ints) -> list[np.ndarray]:
    """Every tensor of one picture by the definition; reduced mod p after each node of a classic network."""
    values = [picture.astype(object)]
    for node in network.nodes[1:]:
        value = np.asarray(define(node, values), dtype=object)
        values.append(np.vectorize(centred, otypes=[object])(value) if network.classic else value)
    return values


def wraps(network: IntegerNetwork, x: Ints) -> dict[int, int]:
    """How many true integers of each node are not in ±(p-1)/2, by the definition; nodes without any left out."""
    found: Counter[int] = Counter()
    for picture in x:
        values = defined(network, picture)
        for position, node in enumerate(network.nodes[1:], 1):
            true = np.asarray(define(node, values), dtype=object)
            found[position] += int((np.abs(true) > LARGEST).sum())
    return dict(+found)


def assert_as_defined(network: IntegerNetwork, x: Ints) -> None:
    """Bit for bit, every node, every picture, and within the bounds."""
    trace, outputs = network.trace(x), network.run(x, threads=2)
    assert np.array_equal(outputs, trace.values[-1])
    for n in range(len(x)):
        for position, value in enumerate(defined(network, x[n])):
            assert np.array_equal(trace.values[position][n], value), (network.nodes[position], n)
    for value, bound in zip(trace.values, network.bounds, strict=True):
        shape = (1, -1, *(1,) * (value.ndim - 2))
        assert (value >= bound.low.reshape(shape)).all()
        assert (value <= bound.high.reshape(shape)).all()


def network_of(
    shape: tuple[int, int, int], *nodes: Node, low: int = 0, high: int = 255, classic: bool = False
) -> IntegerNetwork:
    """The nodes after an input of that shape; flattened at the end if need be."""
    from assay.integer.shapes import shapes_of

    chain: list[Node] = [Input(shape, low, high), *nodes]
    if len(shapes_of(chain)[-1]) == 3:
        chain.append(Flatten(len(chain) - 1))
    outputs = shapes_of(chain)[-1][0]
    return IntegerNetwork(tuple(chain), tuple(str(i) for i in range(outputs)), 1.0, classic)


def pictures(network: IntegerNetwork, n: int, seed: int) -> Ints:
    """Random ones, the extremes among them."""
    rng = np.random.default_rng(seed)
    low, high = network.input.low, network.input.high
    x = rng.integers(low, high + 1, (n, *network.input_shape))
    x[0] = np.where(rng.random(network.input_shape) < 0.5, low, high)
    return x


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
seeds = st.integers(0, 2**32 - 1)


@st.composite
def paddings(draw: st.DrawFn, most: tuple[int, int]) -> tuple[int, int, int, int]:
    down, across = (st.integers(0, m) for m in most)
    return draw(down), draw(down), draw(across), draw(across)

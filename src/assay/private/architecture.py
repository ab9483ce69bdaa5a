"""What the client is told of a network: the graph with the shapes of its weights, and how many bits its values take.

Public: operations, wiring, geometry, shifts and limits of rounding, names of layers and classes, and for each tensor
the bits of the largest value that the weights allow. Not public: weights, biases, offsets, and the intervals that
follow from them. Both parties derive every step of the protocol from this text and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, cast

import msgspec
import numpy as np

from assay.errors import ModelError
from assay.integer import Bound, IntegerNetwork
from assay.integer import graph as g
from assay.integer.files import Graph, graph_text
from assay.integer.shapes import shapes_of, title
from assay.private.nonlinear import ring_bits
from assay.private.ring import LARGEST_RING, Ring

VERSION = 1
MAX_WEIGHTS = 1 << 27
"""Weights that an architecture may speak of."""
MAX_VALUES = 1 << 27
"""Of all tensors of one picture: a client takes some twenty bytes of memory for each, and the server its own share."""

Interval = tuple[int, int]


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it is sent."""

    version: int
    graph: str
    weights: dict[str, tuple[int, ...]]
    weight_bits: int
    bits: list[int]


@dataclass(frozen=True, eq=False)
class Architecture:
    """The public part of an integer network.

    Attributes:
        nodes: as in the network, all weights zero.
        weight_bits: every weight has a magnitude of at most 2^(weight_bits-1).
        bits: of each tensor: every value v has -2^(bits-1) <= v < 2^(bits-1).
        text: what it was read from; the digest is of these bytes.
    """

    nodes: tuple[g.Node, ...]
    class_names: tuple[str, ...]
    output_scale: float
    weight_bits: int
    bits: tuple[int, ...]
    text: bytes

    @property
    def input(self) -> g.Input:
        """The picture."""
        return cast(g.Input, self.nodes[0])  # `shapes_of` has checked it

    @cached_property
    def shapes(self) -> tuple[g.Shape, ...]:
        """Of each tensor of one picture."""
        return shapes_of(self.nodes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text, in hex: what a client may pin."""
        return hashlib.sha256(b"assay.private/architecture/1" + self.text).hexdigest()

    @cached_property
    def intervals(self) -> tuple[Interval, ...]:
        """Lowest and highest value of each tensor, as far as they are public."""
        found: list[Interval] = []
        for node, shape, bits in zip(self.nodes, self.shapes, self.bits, strict=True):
            low, high = _interval(node, [found[i] for i in node.inputs], shape[0])
            reach = 1 << (bits - 1)
            low, high = max(low, -reach), min(high, reach - 1)
            if low > high:
                raise ModelError(f"layer {node.name} is said to hold values of {bits} bits, which it cannot")
            found.append((low, high))
        return tuple(found)

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """The same, one a channel, as the protocols read them."""
        return tuple(
            Bound(np.full(shape[0], low), np.full(shape[0], high))
            for shape, (low, high) in zip(self.shapes, self.intervals, strict=True)
        )

    @cached_property
    def ring(self) -> Ring:
        """The smallest ring in which all tensors, and what is compared on the way, are themselves.

        Raises:
            ModelError: naming the layer, if that has more than 48 bits.
        """
        needed = [_width(interval) for interval in self.intervals]
        for position, node in enumerate(self.nodes):
            if isinstance(node, SECURE):
                needed[position] = max(needed[position], ring_bits(node, self.bounds[node.input]))
        for position, (node, bits) in enumerate(zip(self.nodes, needed, strict=True)):
            if bits > LARGEST_RING:
                raise ModelError(
                    f"{title(position, node)} needs values of {bits} bits; two parties can compute with up to "
                    f"{LARGEST_RING}: compile with fewer bits"
                )
        return Ring(max(SMALLEST_RING, *needed))


SMALLEST_RING = 16
"""Bits. Smaller ones save nothing that could be measured."""


def _width(interval: Interval) -> int:
    """Bits of a two's complement number for every value."""
    low, high = interval
    return max(high.bit_length(), (~low).bit_length()) + 1


def describe(network: IntegerNetwork) -> Architecture:
    """The public part of a network.

    Raises:
        ModelError: if it is a classic network: their values are of a prime field, for proofs.
    """
    if network.classic:
        raise ModelError("a classic network is for proofs; compile again with --no-classic for private inference")
    weights = {str(i): _weight_shape(node) for i, node in enumerate(network.nodes) if isinstance(node, WEIGHTED)}
    weight_bits = max([LEAST_WEIGHT_BITS, *(_weight_bits(node) for node in network.nodes if isinstance(node, LINEAR))])
    text = _Text(VERSION, graph_text(network), weights, weight_bits, [bound.bits for bound in network.bounds])
    return _parsed(msgspec.json.encode(text))


LINEAR = (g.Conv2d, g.Linear)
"""Operations that multiply by weights."""

SECURE = (g.ReLU, g.Requantise, g.MaxPool, g.Square)
"""Operations that take a protocol between the two parties."""

LEAST_WEIGHT_BITS = 8
"""Fewer are not said: it would tell more of the weights than it saves."""


def _weight_bits(node: g.Conv2d | g.Linear) -> int:
    largest = max(int(node.weight.max()), -int(node.weight.min()))
    return (largest - 1).bit_length() + 1 if largest else 1


WEIGHTED = (g.Conv2d, g.Linear, g.Offset)
"""Operations that hold numbers of the server's."""


def _weight_shape(node: g.Conv2d | g.Linear | g.Offset) -> tuple[int, ...]:
    return node.value.shape if isinstance(node, g.Offset) else node.weight.shape


def read(text: bytes) -> Architecture:
    """The architecture from its text, which may be anybody's.

    Raises:
        ModelError: if it does not make sense or is beyond a limit; looked at before memory is taken.
    """
    try:
        return _parsed(text)
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, OverflowError, RecursionError, ModelError) as error:
        raise ModelError(f"the network that the server describes cannot be used: {error}") from error


def _parsed(text: bytes) -> Architecture:
    said = msgspec.json.decode(text, type=_Text)
    graph = msgspec.json.decode(said.graph, type=Graph)
    if said.version != VERSION or graph.version != 1 or graph.classic:
        raise ModelError(f"it is of version {said.version}, or classic; version {VERSION} is understood here")
    if not said.weights.keys() <= {str(i) for i in range(len(graph.nodes))}:
        raise ModelError("it speaks of weights of nodes that it does not have")
    if not all(1 <= side <= MAX_WEIGHTS for shape in said.weights.values() for side in shape):
        raise ModelError("it speaks of weights of no size")
    if sum(prod(shape) for shape in said.weights.values()) > MAX_WEIGHTS:
        raise ModelError(f"it has more than {MAX_WEIGHTS} weights")
    nodes = tuple(_node(i, dict(fields), said.weights.get(str(i), ())) for i, fields in enumerate(graph.nodes))
    found = Architecture(nodes, graph.class_names, graph.output_scale, said.weight_bits, tuple(said.bits), text)
    _check(found)
    return found


def _check(found: Architecture) -> None:
    if len(found.bits) != len(found.nodes) or not all(1 <= bits <= 64 for bits in found.bits):
        raise ModelError("it does not say of each tensor how many bits it has")
    if sum(prod(shape) for shape in found.shapes) > MAX_VALUES:
        raise ModelError(f"it has more than {MAX_VALUES} values a picture")
    if not LEAST_WEIGHT_BITS <= found.weight_bits <= 32:
        raise ModelError(f"its weights are said to have {found.weight_bits} bits")
    if not 0 < found.output_scale < float("inf"):
        raise ModelError(f"its outputs have the scale {found.output_scale}")
    if found.shapes[-1] != (len(found.class_names),):
        raise ModelError(f"its last node gives {found.shapes[-1]} values for {len(found.class_names)} class names")
    _ = found.ring


def _node(position: int, said: dict[str, Any], shape: tuple[int, ...]) -> g.Node:
    operation = g.OPERATIONS.get(str(said.pop("op", None)))
    if operation is None:
        raise ModelError(f"node {position} is of no known kind")
    lengths = {g.Conv2d: 4, g.Linear: 2, g.Offset: 1}
    if len(shape) != lengths.get(operation, 0):
        raise ModelError(f"node {position} has weights of shape {shape}")
    if operation is g.Offset:
        said["value"] = _zeros(shape)
    elif shape:
        said |= {"weight": _zeros(shape), "bias": _zeros(shape[:1])}
    node: g.Node = msgspec.convert(said, operation)  # type: ignore[assignment]
    return node


def _zeros(shape: tuple[int, ...]) -> g.Ints:
    """Takes 8 bytes, whatever the shape."""
    return np.broadcast_to(np.zeros((), np.int64), shape)


def _interval(node: g.Node, given: Sequence[Interval], channels: int) -> Interval:
    """What values can be, knowing no weight."""
    low, high = given[0] if given else (0, 0)
    match node:
        case g.Input():
            return node.low, node.high
        case g.Offset() | g.Conv2d() | g.Linear():
            return -(1 << 63), 1 << 63
        case g.Add(shifts=shifts):
            return (
                sum(a << s for (a, _), s in zip(given, shifts, strict=True)),
                sum(b << s for (_, b), s in zip(given, shifts, strict=True)),
            )
        case g.SumPool(kernel=kernel, padding=padding):
            count = prod(kernel)
            sides = (low * count, high * count)
            return (min(sides[0], 0), max(sides[1], 0)) if any(padding) else sides
        case g.ReLU(start=start, stop=stop):
            return (max(low, 0) if stop - start == channels else low), max(high, 0)
        case g.Square():
            inside = low <= 0 <= high
            return (0 if inside else min(low * low, high * high)), max(low * low, high * high)
        case g.Requantise(shift=shift, low=least, high=most):
            bottom, top = (min(max((v + node.half) >> shift, least), most) for v in (low, high))
            if node.stop > node.start:
                bottom, top = (max(bottom, 0) if node.stop - node.start == channels else bottom), max(top, 0)
            return bottom, top
        case g.Concat():
            return min(a for a, _ in given), max(b for _, b in given)
        case g.PadChannels():
            return min(low, 0), max(high, 0)
        case g.Flatten() | g.Subsample() | g.MaxPool():
            return low, high

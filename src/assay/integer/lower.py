"""From the real graph to integer operations.

Every integer tensor stands for scale · integer + shift, a channel. Products of 8-bit weights are *wide*; a wide tensor
is requantised before another product reads it, at a scale shared by all tensors that must be comparable (those that are
concatenated, or passed on by pooling). A sum takes products as they are, brought to one scale by exact left shifts, and
is rounded once. An affine map costs nothing where the next product can take it in.

Padding is exact: the network's zero is the real zero. For the picture itself, whose zero after normalisation is the
mean, each channel is first moved by the mean rounded to a whole grey level; what lies outside the picture then stands
for a grey level that is at most half a level off, and everything inside is corrected in the bias.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from assay.errors import ModelError
from assay.integer.calibrate import Observed, exponent_for, exponent_of, is_power_of_two
from assay.integer.graph import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MaxPool,
    Node,
    Offset,
    PadChannels,
    ReLU,
    Requantise,
    Square,
    Subsample,
    SumPool,
)
from assay.integer.quantise import Rounded, Value, round_weights
from assay.integer.real import Affine, AveragePool, Convolution, Dense, RealNode, Sum, uses

SUMMED = 64
"""Windows up to this many values are summed and read by a product as they are; larger sums are rounded first."""

STREAM_BITS = 12
"""A sum that is not rectified and that no product reads directly (a pre-activation network's stream) keeps so many."""

LARGEST_DIAGONAL = 4096
"""Entries of a flat tensor that may be rescaled one by one, which takes a matrix."""

_WIDE = (Convolution, Dense, Sum, AveragePool, Square)
_PASSING = (MaxPool, Flatten, Subsample, PadChannels)


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """Integer nodes, the scale of the output, and for each real node the integer tensor that stands for it."""

    nodes: tuple[Node, ...]
    output_scale: float
    values: dict[int, Value]


def lower(nodes: Sequence[RealNode], observed: Sequence[Observed], bits: int) -> Lowered:
    """Integer nodes for a folded real graph; activations have `bits` bits, 0..2^bits − 1 where they are rectified.

    Raises:
        ModelError: by the layer's name, where an affine map of a large flat tensor is not followed by a product.
    """
    lowering = _Lowering(nodes, observed, bits)
    for i in range(len(nodes)):
        lowering.values[i] = lowering.value(i)
    last = lowering.values[len(nodes) - 1]
    if not last.plain:
        last = lowering.rescaled(len(nodes) - 1, last)
    return _pruned(lowering, last)


def _pruned(lowering: _Lowering, last: Value) -> Lowered:
    alive = {0, last.index}
    for i in range(last.index, 0, -1):
        if i in alive:
            alive.update(lowering.out[i].inputs)
    number = {old: new for new, old in enumerate(sorted(alive))}
    nodes = tuple(_renumbered(lowering.out[i], [number[j] for j in lowering.out[i].inputs]) for i in sorted(alive))
    values = {i: replace(v, index=number[v.index]) for i, v in lowering.values.items() if v.index in number}
    return Lowered(nodes, float(last.scale[0]), values)


def _renumbered(node: Node, inputs: list[int]) -> Node:
    if isinstance(node, Add | Concat):
        return replace(node, inputs=tuple(inputs))
    return node if isinstance(node, Input) else replace(node, input=inputs[0])


class _Lowering:
    def __init__(self, nodes: Sequence[RealNode], observed: Sequence[Observed], bits: int) -> None:
        self.nodes, self.observed, self.bits = nodes, observed, bits
        self.uses = uses(nodes)
        self.readers: dict[int, list[RealNode]] = defaultdict(list)
        for node in nodes:
            for i in node.inputs:
                self.readers[i].append(node)
        self.classes = scale_classes(nodes)
        self.exponents: dict[int, int] = {}
        self.out: list[Node] = []
        self.values: dict[int, Value] = {}
        self.narrowed: dict[int, Value] = {}
        self.centred: dict[bytes, Value] = {}

    def emit(self, node: Node, i: int) -> int:
        self.out.append(replace(node, name=self.nodes[i].name))
        return len(self.out) - 1

    def value(self, i: int) -> Value:
        """The integer tensor for real node i, its inputs being there."""
        node = self.nodes[i]
        match node:
            case Input(shape=shape):
                return Value(self.emit(node, i), np.full(shape[0], 1 / 255), np.zeros(shape[0]), wide=False)
            case Affine(input=j, scale=scale, shift=shift):
                v = self.narrow(j) if self.values[j].wide else self.values[j]
                return Value(v.index, v.scale * scale, v.shift * scale + shift, wide=False)
            case Convolution() | Dense():
                return self.product(i, node)
            case Sum():
                return self.sum(i, node)
            case AveragePool():
                return self.average(i, node)
            case ReLU():
                return self.relu(i, node)
            case Concat(inputs=inputs):
                parts = [self.narrow(j) for j in inputs]
                index = self.emit(Concat(tuple(v.index for v in parts)), i)
                scale, shift = (np.concatenate(sides) for sides in ([v.scale for v in parts], [v.shift for v in parts]))
                return Value(index, scale, shift, wide=False)
            case Square(input=j):
                v = self.values[j] if self.values[j].plain and not self.values[j].wide else self.narrow(j)
                return Value(self.emit(Square(v.index), i), v.scale**2, v.shift, wide=True)
            case _:
                return self.passed(i, node)

    def passed(self, i: int, node: RealNode) -> Value:
        """Pooling and moving: the scale stays."""
        (j,) = node.inputs
        v = self.values[j]
        match node:
            case MaxPool():
                v = self.narrow(j) if v.wide or (v.scale < 0).any() else v
                return replace(v, index=self.emit(replace(node, input=v.index), i))
            case Flatten():
                times = prod(self.shape(j)[1:])
                index = self.emit(Flatten(v.index), i)
                return Value(index, v.scale.repeat(times), v.shift.repeat(times), v.wide)
            case Subsample():
                return replace(v, index=self.emit(replace(node, input=v.index), i))
            case PadChannels(before=before, after=after):
                v = v if v.plain else self.narrow(j)
                scale = np.full(before + len(v.scale) + after, v.scale[0])
                return Value(self.emit(replace(node, input=v.index), i), scale, np.zeros(len(scale)), v.wide)
        raise ModelError(f"layer {node.name} has no integer form")

    def shape(self, i: int) -> tuple[int, ...]:
        return self.observed[i].shape

    def product(self, i: int, node: Convolution | Dense) -> Value:
        padding = node.padding if isinstance(node, Convolution) else ()
        v = self.operand(node.input, any(padding))
        groups = node.groups if isinstance(node, Convolution) else 1
        rounded = round_weights(node.weight, node.bias, v, self.observed[node.input].mean, groups)
        if isinstance(node, Dense):
            index = self.emit(Linear(v.index, rounded.weight, rounded.bias), i)
        else:
            how = (node.stride, node.padding, node.dilation, node.groups)
            index = self.emit(Conv2d(v.index, rounded.weight, rounded.bias, *how), i)
        return _wide(index, rounded)

    def operand(self, j: int, padded: bool) -> Value:
        """What a product over tensor j reads."""
        v = self.values[j]
        if v.wide:
            return self.narrow(j)
        if padded and v.shift.any():
            return self.centre(v, j) if v.index == 0 and v.scale.all() else self.narrow(j)
        return v

    def centre(self, v: Value, j: int) -> Value:
        """The picture less its mean in whole grey levels. What is left of the shift is below half a level."""
        levels = np.rint(-v.shift / v.scale)
        key = levels.tobytes()
        if key not in self.centred:
            index = self.emit(Offset(v.index, -levels.astype(np.int64)), j)
            self.centred[key] = Value(index, v.scale, v.shift, wide=False)
        return replace(self.centred[key], scale=v.scale, shift=v.shift + v.scale * levels)

    def sum(self, i: int, node: Sum) -> Value:
        terms = []
        for j in node.inputs:
            v = self.values[j]
            v = self.narrow(j) if v.wide and self.uses[j] > 1 else v
            terms.append(v if v.plain and is_power_of_two(v.scale[0]) else self.rescaled(j, v))
        exponents = [exponent_of(v.scale[0]) for v in terms]
        shifts = tuple(e - min(exponents) for e in exponents)
        index = self.emit(Add(tuple(v.index for v in terms), shifts), i)
        return Value(index, np.full(len(terms[0].scale), 2.0 ** min(exponents)), terms[0].shift * 0, wide=True)

    def average(self, i: int, node: AveragePool) -> Value:
        v = self.operand(node.input, any(node.padding))
        index = self.emit(SumPool(v.index, node.kernel, node.stride, node.padding), i)
        area = prod(node.kernel)
        return Value(index, v.scale / node.divisor, v.shift * area / node.divisor, wide=area > SUMMED)

    def relu(self, i: int, node: ReLU) -> Value:
        v = self.values[node.input]
        if v.wide or not v.plain or v.scale[0] <= 0:
            return self.requantised(i, v, node.input, node.start, node.stop)
        return replace(v, index=self.emit(replace(node, input=v.index), i))

    def narrow(self, j: int) -> Value:
        """Tensor j with few bits, at the scale of its class."""
        if j not in self.narrowed:
            v = self.values[j]
            fits = v.plain and not v.wide and v.scale[0] == 2.0 ** self.exponent(j)
            self.narrowed[j] = v if fits else self.requantised(j, v, j)
        return self.narrowed[j]

    def requantised(self, i: int, v: Value, about: int, start: int = 0, stop: int = 0) -> Value:
        """v, which stands for real tensor `about`, rounded to the scale of the class of i and rectified in part."""
        if not v.plain or not is_power_of_two(v.scale[0]):
            v = self.rescaled(about, v)
        exponent = self.exponent(i)
        shift = exponent - exponent_of(v.scale[0])
        index = v.index
        if shift < 0:
            index, shift = self.emit(Add((index,), (-shift,)), i), 0
        low, high = self.limits(i)
        index = self.emit(Requantise(index, shift, low, high, start, stop), i)
        return Value(index, np.full(len(v.scale), 2.0**exponent), np.zeros(len(v.scale)), wide=False)

    def rescaled(self, i: int, v: Value) -> Value:
        """An affine map that nothing took in: one 8-bit weight a channel, of a convolution or a diagonal matrix."""
        channels = len(v.scale)
        mean = self.observed[i].mean
        if len(self.shape(i)) == 3:
            rounded = round_weights(np.ones((channels, 1, 1, 1)), np.zeros(channels), v, mean, channels)
            return _wide(self.emit(Conv2d(v.index, rounded.weight, rounded.bias, groups=channels), i), rounded)
        if channels > LARGEST_DIAGONAL:
            raise ModelError(f"layer {self.nodes[i].name} scales {channels} flat values that no linear layer reads")
        rounded = round_weights(np.eye(channels), np.zeros(channels), v, mean)
        return _wide(self.emit(Linear(v.index, rounded.weight, rounded.bias), i), rounded)

    def exponent(self, i: int) -> int:
        """Of the scale of the class of i, chosen once for all its members."""
        name = self.classes[i]
        if name not in self.exponents:
            members = [
                j
                for j, c in enumerate(self.classes)
                if c == name and not isinstance(self.nodes[j], (*_PASSING, Concat))
            ]
            self.exponents[name] = exponent_for([(self.observed[j].sample, *self.limits(j)) for j in members])
        return self.exponents[name]

    def limits(self, i: int) -> tuple[int, int]:
        """Lowest and highest integer of tensor i when it is narrow."""
        bits = self.bits
        if self.never_negative(i):
            return 0, 2**bits - 1
        apart = all(isinstance(r, Affine | Sum | Subsample | PadChannels) for r in self.readers[i])
        if isinstance(self.nodes[i], Sum | Convolution | Dense) and self.readers[i] and apart:
            bits = max(bits, STREAM_BITS)
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def never_negative(self, i: int) -> bool:
        node = self.nodes[i]
        match node:
            case ReLU(start=start, stop=stop):
                return (start, stop) == (0, self.shape(i)[0]) or self.never_negative(node.input)
            case Square():
                return True
            case AveragePool() | MaxPool() | Flatten() | Subsample() | PadChannels() | Concat() | Sum():
                return all(self.never_negative(j) for j in node.inputs)
            case _:
                return False


def _wide(index: int, rounded: Rounded) -> Value:
    outputs = len(rounded.bias)
    return Value(index, np.full(outputs, rounded.step), np.zeros(outputs), wide=True)


def scale_classes(nodes: Sequence[RealNode]) -> list[int]:
    """For each tensor the class of tensors that share its scale once it is narrow, named by one of its members."""
    classes: list[int] = []
    for i, node in enumerate(nodes):
        passes = isinstance(node, _PASSING) or (
            isinstance(node, ReLU) and not isinstance(nodes[node.input], (*_WIDE, Affine, Input))
        )
        if isinstance(node, Concat):
            joined = {classes[j] for j in node.inputs}
            classes = [min(joined) if c in joined else c for c in classes]
            classes.append(min(joined))
        else:
            classes.append(classes[node.inputs[0]] if passes else i)
    return classes

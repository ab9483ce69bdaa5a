"""Classic SafetyNets networks: products, squares and sums over F_p, nothing rounded between the layers.

Source: Ghodsi, Gu, Garg, "SafetyNets" (NeurIPS 2017), section 4: inputs and weights are multiplied by scale factors and
rounded; the factors are the largest for which no value met on data leaves ±(p-1)/2, picked by accuracy. Every square
doubles the bits, so the first layers get few: a network of three squares has 15 times the bits of its first weights in
its answer. The picture is brought to few bits once, before the first product; anybody can do that to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, log2, prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from assay.errors import ModelError
from assay.integer.calibrate import Observed
from assay.integer.graph import (
    LARGEST,
    NAMES,
    Conv2d,
    Flatten,
    Input,
    Linear,
    Node,
    Offset,
    Requantise,
    Square,
    Subsample,
    SumPool,
)
from assay.integer.lower import Lowered
from assay.integer.quantise import Value, round_weights
from assay.integer.real import Affine, AveragePool, Convolution, Dense, RealNode, Reals, evaluate
from assay.integer.shapes import MAX_WEIGHT
from assay.models import as_float

TILTS = (-1.0, -0.5, 0.0, 0.5)
"""How much coarser weights become for each square that follows them; the search tries all."""

TRAINED_TILT = 0.5
"""The tilt of networks that are trained with rounded weights: of -1 to 1, tried on speech, the one that learns best."""

GRID_LEVELS = 1 << 12
"""Weights that are multiples of a step, up to so many of them, count as trained on a grid."""

HEAVIEST = 1 << 22
"""Weights of one output add up to at most this, so that the reference execution can sum in float64 limbs."""


@dataclass(frozen=True, slots=True)
class Scales:
    """What is searched for.

    Attributes:
        input_shift: bits by which the features are shifted to the right.
        steps: of the weights of each product, in order, in real units.
    """

    input_shift: int
    steps: tuple[float, ...]


def is_classic(nodes: Sequence[RealNode]) -> bool:
    """Whether the network has squares and nothing but what a classic one has."""
    allowed = Input | Affine | AveragePool | Convolution | Dense | Square | Flatten | Subsample
    return any(isinstance(n, Square) for n in nodes) and all(isinstance(n, allowed) for n in nodes)


def features(nodes: Sequence[RealNode]) -> int:
    """The number of the last node before the first product or square: what is rounded once."""
    for i, node in enumerate(nodes[1:], 1):
        if not isinstance(node, Affine | AveragePool | Subsample) or node.input != i - 1:
            return i - 1
    return len(nodes) - 1


def lower_classic(nodes: Sequence[RealNode], observed: Sequence[Observed], scales: Scales) -> Lowered:
    """Integer nodes with these scales.

    Raises:
        ModelError: by the layer's name, for what a classic network does not have.
    """
    lowering = _Lowering(nodes, observed, scales)
    for i in range(len(nodes)):
        lowering.values[i] = lowering.value(i)
        if i == features(nodes):
            lowering.values[i] = lowering.rounded(i, lowering.values[i])
    last = lowering.values[len(nodes) - 1]
    if not last.plain:
        raise ModelError(f"layer {nodes[-1].name}: the outputs of a classic network must come from a product")
    return Lowered(tuple(lowering.out), float(last.scale[0]), lowering.values)


def rounded_features(nodes: Sequence[RealNode], observed: Sequence[Observed], scales: Scales) -> Value:
    """What the first product or square reads: its scale and shift say on which grid the features are."""
    lowering, last = _Lowering(nodes, observed, scales), features(nodes)
    for i in range(last + 1):
        lowering.values[i] = lowering.value(i)
    return lowering.rounded(last, lowering.values[last])


class TooFineError(Exception):
    """A bias or a weight has no place in the field at these steps."""


class _Lowering:
    def __init__(self, nodes: Sequence[RealNode], observed: Sequence[Observed], scales: Scales) -> None:
        self.nodes, self.observed, self.scales = nodes, observed, scales
        self.steps = iter(scales.steps)
        self.out: list[Node] = []
        self.values: dict[int, Value] = {}

    def emit(self, node: Node, i: int) -> int:
        self.out.append(replace(node, name=self.nodes[i].name))
        return len(self.out) - 1

    def value(self, i: int) -> Value:
        node = self.nodes[i]
        match node:
            case Input(shape=shape):
                return Value(self.emit(node, i), np.full(shape[0], 1 / 255), np.zeros(shape[0]), wide=False)
            case Affine(input=j, scale=scale, shift=shift):
                v = self.values[j]
                return replace(v, scale=v.scale * scale, shift=v.shift * scale + shift)
            case Convolution() | Dense():
                return self.product(i, node)
            case AveragePool(input=j, kernel=kernel, stride=stride, padding=padding, divisor=divisor):
                v = self.unshifted(j) if any(padding) else self.values[j]
                index = self.emit(SumPool(v.index, kernel, stride, padding), i)
                return Value(index, v.scale / divisor, v.shift * prod(kernel) / divisor, v.wide)
            case Square(input=j):
                v = self.unshifted(j)
                return Value(self.emit(Square(v.index), i), v.scale**2, v.shift, v.wide)
            case Flatten(input=j):
                v, times = self.values[j], prod(self.observed[j].shape[1:])
                return Value(self.emit(Flatten(v.index), i), v.scale.repeat(times), v.shift.repeat(times), v.wide)
            case Subsample(input=j):
                return replace(self.values[j], index=self.emit(replace(node, input=self.values[j].index), i))
        kind = NAMES.get(type(node), type(node).__name__.lower())
        raise ModelError(f"layer {node.name} ({kind}) has no place in a classic network: products, squares, sums only")

    def unshifted(self, j: int) -> Value:
        """Tensor j, whose zero must be the real zero."""
        v = self.values[j]
        if np.abs(v.shift).max() > np.abs(v.scale).min():
            raise ModelError(
                f"layer {self.nodes[j].name} adds a constant that no product of this classic network takes in"
            )
        return v

    def rounded(self, i: int, v: Value) -> Value:
        """The features with few bits, less their mean."""
        index, scale, bits = v.index, v.scale * 2.0**self.scales.input_shift, self.scales.input_shift
        if bits:
            highest = 255 * feature_area(self.nodes)
            index = self.emit(Requantise(index, bits, 0, (highest + (1 << bits >> 1)) >> bits), i)
        levels = np.rint(-v.shift / scale)
        if levels.any():
            index = self.emit(Offset(index, -levels.astype(np.int64)), i)
        return Value(index, scale, v.shift + scale * levels, wide=False)

    def product(self, i: int, node: Convolution | Dense) -> Value:
        padded = isinstance(node, Convolution) and any(node.padding)
        v = self.unshifted(node.input) if padded else self.values[node.input]
        step = next(self.steps) * float(np.abs(v.scale).mean())
        groups = node.groups if isinstance(node, Convolution) else 1
        rounded = round_weights(node.weight, node.bias, v, self.observed[node.input].mean, groups, step)
        if np.abs(rounded.weight).max() >= MAX_WEIGHT or np.abs(rounded.bias).max() >= LARGEST:
            raise TooFineError
        if isinstance(node, Dense):
            index = self.emit(Linear(v.index, rounded.weight, rounded.bias), i)
        else:
            how = (node.stride, node.padding, node.dilation, node.groups)
            index = self.emit(Conv2d(v.index, rounded.weight, rounded.bias, *how), i)
        return Value(index, np.full(len(rounded.bias), rounded.step), np.zeros(len(rounded.bias)), wide=False)


def feature_area(nodes: Sequence[RealNode]) -> int:
    """Pixels that are summed for one feature."""
    return prod(prod(n.kernel) for n in nodes[: features(nodes) + 1] if isinstance(n, AveragePool))


def search(
    nodes: Sequence[RealNode],
    observed: Sequence[Observed],
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    margin_bits: float,
) -> Lowered:
    """The scales under which most pictures are labelled rightly, no value passing half the field less the margin.

    Among equals, the ones whose outputs are nearest to the real ones. First the shift of the features is found, then
    how the bits are spread over the layers. Cost: some 20 forwards in float64.

    Raises:
        ModelError: if no scales keep the values in the field, or by the layer's name.
    """
    with torch.inference_mode():
        expected = evaluate(nodes, as_float(x))[-1].double()
    labels = torch.from_numpy(y)
    best: tuple[tuple[int, float], int, Lowered] | None = None

    def consider(shift: int, tilts: Sequence[float]) -> None:
        nonlocal best
        for steps in candidates(nodes, observed, shift, margin_bits, tilts):
            try:
                lowered = lower_classic(nodes, observed, Scales(shift, steps))
            except TooFineError:
                continue
            outputs, largest = simulate(lowered.nodes, x)
            if max(largest) > LARGEST / 2**margin_bits:
                continue
            error = float((outputs * lowered.output_scale - expected).norm() / expected.norm())
            score = (int((outputs.argmax(1) == labels).sum()), -error)
            if best is None or score > best[0]:
                best = (score, shift, lowered)

    for shift in range(8 + (feature_area(nodes) - 1).bit_length()):
        consider(shift, (0.0,))
    if best is None:
        raise ModelError(
            f"no scale factors keep the values of this network below 2^60 with a margin of {margin_bits:g} bits; "
            "train it with fewer squares or smaller weights"
        )
    consider(best[1], TILTS)
    return best[2]


def balanced(nodes: Sequence[RealNode], observed: Sequence[Observed], margin_bits: float) -> Scales:
    """Scales to train with: the first weights as coarse as half the features' steps, the later ones finer."""
    last = features(nodes)
    spread = float(observed[last].sample.std())
    best = (0.0, Scales(0, ()))
    for shift in range(8 + (feature_area(nodes) - 1).bit_length()):
        (steps,) = candidates(nodes, observed, shift, margin_bits, (TRAINED_TILT,), on_grid=False)
        first = next(n for n in nodes if isinstance(n, Convolution | Dense))
        levels = float(np.sqrt(np.square(first.weight).mean())) / steps[0]
        feature_levels = spread / 2.0 ** _growth(nodes, shift, steps)[last][0]
        best = max(best, (min(levels, feature_levels / 2), Scales(shift, steps)), key=lambda b: b[0])
    return best[1]


def candidates(
    nodes: Sequence[RealNode],
    observed: Sequence[Observed],
    shift: int,
    margin_bits: float,
    tilts: Sequence[float],
    on_grid: bool = True,
) -> Iterator[tuple[float, ...]]:
    """Steps of all products: their own grid if they were trained on one; as fine as the field allows, each tilt."""
    products = [n for n in nodes if isinstance(n, Convolution | Dense)]
    grids = [grid_step(n.weight) for n in products]
    if on_grid and all(grids):
        yield tuple(g for g in grids if g)
    spread = [float(np.sqrt(np.square(n.weight).mean())) or 1.0 for n in products]
    sums = [float(np.abs(n.weight).reshape(len(n.weight), -1).sum(1).max()) for n in products]
    after = _squares_after(nodes)
    for tilt in tilts:
        base = [s * 2.0 ** (tilt * a) for s, a in zip(spread, after, strict=True)]
        t = 2.0 ** _finest(nodes, observed, shift, base, margin_bits)
        t = max([t] + [s / (b * HEAVIEST) for s, b in zip(sums, base, strict=True)])
        yield tuple(t * b for b in base)


def grid_step(weight: Reals) -> float | None:
    """The step of which every weight is a multiple, if it was trained so."""
    nonzero = np.abs(weight[weight != 0])
    if not len(nonzero):
        return None
    levels = weight / nonzero.min()
    on_grid = np.abs(levels).max() < GRID_LEVELS and np.abs(levels - np.rint(levels)).max() < 1e-3
    return float(nonzero.min()) if on_grid else None


def _squares_after(nodes: Sequence[RealNode]) -> list[int]:
    """For each product, how many squares follow it."""
    total = sum(isinstance(n, Square) for n in nodes)
    counts, seen = [], 0
    for node in nodes:
        seen += isinstance(node, Square)
        if isinstance(node, Convolution | Dense):
            counts.append(total - seen)
    return counts


def _finest(
    nodes: Sequence[RealNode], observed: Sequence[Observed], shift: int, steps: Sequence[float], margin_bits: float
) -> float:
    """log2 of the least factor on all steps for which what was observed stays in the field with the margin."""
    needed = [-inf]
    for seen, (factor, degree) in zip(observed, _growth(nodes, shift, steps), strict=True):
        if degree and seen.largest > 0:
            needed.append((log2(seen.largest) - factor - (60 - margin_bits)) / degree)
    return max(needed)


def _growth(nodes: Sequence[RealNode], shift: int, steps: Sequence[float]) -> list[tuple[float, int]]:
    """For each tensor, log2 of its scale, and the power in which a common factor on all steps enters that scale."""
    following = iter(steps)
    found: list[tuple[float, int]] = []
    for i, node in enumerate(nodes):
        factor, degree = found[node.inputs[0]] if node.inputs else (-log2(255), 0)
        match node:
            case Affine(scale=scale):
                factor += log2(float(np.abs(scale).mean()))
            case AveragePool(divisor=divisor):
                factor -= log2(divisor)
            case Convolution() | Dense():
                factor, degree = factor + log2(next(following)), degree + 1
            case Square():
                factor, degree = 2 * factor, 2 * degree
        found.append((factor + shift if i == features(nodes) else factor, degree))
    return found


def simulate(nodes: Sequence[Node], x: NDArray[np.uint8]) -> tuple[Tensor, list[float]]:
    """Outputs, and the largest magnitude of each tensor, in float64: good to 53 bits, for a search only."""
    values: list[Tensor] = []
    with torch.inference_mode():
        for node in nodes:
            v = values[node.inputs[0]] if node.inputs else torch.from_numpy(x)
            values.append(_simulated(node, v.double()))
    return values[-1], [float(v.abs().max()) for v in values]


def _simulated(node: Node, v: Tensor) -> Tensor:
    match node:
        case Requantise(shift=shift, half=half, low=low, high=high):
            return torch.floor((v + half) / float(1 << shift)).clamp(low, high)
        case Offset(value=value):
            return v + torch.from_numpy(value)[:, None, None]
        case Conv2d(weight=weight, bias=bias, padding=(top, bottom, left, right)):
            v = F.pad(v, (left, right, top, bottom))
            kernel, offset = torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
            return F.conv2d(v, kernel, offset, node.stride, 0, node.dilation, node.groups)
        case Linear(weight=weight, bias=bias):
            return F.linear(v, torch.from_numpy(weight).double(), torch.from_numpy(bias).double())
        case SumPool(kernel=kernel, stride=stride, padding=(top, bottom, left, right)):
            return F.avg_pool2d(F.pad(v, (left, right, top, bottom)), kernel, stride, divisor_override=1)
        case Square():
            return v * v
        case Flatten():
            return v.flatten(1)
        case Subsample(stride=(down, right)):
            return v[:, :, ::down, ::right]
        case _:
            return v

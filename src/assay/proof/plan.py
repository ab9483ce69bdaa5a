"""What is proven about a network, worked out from its architecture by prover and verifier alike.

Tensors have a batch axis in front; each axis is padded to a power of two. Values that are not linear in earlier ones
are committed: outputs of requantising, rectifying and pooling nodes, and the remainders of requantisation. They are
tied to their inputs by lookups:

    Requantise   x + half = 2^s·q + rem;    (q, y) in the table of y = clamp(q);    rem·2^(R − s) in [0, 2^R)
    ReLU         the same with s = 0
    MaxPool      max − x_i in [0, 2^R) for every x_i of a window; that one of them is 0 is a sum-check of its own

q is not committed: it is (x + half − rem)/2^s in the field. It equals a whole number because the table holds only
whole numbers, and then rem·2^(R − s) is a multiple of 2^(R − s), since nothing here reaches p (`_check_no_wrap`); so
one range table serves all shifts. Padding needs no rule of its own: linear maps leave 0 there, and then the lookups
allow only q = 0, rem = half, y = 0.

A picture that is rounded before all else is rounded by the verifier, who has it; nothing of that is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from operator import mul
from typing import TypeGuard, cast

from assay.integer import graph as g
from assay.integer.shapes import title
from assay.proof.blocks import Block, Grouped, Name, grouped, placed, total_size
from assay.proof.commitment import Layout, layout_for
from assay.proof.errors import UnprovableError
from assay.proof.field import ZERO, Element
from assay.proof.multilinear import Point, below, index_sum, variables

MAX_TABLE_BITS = 20
MAX_COMMITTED = 1 << 28
"""Values in one commitment, which is about 16 GB of encoded columns."""
MAX_VARIABLES = 40
"""Of one tensor with its batch axis."""
MAX_POOLED = 1 << 10
"""Values that one maximum is taken of: the verifier reads that many a round."""
MAX_WINDOW_ROWS = 1 << 22
"""Rows of all windows of all rows of the outputs, and columns likewise: the verifier weighs each of them."""

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network without the numbers that may be secret.

    Attributes:
        nodes: as in the integer network; only the shapes of weights and biases are looked at here.
        shapes: of each node's tensor, for one picture.
        reach: of each node, a bound on the magnitude of its values, from sizes of weights alone (`reaches`).
    """

    nodes: tuple[g.Node, ...]
    shapes: tuple[g.Shape, ...]
    reach: tuple[int, ...]

    @property
    def input(self) -> g.Input:
        """What a picture must look like."""
        return cast(g.Input, self.nodes[0])  # `shapes_of` has checked it


def rounds_picture(node: g.Node) -> TypeGuard[g.Requantise]:
    """Whether it rounds the picture itself: the verifier, who has the picture, does that too, and nothing is proven."""
    return isinstance(node, g.Requantise) and node.input == 0


def looked_up(nodes: Sequence[g.Node]) -> list[int]:
    """Positions of the nodes whose outputs are committed and tied to their inputs by lookups."""
    kinds = g.Requantise | g.ReLU | g.MaxPool
    return [k for k, node in enumerate(nodes) if isinstance(node, kinds) and not rounds_picture(node)]


def reaches(nodes: Sequence[g.Node], limits: Callable[[int], tuple[int, int]]) -> tuple[int, ...]:
    """How large values can be, from weights and biases of at most `limits(position)` in magnitude. Sound, not tight."""
    found: list[int] = []
    for position, node in enumerate(nodes):
        given = [found[i] for i in node.inputs]
        found.append(_reach(node, given, limits(position) if isinstance(node, g.Conv2d | g.Linear) else (0, 0)))
    return tuple(found)


def _reach(node: g.Node, given: list[int], limits: tuple[int, int]) -> int:
    match node:
        case g.Input(low=low, high=high) | g.Requantise(low=low, high=high):
            return max(-low, high)
        case g.Offset(value=value):
            return given[0] + max(-int(value.min()), int(value.max()))
        case g.Conv2d() | g.Linear():
            # padding channels count: committed weights may be more than 0 there, see `hidden`
            fan_in = prod(node.weight.shape[2:]) << variables(node.weight.shape[1])
            return fan_in * limits[0] * given[0] + limits[1]
        case g.Add(shifts=shifts):
            return sum(reach << shift for reach, shift in zip(given, shifts, strict=True))
        case g.SumPool(kernel=kernel):
            return given[0] * prod(kernel)
        case g.Square():
            return given[0] ** 2
        case _:
            return max(given)


@dataclass(frozen=True, slots=True)
class ActivationTable:
    """Pairs (q, clamp(q, low, high)) for the 2**bits whole numbers from `start` on."""

    low: int
    high: int
    start: int
    bits: int

    @property
    def steps(self) -> tuple[int, int]:
        """Index of the first q that is at least `low`, and of the first above `high`."""
        size = 1 << self.bits
        return min(max(self.low - self.start, 0), size), min(max(self.high - self.start + 1, 0), size)

    def at(self, point: Point) -> tuple[Element, Element]:
        """Extensions of both columns. Cost: O(bits²)."""
        size, (first, last) = 1 << self.bits, self.steps
        q = index_sum(point, size) + self.start
        under, within = below(point, first), below(point, last)
        y = self.start * (within - under) + index_sum(point, last) - index_sum(point, first)
        y = y + (self.low * under if first else ZERO) + (self.high * (1 - within) if last < size else ZERO)
        return q, y


@dataclass(frozen=True, slots=True)
class RangeTable:
    """The whole numbers from 0 to 2**bits − 1."""

    bits: int

    def at(self, point: Point) -> tuple[Element, Element]:
        return index_sum(point, 1 << self.bits), ZERO


@dataclass(frozen=True)
class Plan:
    """Sizes and places of everything in the proof of one batch.

    Attributes:
        intervals: for each node that is looked up, by its position, lowest and highest value that it may read. The
            prover chooses them: a table that is too short lets it prove less, never more.

    Raises:
        UnprovableError: naming the layer, if the network or the batch is beyond a limit, or the intervals are no such.
    """

    architecture: Architecture
    batch: int
    intervals: dict[int, Interval]

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UnprovableError("a proof is about at least one picture")
        for position, node in enumerate(self.nodes):
            if type(node) not in SUPPORTED:
                raise UnprovableError(f"{title(position, node)} cannot be proven; the network is not proven in part")
            if self.bits(position) > MAX_VARIABLES:
                raise UnprovableError(f"{title(position, node)} is too large for a proof at batch {self.batch}")
        self._check_windows()
        self._check_intervals()
        self._check_no_wrap()
        if self.committed_size > MAX_COMMITTED or self.fraction_count > 2 * MAX_COMMITTED:
            raise UnprovableError(f"a batch of {self.batch} is too large for one proof; prove fewer pictures at a time")

    def _check_windows(self) -> None:
        """What a verifier does for one node is bounded, whatever network a server chose."""
        rows = 0
        for position, node in enumerate(self.nodes):
            if isinstance(node, g.MaxPool) and prod(node.kernel) > MAX_POOLED:
                raise UnprovableError(
                    f"{title(position, node)} takes maxima of {prod(node.kernel)} values, at most {MAX_POOLED} are "
                    "proven; pool in several steps"
                )
            rows += sum(map(mul, self.architecture.shapes[position][1:], _kernel(node)))
            if rows > MAX_WINDOW_ROWS:
                raise UnprovableError(f"{title(position, node)} has windows too large, or too many, for a proof")

    def _check_intervals(self) -> None:
        if sorted(self.intervals) != self.looked_up:
            raise UnprovableError("the ranges of looked-up values do not belong to this network")
        for position, (low, high) in self.intervals.items():
            if not -g.LARGEST <= low <= high <= g.LARGEST:
                raise UnprovableError(
                    f"{title(position, self.nodes[position])} cannot read values from {low} to {high}"
                )

    @property
    def nodes(self) -> tuple[g.Node, ...]:
        return self.architecture.nodes

    def shape(self, position: int) -> g.Shape:
        """With the batch axis."""
        return (self.batch, *self.architecture.shapes[position])

    def bits(self, position: int) -> int:
        """Variables of a node's tensor."""
        return sum(variables(size) for size in self.shape(position))

    @cached_property
    def looked_up(self) -> list[int]:
        """Positions of the nodes whose outputs are committed."""
        return looked_up(self.nodes)

    def shift(self, position: int) -> int:
        """Bits of the remainder that a looked-up node drops."""
        node = self.nodes[position]
        return node.shift if isinstance(node, g.Requantise) else 0

    def window_bits(self, position: int) -> tuple[int, int]:
        """Variables of the two axes of a pooling window."""
        node = self.nodes[position]
        assert isinstance(node, g.MaxPool)
        return variables(node.kernel[0]), variables(node.kernel[1])

    @cached_property
    def tables(self) -> list[RangeTable | ActivationTable]:
        """Tables by tag. The first is the range table, which is there even if nothing needs it."""
        needed = [self.shift(k) for k in self.looked_up]
        ranges: dict[Interval, list[Interval]] = {}
        for k in self.looked_up:
            node, (low, high) = self.nodes[k], self.intervals[k]
            if isinstance(node, g.MaxPool):
                needed.append((high - low).bit_length())
                continue
            half, shift = (1 << self.shift(k)) >> 1, self.shift(k)
            for clamp in set(self.clamps(k)):
                ranges.setdefault(clamp, []).append(((low + half) >> shift, (high + half) >> shift))
        tables = [_activation_table(*clamp, spans) for clamp, spans in sorted(ranges.items())]
        self._check_table_sizes(max(needed, default=0), tables)
        return [RangeTable(max(needed, default=0)), *tables]

    def _check_table_sizes(self, range_bits: int, tables: Sequence[ActivationTable]) -> None:
        widest = max((range_bits, *(table.bits for table in tables)), default=0)
        if widest > MAX_TABLE_BITS:
            worst = max(self.looked_up, key=self._looked_range)
            raise UnprovableError(
                f"{title(worst, self.nodes[worst])} needs a lookup table of 2**{widest} entries, at most "
                f"2**{MAX_TABLE_BITS} are provided; requantise with fewer bits before it"
            )

    def _looked_range(self, position: int) -> int:
        low, high = self.intervals[position]
        return (high - low) >> self.shift(position)

    def floor(self, position: int) -> int:
        """What a max pool reads outside the picture: no value of its input is lower."""
        return -self.architecture.reach[self.nodes[position].inputs[0]]

    def clamps(self, position: int) -> tuple[Interval, Interval]:
        """(low, high) for channels outside [start, stop), and inside; the same where all channels are of one kind."""
        node = self.nodes[position]
        assert isinstance(node, g.Requantise | g.ReLU)
        plain = (node.low, node.high) if isinstance(node, g.Requantise) else (-g.LARGEST, g.LARGEST)
        rectified = (0, plain[1])
        if node.start >= node.stop:
            return plain, plain
        every = node.start == 0 and node.stop == self.shape(position)[1]
        return (rectified, rectified) if every else (plain, rectified)

    def channel_tags(self, position: int) -> tuple[int, int]:
        """Tags of the tables for channels outside [start, stop), and inside."""
        plain, rectified = self.clamps(position)
        return self._tags[plain], self._tags[rectified]

    @cached_property
    def _tags(self) -> dict[Interval, int]:
        return {(t.low, t.high): k for k, t in enumerate(self.tables) if isinstance(t, ActivationTable)}

    @cached_property
    def columns(self) -> dict[Name, Block]:
        """The committed blocks: ("output", node), ("remainder", node), ("counts", table)."""
        wanted = [(("output", k), self.bits(k)) for k in self.looked_up] + self._remainders
        if self.looked_up:
            wanted += [(("counts", tag), table.bits + self.lookups.bits) for tag, table in enumerate(self.tables)]
        return placed(wanted)

    @property
    def _remainders(self) -> list[tuple[Name, int]]:
        return [(("remainder", k), self.bits(k)) for k in self.looked_up if self.shift(k)]

    @cached_property
    def lookups(self) -> Grouped:
        """The fractions: ("activation", node), ("remainder", node), ("window", node), ("table", tag)."""
        values: list[tuple[Name, int]] = []
        for k in self.looked_up:
            if isinstance(self.nodes[k], g.MaxPool):
                values.append((("window", k), sum(self.window_bits(k)) + self.bits(k)))
            else:
                values.append((("activation", k), self.bits(k)))
        tables: list[tuple[Name, int]] = [(("table", tag), table.bits) for tag, table in enumerate(self.tables)]
        return grouped(values + self._remainders, tables if self.looked_up else [])

    @property
    def fractions(self) -> dict[Name, Block]:
        """The blocks of the lookups."""
        return self.lookups.blocks

    @cached_property
    def committed_size(self) -> int:
        return total_size(self.columns)

    @cached_property
    def fraction_count(self) -> int:
        return total_size(self.fractions)

    @cached_property
    def layout(self) -> Layout:
        """Of the commitment."""
        return layout_for(self.committed_size)

    def _check_no_wrap(self) -> None:
        """Both sides of x + half = 2^s·q + rem, times 2^R, are below p/2, so the equation holds without mod p."""
        if not self.looked_up:
            return
        range_bits = self.tables[0].bits
        starts = [abs(t.start).bit_length() for t in self.tables if isinstance(t, ActivationTable)]
        furthest = max(starts + [t.bits for t in self.tables])
        for k in self.looked_up:
            reach = self.architecture.reach[self.nodes[k].inputs[0]] + (1 << self.shift(k))
            if range_bits + max(reach.bit_length(), furthest + self.shift(k) + 1) > 59:
                raise UnprovableError(
                    f"{title(k, self.nodes[k])} reads values of up to {reach}, too large for the proof's field"
                )


def _kernel(node: g.Node) -> tuple[int, ...]:
    """Sides of the windows that it reads."""
    match node:
        case g.Conv2d(weight=weight):
            return weight.shape[2:]
        case g.SumPool(kernel=kernel) | g.MaxPool(kernel=kernel):
            return kernel
        case _:
            return (1, 1)


def with_nodes(plan: Plan, nodes: tuple[g.Node, ...]) -> Plan:
    """The verifier's plan, with the weights that only the prover may have."""
    return replace(plan, architecture=replace(plan.architecture, nodes=nodes))


def _activation_table(low: int, high: int, spans: Sequence[Interval]) -> ActivationTable:
    start = min(0, *(first for first, _ in spans))
    size = max(0, *(last for _, last in spans)) - start + 1
    return ActivationTable(low, high, start, variables(size))


SUPPORTED = (
    g.Input,
    g.Offset,
    g.Conv2d,
    g.Linear,
    g.Add,
    g.SumPool,
    g.MaxPool,
    g.ReLU,
    g.Square,
    g.Requantise,
    g.Flatten,
    g.Concat,
    g.Subsample,
    g.PadChannels,
)
"""Operations with a protocol."""

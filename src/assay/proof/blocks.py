"""Blocks of longer vectors, each a power of two long, and the groups of looked-up values that share a challenge.

LogUp errs with probability (values + table rows)/p² a draw of α. A proof of many pictures looks up 2²⁵ values and more,
so values are taken in groups of 2²⁰, each with its own α and its own counts of how often a row is read. Every prover
that lies lies in some group, before any α is drawn, and that group's α alone decides: the error is that of one group,
not the sum over all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.proof.field import ZERO, Element
from assay.proof.multilinear import Point, at, variables

GROUP_BITS = 20
"""2²⁰ looked-up values share an α, and a table's rows are repeated for each group."""

Name = tuple[str, int]
"""What a block holds, and the number of the node or table that it is about."""


@dataclass(frozen=True, slots=True)
class Block:
    """2**bits values from `offset` on, a multiple of 2**bits. `about` is a node, or a table for counts and tables."""

    kind: str
    about: int
    bits: int
    offset: int

    @property
    def place(self) -> slice:
        """Where it lies."""
        return slice(self.offset, self.offset + (1 << self.bits))

    def selector(self, point: Point) -> Element:
        """1 inside the block, 0 outside, extended to `point`."""
        high = len(point) - self.bits
        return at(point[:high], self.offset >> self.bits)

    def inside(self, point: Point) -> list[Element]:
        """The part of `point` that speaks about places inside the block."""
        return list(point[len(point) - self.bits :])

    def parts(self, count: int) -> list[slice]:
        """Where `count` equal parts of it lie, one after the other."""
        size = (1 << self.bits) // count
        return [slice(start, start + size) for start in range(self.offset, self.place.stop, size)]


def placed(wanted: Sequence[tuple[Name, int]]) -> dict[Name, Block]:
    """Blocks of these bits, largest first, so that every block starts at a multiple of its size."""
    blocks, offset = {}, 0
    for (kind, about), bits in sorted(wanted, key=lambda entry: -entry[1]):
        blocks[kind, about] = Block(kind, about, bits, offset)
        offset += 1 << bits
    return blocks


def total_size(blocks: dict[Name, Block]) -> int:
    """Length of the vector that holds them."""
    return sum(1 << block.bits for block in blocks.values())


@dataclass(frozen=True, slots=True)
class Grouped:
    """Looked-up values and tables, end to end.

    Attributes:
        blocks: by name; a table's has its rows once a group, groups slowest.
        groups: by name, which groups a block's values belong to, in equal shares.
        bits: variables of the number of groups.
    """

    blocks: dict[Name, Block]
    groups: dict[Name, range]
    bits: int

    def alpha_at(self, alphas: Sequence[Element], name: Name, inside: Point) -> Element:
        """The α of a block's values, extended to a point inside it."""
        groups = self.groups[name]
        slowest = inside[: variables(len(groups))]
        return sum((at(slowest, k) * alphas[group] for k, group in enumerate(groups)), ZERO)


def grouped(values: Sequence[tuple[Name, int]], tables: Sequence[tuple[Name, int]]) -> Grouped:
    """Values in the order of their size, 2**GROUP_BITS a group; no smaller block lies in two groups."""
    alone = placed(values)
    count = -(-total_size(alone) >> GROUP_BITS)
    bits = variables(max(1, count))
    blocks = placed([*values, *((name, size + bits) for name, size in tables)])
    groups = {name: _groups_of(block) for name, block in alone.items()}
    return Grouped(blocks, groups | {name: range(1 << bits) for name, _ in tables}, bits)


def _groups_of(block: Block) -> range:
    first = block.offset >> GROUP_BITS
    return range(first, first + (1 << max(0, block.bits - GROUP_BITS)))

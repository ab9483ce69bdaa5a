"""Which digits a comparison looks at, and how what they say is joined: a plan that both parties derive.

A carry out of the lowest `shift` bits, and out of all bits for each threshold, are asked for: chains of digits that
begin alike. Digits end at `shift`, so that what lies below it serves all of them; the tree of a chain is as deep as
its number of digits needs, 3 levels for 31 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from assay.private.ot_store import Demand
from assay.private.wire import plane_words

DIGIT = 4
"""Bits."""


@dataclass(frozen=True, slots=True)
class Digit:
    """Bits start to start + width - 1; `thresholds` of them are compared at once; its results lie from `slot` on."""

    start: int
    width: int
    thresholds: int
    slot: int

    @property
    def entry_bytes(self) -> int:
        """Of a table on the wire: 2^width entries of 2 bits a threshold."""
        return max(1, (2 * self.thresholds << self.width) // 8)


@dataclass(frozen=True, slots=True)
class Join:
    """Slots high and low become slot `out`; `equal` tells whether somebody will ask if they are equal."""

    high: int
    low: int
    out: int
    equal: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """Which digits, and how they are joined; both parties derive it from public numbers.

    Attributes:
        levels: joins that can be done at the same time; those with `equal` first.
        carry: the slot with the carry out of the lowest `shift` bits, if it is asked for.
        results: for each threshold the slot with the carry out of all bits.
        slots: how many there are.
    """

    digits: tuple[Digit, ...]
    levels: tuple[tuple[Join, ...], ...]
    carry: int | None
    results: tuple[int, ...]
    slots: int

    def demand(self, count: int) -> Demand:
        """What `count` values use up."""
        joins = [join for level in self.levels for join in level]
        doubles = sum(join.equal for join in joins)
        words = plane_words(count)
        return Demand(digits=count * len(self.digits), singles=(len(joins) - doubles) * words, doubles=doubles * words)


@lru_cache(maxsize=256)
def plan_tree(bits: int, shift: int, thresholds: int) -> Tree:
    """The tree for carries out of bit `shift` (if it is not 0) and, for each of 0 to 2 thresholds, of bit `bits`."""
    low = _digits(0, shift, 1, 0)
    high = _digits(shift, bits, thresholds, len(low)) if thresholds else ()
    below = [digit.slot for digit in low]
    joins = _Joins(len(low) + thresholds * len(high))
    carry = joins.join_all(below) if below else None
    results = tuple(joins.join_all(below + [digit.slot + t for digit in high]) for t in range(thresholds))
    levels = tuple(tuple(sorted(level, key=lambda join: not join.equal)) for level in joins.levels)
    return Tree(low + high, levels, carry, results, joins.slots)


def _digits(start: int, stop: int, thresholds: int, slot: int) -> tuple[Digit, ...]:
    places = range(start, stop, DIGIT)
    return tuple(Digit(at, min(DIGIT, stop - at), thresholds, slot + i * thresholds) for i, at in enumerate(places))


@dataclass(slots=True)
class _Joins:
    """Joins by level, as they are found; chains that begin alike share theirs."""

    slots: int
    levels: list[list[Join]] = field(default_factory=list)
    known: dict[tuple[int, int], int] = field(default_factory=dict)

    def join_all(self, chain: list[int]) -> int:
        """The slot of a whole chain of slots, lowest first, by joining neighbours level by level.

        Nobody asks whether the lowest part of a chain is equal.
        """
        depth = 0
        while len(chain) > 1:
            pairs = zip(chain[1::2], chain[::2], strict=False)
            joined = [self._join(depth, pair, equal=i > 0) for i, pair in enumerate(pairs)]
            chain = joined + chain[2 * len(joined) :]
            depth += 1
        return chain[0]

    def _join(self, depth: int, pair: tuple[int, int], equal: bool) -> int:
        if pair not in self.known:
            self.levels += [[] for _ in range(depth + 1 - len(self.levels))]
            self.levels[depth].append(Join(*pair, self.slots, equal))
            self.known[pair] = self.slots
            self.slots += 1
        return self.known[pair]

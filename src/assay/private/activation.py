"""ReLU, and rounding with its clamp: one vectorised protocol for all of them.

Every case is "shift down, then keep within [low, high]" with one or both limits left out where none can bind:

    x'' = x + half - low·2^s            the server's doing; if low cannot bind, a floor of the values takes its place
    above = (x'' ≥ 0), beyond = (x'' ≥ (high - low + 1)·2^s)
    inside = above ⊕ beyond             since beyond implies above
    q = low + inside·(x'' >> s) + beyond·(high - low)

x'' is not negative where it counts, so the cheap truncation is exact, for rectified channels (low = 0) and for signed
ones alike: they differ in constants that the server adds, and share every message. ReLU is s = 0 with no `beyond`.

Both comparisons cost one set of transfers (`comparison`), on as many bits as the values' bound needs rather than the
ring's. At 31 bits and s = 8 that is 82 bytes a value and 3 round trips, whose last message of the client can travel
with its first of the next layer.

Security: semi-honest; all messages are masked by prepared material, and the output shares are fresh. Sizes and order
follow from shapes and from the plan, which follows from what is public of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from assay.errors import ModelError
from assay.integer.bounds import Bound
from assay.integer.graph import ReLU, Requantise
from assay.private import truncation
from assay.private.comparison import compare
from assay.private.comparison_tree import Tree, plan_tree
from assay.private.multiplexer import choose, offer, signed
from assay.private.ot_store import Demand
from assay.private.party import Party
from assay.private.ring import Residues
from assay.private.wire import Bits, bits_of


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        bits: x'' and what is compared with it are below 2^(bits-1) in magnitude.
        shift: bits dropped.
        lower, upper: whether each limit can bind.
    """

    bits: int
    shift: int
    lower: bool
    upper: bool

    @cached_property
    def tree(self) -> Tree:
        return plan_tree(self.bits - 1, self.shift, self.lower + self.upper)

    @property
    def rows(self) -> int:
        """Words that the server sends a value: carry and wrap, "inside", "beyond"."""
        return truncation.ROWS * (self.shift > 0) + (self.lower or self.upper) + self.upper

    def demand(self, count: int) -> Demand:
        """What `count` values use up."""
        if not self.rows:
            return Demand()
        return self.tree.demand(count) + Demand(down=self.rows * count, up=count * (self.lower or self.upper))


def rectifying(low: int, high: int) -> Plan:
    """max(x, 0) for x from low to high; nothing to do if none is negative."""
    return Plan(max(width(low, high), 2), 0, low < 0, False)


def rounding(node: Requantise, bound: Bound) -> tuple[Plan, int]:
    """The plan of a node, and the floor that stands for `low` where that cannot bind."""
    least, most = int(bound.low.min()) + node.half, int(bound.high.max()) + node.half
    floor = least >> node.shift
    lows = [0] * (node.stop > node.start) + [node.low] * (node.stop - node.start < len(bound.low))
    if min(lows) > node.high or max(lows) > node.high:
        raise ModelError(f"layer {node.name} keeps values from {max(lows)} to {node.high}: there are none")
    lower, upper = floor < max(lows), most >> node.shift > node.high
    if not lower:
        lows = [floor]
    ends = [least - (max(lows) << node.shift), most - (min(lows) << node.shift)]
    beyond = (node.high + 1) << node.shift
    if upper:
        ends += [least - beyond, most - beyond]
        if not lower:
            ends[1] = beyond - 1 - (min(lows) << node.shift)
    return Plan(max(width(min(ends), max(ends)), node.shift + 2), node.shift, lower, upper), floor


def width(low: int, high: int) -> int:
    """Bits of a two's complement number for everything from low to high."""
    return max(high.bit_length(), (~low).bit_length()) + 1


def relu(party: Party, node: ReLU, bound: Bound, share: Residues) -> Residues:
    """Shares `n c h w` or `n k` of max(x, 0) on channels start to stop - 1; the others' are what they were.

    Cost at 31 bits: 49 bytes a rectified value, 3 round trips.
    """
    plan = relu_plan(node, bound)
    if not plan.lower or node.start == node.stop or not share.size:
        return share
    part = share[:, node.start : node.stop]
    out = share.copy()
    out[:, node.start : node.stop] = kept_within(party, plan, part.ravel()).reshape(part.shape)
    return out


def relu_plan(node: ReLU, bound: Bound) -> Plan:
    """Of the channels that are rectified."""
    part = slice(node.start, max(node.stop, node.start + 1))
    return rectifying(int(bound.low[part].min(initial=0)), int(bound.high[part].max(initial=0)))


def requantise(party: Party, node: Requantise, bound: Bound, share: Residues) -> Residues:
    """Shares `n c h w` or `n k` of (x + half) >> shift, kept within the channel's limits: `definition`, bit for bit.

    Cost at 31 bits and shift 8: 82 bytes a value, 3 round trips; without limits that can bind, 15 bytes, 2 round trips.
    """
    plan, floor = rounding(node, bound)
    ring = party.ring
    if not share.size:
        return share
    low = np.full(share.shape[1], node.low if plan.lower else floor)
    if plan.lower:
        low[node.start : node.stop] = 0
    low = low.reshape(-1, *(1,) * (share.ndim - 2))
    value = share
    if party.serves:
        value = ring.reduce(share + ring.reduce(node.half - (low << node.shift)))
    top = np.broadcast_to(ring.reduce(node.high - low), share.shape).ravel() if party.serves else None
    out = kept_within(party, plan, value.ravel(), top).reshape(share.shape)
    return ring.reduce(out + ring.reduce(low)) if party.serves else out


def kept_within(party: Party, plan: Plan, value: Residues, top: Residues | None = None) -> Residues:
    """Shares of 0 if x < 0, `top` if x >> shift > top, else x >> shift.

    Args:
        value: the party's share of x, flat.
        top: known to the server only; needed if plan.upper.

    Raises:
        ModelError: if the ring is too small for the plan's differences.
    """
    if not plan.rows:
        return value
    if plan.bits > party.ring.bits:
        raise ModelError(f"values that are compared in {plan.bits} bits are shared in {party.ring.bits} only")
    return _server(party, plan, value, top) if party.serves else _client(party, plan, value)


def _server(party: Party, plan: Plan, value: Residues, top: Residues | None) -> Residues:
    ring, count = party.ring, len(value)
    values = [value] if plan.lower or not plan.upper else []
    if plan.upper and top is not None:
        values.append(ring.reduce(value - ((top + ring.dtype(1)) << ring.dtype(plan.shift))))
    carries = compare(party, plan.tree, values)
    tests = [bits_of(carries[slot], count) ^ truncation.highest_bit(a, plan.bits) ^ np.uint8(1)
             for slot, a in zip(plan.tree.results, values, strict=False)]  # fmt: skip
    offered = offer(party, "down", plan.rows, count)
    row = truncation.ROWS if plan.shift else 0
    if tests:
        inside = _inside(plan, tests) ^ np.uint8(plan.upper and not plan.lower)
        chosen = choose(party, "up", inside[None])
    if plan.shift:
        carry = bits_of(carries[plan.tree.carry], count)
        value = truncation.servers(ring, plan.shift, value, carry, offered, 0)
    if not tests:
        return ring.reduce(value)
    out = inside * value + offered.send(row, signed(inside, value), ring.bits)
    if plan.upper and top is not None:
        out += tests[-1] * top + offered.send(row + 1, signed(tests[-1], top), ring.bits)
    return ring.reduce(out + chosen.receive(0, ring.bits))


def _client(party: Party, plan: Plan, value: Residues) -> Residues:
    ring, count = party.ring, len(value)
    carries = compare(party, plan.tree, [value])
    tests = [bits_of(carries[slot], count) ^ truncation.highest_bit(value, plan.bits) for slot in plan.tree.results]
    bits: list[Bits] = []
    if plan.shift:
        bits += truncation.choices(ring, value, bits_of(carries[plan.tree.carry], count))
    row = len(bits)
    if tests:
        inside = _inside(plan, tests)
        bits += [inside] + [tests[-1]] * plan.upper
    chosen = choose(party, "down", np.stack(bits))
    if tests:
        offered = offer(party, "up", 1, count)
    if plan.shift:
        value = truncation.clients(ring, plan.shift, value, chosen, 0)
    if not tests:
        return ring.reduce(value)
    out = inside * value + chosen.receive(row, ring.bits)
    if plan.upper:
        out += chosen.receive(row + 1, ring.bits)
    return ring.reduce(out + offered.send(0, signed(inside, value), ring.bits))


def _inside(plan: Plan, tests: list[Bits]) -> Bits:
    """above ⊕ beyond; with one test alone that one, which the server turns if it is `beyond`."""
    return tests[0] ^ tests[1] if plan.lower and plan.upper else tests[0]

"""LogUp: every looked-up value of the network is in its table, all of them in one instance.

Source: Haböck, "Multivariate lookups based on logarithmic derivatives" (ePrint 2022/1530): the values f_i are all among
the table's t_j exactly if Σ_i 1/(α − f_i) = Σ_j m_j/(α − t_j) for some m, but for a few α. Rows of several columns are
one number each, q + β·y + γ·tag, and the tag keeps the tables apart. Values come in groups, each with its own α and its
own counts m (`blocks`), and one sum over all groups is proven.

1. The counts m are committed, with everything else, before anything is drawn.
2. An α a group, β and γ drawn; the sum of all fractions is proven to be zero (`fraction_sum`), up to one claim on the
   leaves.
3. The prover says what the looked-up tensors extend to there; the verifier puts the leaves together from it. The values
   become claims: on committed blocks, on the tensor that a node reads, on the windows of a max pool.

Soundness error, beside that of the sum, for at most N values a group and tables of T rows: (N + 2T)/p². Let one row be
in no table. Its mixture meets that of a table row, a linear polynomial in β and γ that is not zero, with probability
1/p² each: T/p². If it meets none, the sum over its group, as a function of its α, has a pole there and so is no
constant: it takes the value that the other groups leave for at most N + T of the p² values of α, which is drawn
independently of all others. No multiplicity vanishes mod p, because there are fewer than p values. A denominator that
is zero makes the verifier reject.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.integer import graph as g
from assay.kernels import kernel
from assay.proof.blocks import Block, Name
from assay.proof.claims import Claims, TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, Words, add, from_integers, mul, pack, sub, unpack
from assay.proof.fraction_sum import LeafClaim, prove_zero_sum, verify_zero_sum
from assay.proof.multilinear import Point, below, eq_table, split
from assay.proof.plan import ActivationTable, Plan, RangeTable
from assay.proof.tensors import Ints, padded
from assay.proof.transcript import ProverChannel, VerifierChannel
from assay.proof.witness import Witness

_INVERSE_OF_TWO = Element(2).inverse()


@dataclass(frozen=True, slots=True)
class Said:
    """What the prover says about one block of fractions: a value for each part that the verifier cannot know."""

    block: Block
    parts: tuple[str, ...]


_PARTS = {
    "activation": ("input", "output"),
    "remainder": ("remainder",),
    "window": ("window",),
    "table": ("counts",),
}


def said_about(plan: Plan) -> Iterator[Said]:
    """Blocks in the order in which their values are said."""
    for block in plan.fractions.values():
        yield Said(block, _PARTS[block.kind])


@dataclass(frozen=True, slots=True)
class Draws:
    """Challenges: an α a group, and the factors of the second column and of the tag."""

    alphas: list[Element]
    beta: Element
    gamma: Element

    def denominator(self, plan: Plan, name: Name, inside: Point, row: tuple[Element, Element, Element]) -> Element:
        """The denominators of a block, less one, extended to a point inside it, where its rows extend to `row`."""
        first, second, tag = row
        alpha = plan.lookups.alpha_at(self.alphas, name, inside)
        return alpha - 1 - first - self.beta * second - self.gamma * tag


def _draw(channel: ProverChannel | VerifierChannel, plan: Plan) -> Draws:
    alphas = [channel.draw() for _ in range(1 << plan.lookups.bits)]
    return Draws(alphas, channel.draw(), channel.draw())


def prove_lookups(
    channel: ProverChannel, plan: Plan, witness: Witness, values: list[Ints], claims: Claims
) -> dict[int, TensorClaim]:
    """Steps 2 and 3. Returns the claims on the windows of max pools, by node; `claims` takes the others."""
    if not plan.looked_up:
        return {}
    numerators, denominators = _leaves(plan, witness, _draw(channel, plan))
    leaf = prove_zero_sum(channel, numerators, denominators)
    tables: dict[int, Words] = {}
    found = {}
    for entry in said_about(plan):
        point = entry.block.inside(leaf.point)
        weights = tables.setdefault(len(point), eq_table(point))
        for part in entry.parts:
            found[part, entry.block.about] = _extended(plan, witness, values, entry.block, part, weights)
        channel.say([found[part, entry.block.about] for part in entry.parts])
    return _settle(plan, leaf, found, claims)


def _extended(plan: Plan, witness: Witness, values: list[Ints], block: Block, part: str, weights: Words) -> Element:
    """The extension of one part, as a dot product with eq."""
    if part == "input":
        node = plan.nodes[block.about]
        assert isinstance(node, g.Requantise | g.ReLU)
        table = from_integers(padded(values[node.input]))
    elif part == "window":
        table = from_integers(witness.windows[block.about])
    else:
        column = plan.columns[part, block.about]
        table = witness.vector[column.place]
    return unpack(_dot_base(table, weights))[0]


@kernel
def _dot_base(table: Words, weights: Words) -> Words:
    """Σ table·weights, of F_p and F_p²; shape (2,)."""
    from_re, from_im = np.uint64(0), np.uint64(0)
    for k in range(len(table)):
        from_re = add(from_re, mul(table[k], weights[k, 0]))
        from_im = add(from_im, mul(table[k], weights[k, 1]))
    out = np.empty(2, np.uint64)
    out[0], out[1] = from_re, from_im
    return out


@kernel
def _gather(rows: Words, places: NDArray[np.int32], alpha: Words, out: Words) -> None:
    """out = alpha + rows[places]."""
    for k in range(len(places)):
        out[k, 0] = add(alpha[0], rows[places[k], 0])
        out[k, 1] = add(alpha[1], rows[places[k], 1])


@kernel
def _mixed_rows(first: Words, second: Words, constant: Words, beta: Words) -> Words:
    """constant − first − beta·second, first and second in F_p."""
    out = np.empty((len(first), 2), np.uint64)
    for k in range(len(first)):
        out[k, 0] = sub(sub(constant[0], first[k]), mul(second[k], beta[0]))
        out[k, 1] = sub(constant[1], mul(second[k], beta[1]))
    return out


def _leaves(plan: Plan, witness: Witness, draws: Draws) -> tuple[Words, Words]:
    """Numerators, and denominators less one, of all fractions."""
    rows = np.concatenate([_rows_of(table, draws.beta, draws.gamma * tag) for tag, table in enumerate(plan.tables)])
    denominators = np.empty((plan.fraction_count, 2), np.uint64)
    for name, groups in plan.lookups.groups.items():
        for group, part in zip(groups, plan.fractions[name].parts(len(groups)), strict=True):
            _gather(rows, witness.places[part], pack([draws.alphas[group]])[0], denominators[part])
    numerators = np.zeros((plan.fraction_count, 2), np.uint64)
    numerators[:, 0] = 1
    for tag in range(len(plan.tables)):
        counts = witness.vector[plan.columns["counts", tag].place]
        numerators[plan.fractions["table", tag].place, 0] = from_integers(-counts.astype(np.int64))
    return numerators, denominators


def _rows_of(table: RangeTable | ActivationTable, beta: Element, tag: Element) -> Words:
    """−1 − q − β·y − γ·tag for all rows of a table."""
    q = np.arange(1 << table.bits, dtype=np.int64)
    y = np.zeros_like(q)
    if isinstance(table, ActivationTable):
        q += table.start
        y = np.clip(q, table.low, table.high)
    mixed: Words = _mixed_rows(from_integers(q), from_integers(y), pack([-tag - 1])[0], pack([beta])[0])
    return mixed


def verify_lookups(channel: VerifierChannel, plan: Plan, claims: Claims) -> dict[int, TensorClaim]:
    """The other side of `prove_lookups`.

    Raises:
        VerificationError: if a value is not in its table.
    """
    if not plan.looked_up:
        return {}
    draws = _draw(channel, plan)
    leaf = verify_zero_sum(channel, plan.fraction_count)
    found = {}
    for entry in said_about(plan):
        for part, value in zip(entry.parts, channel.hear(len(entry.parts)), strict=True):
            found[part, entry.block.about] = value
    numerator, denominator = ZERO, ZERO
    for (kind, about), block in plan.fractions.items():
        inside, selector = block.inside(leaf.point), block.selector(leaf.point)
        row = _row(plan, kind, about, inside, found)
        denominator = denominator + selector * draws.denominator(plan, (kind, about), inside, row)
        numerator = numerator + selector * (-found["counts", about] if kind == "table" else ONE)
    if (numerator, denominator) != (leaf.numerator, leaf.denominator):
        raise VerificationError("lookup: the fractions are not those of the values and tables of this network")
    return _settle(plan, leaf, found, claims)


def _row(
    plan: Plan, kind: str, about: int, inside: list[Element], found: dict[tuple[str, int], Element]
) -> tuple[Element, Element, Element]:
    """First and second column and tag of the rows of one block, extended to `inside`."""
    if kind == "table":
        return *plan.tables[about].at(inside[plan.lookups.bits :]), Element(about)
    if kind == "window":
        return found["window", about], ZERO, ZERO
    shift = plan.shift(about)
    if kind == "remainder":
        return found["remainder", about] * (1 << (plan.tables[0].bits - shift)), ZERO, ZERO
    raised = found["input", about] + ((1 << shift) >> 1)
    if shift:
        raised = raised - found["remainder", about]
    return raised * _INVERSE_OF_TWO**shift, found["output", about], _tag_at(plan, about, inside)


def _tag_at(plan: Plan, position: int, point: Point) -> Element:
    """The extension of the tag of each channel's table."""
    node = plan.nodes[position]
    assert isinstance(node, g.Requantise | g.ReLU)
    outside, within = plan.channel_tags(position)
    if outside == within:
        return Element(outside)
    channel = split(point, plan.shape(position))[1]
    return (below(channel, node.stop) - below(channel, node.start)) * (within - outside) + outside


def _settle(
    plan: Plan, leaf: LeafClaim, found: dict[tuple[str, int], Element], claims: Claims
) -> dict[int, TensorClaim]:
    """Turn what was said into claims; those on windows are returned."""
    windows = {}
    for entry in said_about(plan):
        about, point = entry.block.about, entry.block.inside(leaf.point)
        for part in entry.parts:
            value = found[part, about]
            if part == "window":
                windows[about] = TensorClaim(tuple(point), value)
            elif part == "input":
                claims.on_tensor(plan.nodes[about].inputs[0], point, value)
            else:
                claims.on_column(part, about, point, value)
    return windows

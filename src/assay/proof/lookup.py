"""LogUp: every looked-up value of the network is in its table, all of them in one instance.

Source: Haböck, "Multivariate lookups based on logarithmic derivatives" (ePrint 2022/1530): the values f_i are all among
the table's t_j exactly if Σ_i 1/(α − f_i) = Σ_j m_j/(α − t_j) for some m, but for a few α. Rows of several columns are
one number each, q + β·y + β²·tag, and the tag keeps the tables apart.

1. The counts m are committed, with everything else, before α and β are drawn.
2. α, β drawn; the sum of all fractions is proven to be zero (`fraction_sum`), up to one claim on the leaves.
3. The prover says what the looked-up tensors extend to there; the verifier puts the leaves together from it. The values
   become claims: on committed blocks, on the tensor that a node reads, on the windows of a max pool.

Soundness error, for N values looked up in tables of T rows, beside that of the sum: (3N + 3T)/p² for α and β.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.integer import graph as g
from assay.proof.claims import Claims, TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, Words, add, from_integers, kernel, mul, pack, sub, unpack
from assay.proof.fraction_sum import LeafClaim, prove_zero_sum, verify_zero_sum
from assay.proof.multilinear import Point, below, eq_table, split
from assay.proof.plan import ActivationTable, Block, Plan
from assay.proof.tensors import Ints, padded
from assay.proof.transcript import ProverChannel, VerifierChannel
from assay.proof.witness import Witness

_INVERSE_OF_TWO = Element(2).inverse()


@dataclass(frozen=True, slots=True)
class Said:
    """What the prover says about one block of fractions: a value for each part that the verifier cannot know."""

    block: Block
    parts: tuple[str, ...]


def said_about(plan: Plan) -> Iterator[Said]:
    """Blocks in the order in which their values are said; remainders are said with their node."""
    for (kind, about), block in plan.fractions.items():
        if kind == "activation":
            yield Said(block, ("input", "remainder", "output") if plan.shift(about) else ("input", "output"))
        elif kind == "window":
            yield Said(block, ("window",))
        elif kind == "table":
            yield Said(block, ("counts",))


def prove_lookups(
    channel: ProverChannel, plan: Plan, witness: Witness, values: list[Ints], claims: Claims
) -> dict[int, TensorClaim]:
    """Steps 2 and 3. Returns the claims on the windows of max pools, by node; `claims` takes the others."""
    if not plan.looked_up:
        return {}
    alpha, beta = channel.draw(), channel.draw()
    numerators, denominators = _leaves(plan, witness, alpha, beta)
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
        table = witness.vector[column.offset : column.offset + (1 << column.bits)]
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
def _gather(rows: Words, places: NDArray[np.int32]) -> Words:
    out = np.empty((len(places), 2), np.uint64)
    for k in range(len(places)):
        out[k, 0], out[k, 1] = rows[places[k], 0], rows[places[k], 1]
    return out


@kernel
def _mixed_rows(first: Words, second: Words, constant: Words, beta: Words) -> Words:
    """constant − first − beta·second, first and second in F_p."""
    out = np.empty((len(first), 2), np.uint64)
    for k in range(len(first)):
        out[k, 0] = sub(sub(constant[0], first[k]), mul(second[k], beta[0]))
        out[k, 1] = sub(constant[1], mul(second[k], beta[1]))
    return out


def _leaves(plan: Plan, witness: Witness, alpha: Element, beta: Element) -> tuple[Words, Words]:
    """Numerators, and denominators less one, of all fractions."""
    rows = []
    for tag, table in enumerate(plan.tables):
        q = np.arange(1 << table.bits, dtype=np.int64)
        y = np.zeros_like(q)
        if isinstance(table, ActivationTable):
            q += table.start
            y = np.clip(q, table.low, table.high)
        constant = pack([alpha - 1 - beta * beta * tag])[0]
        rows.append(_mixed_rows(from_integers(q), from_integers(y), constant, pack([beta])[0]))
    denominators = _gather(np.concatenate(rows), witness.places)
    numerators = np.zeros((plan.fraction_count, 2), np.uint64)
    numerators[:, 0] = 1
    for tag, table in enumerate(plan.tables):
        block, column = plan.fractions["table", tag], plan.columns["counts", tag]
        counts = witness.vector[column.offset : column.offset + (1 << table.bits)]
        numerators[block.offset : block.offset + (1 << table.bits), 0] = from_integers(-counts.astype(np.int64))
    return numerators, denominators


def verify_lookups(channel: VerifierChannel, plan: Plan, claims: Claims) -> dict[int, TensorClaim]:
    """The other side of `prove_lookups`.

    Raises:
        VerificationError: if a value is not in its table.
    """
    if not plan.looked_up:
        return {}
    alpha, beta = channel.draw(), channel.draw()
    leaf = verify_zero_sum(channel, plan.fraction_count)
    found = {}
    for entry in said_about(plan):
        for part, value in zip(entry.parts, channel.hear(len(entry.parts)), strict=True):
            found[part, entry.block.about] = value
    numerator, denominator = ZERO, ZERO
    for (kind, about), block in plan.fractions.items():
        inside, selector = block.inside(leaf.point), block.selector(leaf.point)
        first, second, tag = _row(plan, kind, about, inside, found)
        denominator = denominator + selector * (alpha - 1 - first - beta * (second + beta * tag))
        numerator = numerator + selector * (-found["counts", about] if kind == "table" else ONE)
    if (numerator, denominator) != (leaf.numerator, leaf.denominator):
        raise VerificationError("lookup: the fractions are not those of the values and tables of this network")
    return _settle(plan, leaf, found, claims)


def _row(
    plan: Plan, kind: str, about: int, inside: list[Element], found: dict[tuple[str, int], Element]
) -> tuple[Element, Element, Element]:
    """First and second column and tag of the rows of one block, extended to `inside`."""
    if kind == "table":
        return *plan.tables[about].at(inside), Element(about)
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

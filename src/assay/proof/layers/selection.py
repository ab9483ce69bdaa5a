"""Operations that move values without changing them: flatten, concatenate, pad channels.

Output place j holds input place g(j), or zero. For a claim at (r_b, r):

    Ỹ(r_b, r) = Σ_inputs Σ_i E(i)·X̃(r_b, i),    E(i) = Σ_{j: g(j) = i} eq(r, j)

1. The prover says the sum over each input, where there are several.
2. A sum-check over i for each leads to ρ; the prover says X̃(r_b, ρ), the verifier finds Ẽ(ρ) in one pass.

Soundness error: 2·log₂(values of a picture)/p² an input.
"""

from __future__ import annotations

import numpy as np

from assay.integer.graph import Concat, Flatten, PadChannels
from assay.proof.claims import TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import ZERO, Element, Words, dot, unpack
from assay.proof.multilinear import combine, eq_table, pad_axes, split, variables
from assay.proof.parties import Proving, Verifying
from assay.proof.plan import Plan
from assay.proof.sumcheck import prove_pair, verify_pair

Selection = Flatten | Concat | PadChannels


def _cropped(point: list[Element], shape: tuple[int, ...]) -> Words:
    """eq(point, ·) at the real places of a tensor of one picture, (*shape, 2)."""
    table = eq_table(point).reshape(*(1 << variables(size) for size in shape), 2)
    return np.ascontiguousarray(table[tuple(slice(size) for size in shape)])


def _pulled_back(node: Selection, which: int, at: Words, shapes: list[tuple[int, ...]]) -> Words:
    """E for one input, (*its shape, 2), from eq at the output's places."""
    shape = shapes[which]
    match node:
        case Flatten():
            return at.reshape(*shape, 2)
        case Concat():
            start = sum(other[0] for other in shapes[:which])
            return at[start : start + shape[0]]
        case PadChannels(before=before):
            return at[before : before + shape[0]]


def prove_selection(prover: Proving, position: int, node: Selection, claim: TensorClaim) -> None:
    """Reduce a claim on the output to one on each input."""
    plan = prover.plan
    batch_point, at, shapes = _bound(plan, position, node, claim)
    pictures = [combine(prover.values[source].reshape(plan.batch, -1), eq_table(batch_point)) for source in node.inputs]
    weights = [_pulled_back(node, k, at, shapes).reshape(-1, 2) for k in range(len(shapes))]
    totals = [unpack(dot(table, picture))[0] for table, picture in zip(weights, pictures, strict=True)]
    if len(totals) > 1:
        prover.channel.say(totals)
    for source, shape, table, picture, total in zip(node.inputs, shapes, weights, pictures, totals, strict=True):
        n = sum(variables(size) for size in shape)
        point, _, value = prove_pair(prover.channel, total, pad_axes(table, shape), pad_axes(picture, shape), n)
        prover.channel.say([value])
        prover.claims.on_tensor(source, [*batch_point, *point], value)


def verify_selection(verifier: Verifying, position: int, node: Selection, claim: TensorClaim) -> None:
    """The other side."""
    plan = verifier.plan
    batch_point, at, shapes = _bound(plan, position, node, claim)
    totals = verifier.channel.hear(len(shapes)) if len(shapes) > 1 else [claim.value]
    if sum(totals, ZERO) != claim.value:
        raise VerificationError(f"layer {node.name or position}: the parts do not add up to the claimed output")
    for which, (source, shape, total) in enumerate(zip(node.inputs, shapes, totals, strict=True)):
        point, last = verify_pair(verifier.channel, total, sum(variables(size) for size in shape))
        (value,) = verifier.channel.hear(1)
        weights = _pulled_back(node, which, at, shapes).reshape(-1, 2)
        if unpack(dot(weights, _cropped(point, shape).reshape(-1, 2)))[0] * value != last:
            raise VerificationError(f"layer {node.name or position}: the output does not hold the values of the input")
        verifier.claims.on_tensor(source, [*batch_point, *point], value)


def _bound(
    plan: Plan, position: int, node: Selection, claim: TensorClaim
) -> tuple[list[Element], Words, list[tuple[int, ...]]]:
    """The batch's part of the point, eq at the output's places, and the inputs' shapes without batch."""
    parts = split(claim.point, plan.shape(position))
    rest = [r for part in parts[1:] for r in part]
    shapes = [plan.architecture.shapes[source] for source in node.inputs]
    return parts[0], _cropped(rest, plan.architecture.shapes[position]), shapes

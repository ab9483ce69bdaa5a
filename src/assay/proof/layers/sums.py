"""Residual additions and offsets: linear, place by place, so claims stay at their point and no sum-check is needed."""

from __future__ import annotations

from assay.integer.graph import Add, Offset
from assay.proof.claims import TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import ZERO, Element, unpack
from assay.proof.layers.convolution import bias_everywhere
from assay.proof.multilinear import combine, eq_table, evaluate, split
from assay.proof.parties import Proving, Verifying
from assay.proof.plan import Plan
from assay.proof.tensors import elements


def _scaled(node: Add, values: list[Element]) -> Element:
    return sum((value * (1 << shift) for value, shift in zip(values, node.shifts, strict=True)), ZERO)


def prove_add(prover: Proving, position: int, node: Add, claim: TensorClaim) -> None:
    """Say what each summand extends to at the claim's point."""
    values = [evaluate(elements(prover.values[source]), claim.point) for source in node.inputs]
    prover.channel.say(values)
    for source, value in zip(node.inputs, values, strict=True):
        prover.claims.on_tensor(source, claim.point, value)


def verify_add(verifier: Verifying, position: int, node: Add, claim: TensorClaim) -> None:
    """The other side; the check itself is exact."""
    values = verifier.channel.hear(len(node.inputs))
    if _scaled(node, values) != claim.value:
        raise VerificationError(f"layer {node.name or position}: the summands do not add up to the claimed output")
    for source, value in zip(node.inputs, values, strict=True):
        verifier.claims.on_tensor(source, claim.point, value)


def _offset_at(plan: Plan, position: int, node: Offset, claim: TensorClaim) -> Element:
    parts = split(claim.point, plan.shape(position))
    value = unpack(combine(node.value[:, None], eq_table(parts[1])))[0]
    return bias_everywhere(plan.batch, plan.shape(position), parts, value)


def settle_offset(side: Proving | Verifying, position: int, node: Offset, claim: TensorClaim) -> None:
    """Both sides: nothing is said."""
    offset = _offset_at(side.plan, position, node, claim)
    side.claims.on_tensor(node.input, claim.point, claim.value - offset)

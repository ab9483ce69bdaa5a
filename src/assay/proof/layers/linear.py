"""Fully connected layers.

Source: Thaler (CRYPTO 2013, section 5.1), as in SafetyNets (section 4.2). For a claim on Z = Y·Wᵀ + b at (r_b, r_o):

    Z̃(r_b, r_o) − [inside the batch](r_b)·b̃(r_o) = Σ_j W̃(r_o, j)·Ỹ(r_b, j)

1. The prover binds W to r_o and Y to r_b first: what is left are two vectors over j.
2. A sum-check over j leads to a point ρ; the prover says Ỹ(r_b, ρ), the verifier knows W̃(r_o, ρ).

Soundness error: 2·log₂(inputs)/p².
"""

from __future__ import annotations

from assay.integer.graph import Linear
from assay.proof.claims import TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import Element, unpack
from assay.proof.multilinear import Point, below, combine, eq_table, split, variables
from assay.proof.parties import Proving, Verifying
from assay.proof.sumcheck import prove_pair, verify_pair


def bias_at(batch: int, batch_point: Point, bias: Element) -> Element:
    """Padding pictures get no bias, so that padding stays 0 through every layer."""
    return below(batch_point, batch) * bias


def prove_linear(prover: Proving, position: int, node: Linear, claim: TensorClaim) -> None:
    """Reduce a claim on the output to one on the input. Cost: one pass over W and Y, then 4·inputs multiplications."""
    batch_point, out_point = split(claim.point, prover.plan.shape(position))
    prover.weights.bias(prover.channel, position, out_point)
    bias = unpack(combine(node.bias[:, None], eq_table(out_point)))[0]
    weights = combine(node.weight, eq_table(out_point))
    inputs = combine(prover.values[node.input], eq_table(batch_point))
    rest = claim.value - bias_at(prover.plan.batch, batch_point, bias)
    point, weight, value = prove_pair(prover.channel, rest, weights, inputs, variables(len(inputs)))
    prover.weights.weight(prover.channel, position, out_point, point, weight)
    prover.channel.say([value])
    prover.claims.on_tensor(node.input, [*batch_point, *point], value)


def verify_linear(verifier: Verifying, position: int, node: Linear, claim: TensorClaim) -> None:
    """The other side. Raises VerificationError if the layer was computed otherwise."""
    batch_point, out_point = split(claim.point, verifier.plan.shape(position))
    bias = verifier.weights.bias(verifier.channel, position, out_point)
    rest = claim.value - bias_at(verifier.plan.batch, batch_point, bias)
    point, last = verify_pair(verifier.channel, rest, variables(verifier.plan.shape(node.input)[1]))
    weight = verifier.weights.weight(verifier.channel, position, out_point, point)
    (value,) = verifier.channel.hear(1)
    if weight * value != last:
        raise VerificationError(f"layer {node.name or position}: the linear map does not give the claimed output")
    verifier.claims.on_tensor(node.input, [*batch_point, *point], value)

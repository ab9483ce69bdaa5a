"""Several claims on one tensor become one, by a sum-check: Σ_k λᵏ·X̃(r_k) = Σ_x X(x)·Σ_k λᵏ·eq(r_k, x).

λ is drawn when all claims have been said. Soundness error: (claims − 1 + 2·log₂(values))/p².
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.proof.claims import TensorClaim
from assay.proof.commitment import Claim, Term, weighted_sum
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element
from assay.proof.multilinear import eq
from assay.proof.parties import Proving, Verifying
from assay.proof.sumcheck import prove_pair, verify_pair
from assay.proof.tensors import elements


def prove_merge(prover: Proving, position: int, claims: Sequence[TensorClaim]) -> TensorClaim:
    """The one claim that is left to prove."""
    if len(claims) == 1:
        return claims[0]
    table, n = elements(prover.values[position]), prover.plan.bits(position)
    whole = [Claim((Term(0, claim.point),), claim.value) for claim in claims]
    total, weights = weighted_sum(whole, prover.channel.draw(), 1 << n)
    point, value, _ = prove_pair(prover.channel, total, table, weights, n)
    prover.channel.say([value])
    return TensorClaim(tuple(point), value)


def verify_merge(verifier: Verifying, position: int, claims: Sequence[TensorClaim]) -> TensorClaim:
    """The other side."""
    if len(claims) == 1:
        return claims[0]
    mix = verifier.channel.draw()
    powers = _powers(mix, len(claims))
    total = sum((power * claim.value for power, claim in zip(powers, claims, strict=True)), ZERO)
    point, last = verify_pair(verifier.channel, total, verifier.plan.bits(position))
    (value,) = verifier.channel.hear(1)
    weight = sum((power * eq(claim.point, point) for power, claim in zip(powers, claims, strict=True)), ZERO)
    if weight * value != last:
        raise VerificationError(f"the claims on tensor {position} do not agree with each other")
    return TensorClaim(tuple(point), value)


def _powers(mix: Element, count: int) -> list[Element]:
    powers = [ONE]
    while len(powers) < count:
        powers.append(powers[-1] * mix)
    return powers

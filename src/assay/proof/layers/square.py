"""Square activations, as in SafetyNets (section 4.3): Z̃(r) = Σ_x eq(r, x)·Ỹ(x)², a sum-check of degree 3 with eq.

Soundness error: 3·log₂(values)/p², axes padded.
"""

from __future__ import annotations

from assay.integer.graph import Square
from assay.proof.claims import TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.parties import Proving, Verifying
from assay.proof.sumcheck import prove_square, verify_weighted
from assay.proof.tensors import elements


def prove_square_layer(prover: Proving, position: int, node: Square, claim: TensorClaim) -> None:
    """Reduce a claim on the output to one on the input. Cost: about 8 multiplications a value."""
    point, value = prove_square(prover.channel, claim.value, elements(prover.values[node.input]), claim.point)
    prover.channel.say([value])
    prover.claims.on_tensor(node.input, point, value)


def verify_square_layer(verifier: Verifying, position: int, node: Square, claim: TensorClaim) -> None:
    """The other side."""
    point, last = verify_weighted(verifier.channel, claim.value, claim.point, 2)
    (value,) = verifier.channel.hear(1)
    if value * value != last:
        raise VerificationError(f"layer {node.name or position}: the output is not the square of the input")
    verifier.claims.on_tensor(node.input, point, value)

"""The whole proof, after the statement is bound: commitment, lookups, the walk from output to input, one opening.

1. Commit to activations, remainders and counts.
2. Lookups tie them to what the linear layers must have given.
3. The claimed outputs extend to a value at a random point: the first claim of the walk. Layer by layer, claims on an
   output become claims on inputs; those on committed tensors wait.
4. Claims on the picture, or on the picture as it is rounded before all else: the verifier evaluates it itself.
5. All claims on the commitment, by one opening.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from assay.integer import graph as g
from assay.integer.shapes import title
from assay.proof.claims import Claims
from assay.proof.commitment import Committed, verify_claims
from assay.proof.errors import VerificationError
from assay.proof.field import Words
from assay.proof.layers import PROVERS, VERIFIERS, prove_max_pool, prove_merge, verify_max_pool, verify_merge
from assay.proof.lookup import prove_lookups, verify_lookups
from assay.proof.merkle import HASH_BYTES
from assay.proof.multilinear import tensor_at
from assay.proof.parties import KnowWeights, Proving, SayWeights, Verifying
from assay.proof.plan import Plan, rounds_picture
from assay.proof.tensors import Ints, elements, requantised
from assay.proof.transcript import ProverChannel, VerifierChannel
from assay.proof.witness import make_witness

Tick = Callable[[str, int, int], None]
"""Called with what is being done, how many steps of how many are done."""


def no_tick(what: str, done: int, total: int) -> None:
    """For those who do not want to know."""


def prove_network(
    channel: ProverChannel, plan: Plan, values: list[Ints], weights: SayWeights, tick: Tick = no_tick
) -> None:
    """Prove that `values`, one tensor a node with the batch axis first, is the run of the network on values[0].

    Cost: linear in the number of activations; see `estimate`.
    """
    total = len(plan.nodes) + 2
    prover = Proving(channel, plan, Claims(plan), values, weights)
    witness, committed = None, None
    tick("committing", 0, total)
    if plan.looked_up:
        witness = make_witness(plan, values)
        committed = Committed(witness.vector)
        channel.say_bytes(committed.root)
    windows = {}
    if witness is not None:
        tick("lookups", 1, total)
        windows = prove_lookups(channel, plan, witness, values, prover.claims)
    last = len(plan.nodes) - 1
    point = [channel.draw() for _ in range(plan.bits(last))]
    prover.claims.on_tensor(last, point, tensor_at(values[last], point))
    for position in range(last, 0, -1):
        node = plan.nodes[position]
        tick(title(position, node), total - position - 1, total)
        if isinstance(node, g.MaxPool) and witness is not None:
            prove_max_pool(prover, position, node, windows[position], _places(node, witness.windows[position]))
        elif rounds_picture(node):
            prover.claims.take(position)  # which the verifier checks by itself
        elif claims := prover.claims.take(position):
            PROVERS[type(node)](prover, position, node, prove_merge(prover, position, claims))
    if committed is not None:
        tick("opening", total - 1, total)
        committed.prove(channel, prover.claims.columns)
    weights.finish(channel)


def _places(node: g.MaxPool, windows: Ints) -> Words:
    """The tables max − x for each real place of the window."""
    rows, columns = node.kernel
    return np.stack([elements(windows[a, b]) for a in range(rows) for b in range(columns)])


def verify_network(
    channel: VerifierChannel,
    plan: Plan,
    pictures: NDArray[np.integer],
    outputs: Ints,
    weights: KnowWeights,
) -> None:
    """Return if the network gives `outputs` for `pictures`.

    Args:
        pictures: of the network's input shape and within its range, which the caller has checked.
        outputs: (batch, classes), each within ±(p − 1)/2, checked as well.

    Raises:
        VerificationError: if the proof does not convince.

    Never runs the network. Cost: one pass over pictures, outputs and (if public) weights, and O(log) for the rest.
    """
    verifier = Verifying(channel, plan, Claims(plan), weights)
    root = channel.hear_bytes(HASH_BYTES) if plan.looked_up else b""
    windows = verify_lookups(channel, plan, verifier.claims)
    last = len(plan.nodes) - 1
    point = [channel.draw() for _ in range(plan.bits(last))]
    verifier.claims.on_tensor(last, point, tensor_at(outputs, point))
    for position in range(last, 0, -1):
        node = plan.nodes[position]
        if isinstance(node, g.MaxPool):
            verify_max_pool(verifier, position, node, windows[position])
        elif rounds_picture(node):
            _check_pictures(verifier, position, requantised(node, pictures))
        elif claims := verifier.claims.take(position):
            VERIFIERS[type(node)](verifier, position, node, verify_merge(verifier, position, claims))
    _check_pictures(verifier, 0, pictures)
    if plan.looked_up:
        verify_claims(channel, root, plan.layout, verifier.claims.columns)
    weights.finish(channel)


def _check_pictures(verifier: Verifying, position: int, known: NDArray[np.integer]) -> None:
    """Claims on what the verifier has: its pictures, or what it makes of them."""
    for claim in verifier.claims.take(position):
        if tensor_at(known, claim.point) != claim.value:
            raise VerificationError("the proof is about another picture")

"""Sum pooling (average pooling keeps its divisor in the scale), and max pooling.

Sum pooling is a sum over windows with all weights 1 (`windows`); subsampling is one with windows of one place.

Max pooling. For places (a, b) of the window, D_ab = max − x_ab, where what lies outside the picture counts as the
lowest possible value, and D = 0 in the padding of either. The lookups prove D ≥ 0 everywhere and leave a claim on D̃.

1. Σ_o eq(τ, o)·Π_ab D_ab(o) = 0 for a fresh τ: some x_ab is the maximum. A sum-check of degree 1 + places leads to ρ;
   the prover says all D̃_ab(ρ), and with fresh ω they are one claim D̃(ω, ρ).
2. Each of both claims on D̃(ω, ρ) is a claim on the committed maxima and one on X:
   D̃ = [inside the window](ω)·max̃(ρ) − Σ_{u,v} K(u) K(v) X̃(ρ_b, ρ_c, u, v) − low·[outside the picture](ω, ρ).

Soundness error: (places + 1)·log₂(outputs)/p² + (log₂(outputs) + log₂(places))/p² for the draws of τ and ω, and twice
2·log₂(h·w)/p².
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.integer.graph import MaxPool, Subsample, SumPool
from assay.proof.claims import TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, Words
from assay.proof.layers.windows import axes, ones, prove_window_sum, spread, verify_window_sum
from assay.proof.multilinear import Point, at, below, eq_table, evaluate, split
from assay.proof.parties import Proving, Verifying
from assay.proof.plan import Plan
from assay.proof.sumcheck import prove_product, verify_weighted
from assay.proof.tensors import elements
from assay.proof.transcript import ProverChannel, VerifierChannel


def _sum_kernels(
    plan: Plan, position: int, node: SumPool | Subsample, point: list[list[Element]]
) -> tuple[Words, Words]:
    rows, columns = axes(node, plan.shape(node.input), plan.shape(position))
    return spread(rows, point[2], ones(rows.taps)), spread(columns, point[3], ones(columns.taps))


def prove_sum_pool(prover: Proving, position: int, node: SumPool | Subsample, claim: TensorClaim) -> None:
    """Reduce a claim on the output to one on the input."""
    point = split(claim.point, prover.plan.shape(position))
    kernels = _sum_kernels(prover.plan, position, node, point)
    prove_window_sum(prover, node.input, (point[0], point[1]), kernels, claim.value)


def verify_sum_pool(verifier: Verifying, position: int, node: SumPool | Subsample, claim: TensorClaim) -> None:
    """The other side."""
    point = split(claim.point, verifier.plan.shape(position))
    kernels = _sum_kernels(verifier.plan, position, node, point)
    verify_window_sum(verifier, node.input, (point[0], point[1]), kernels, claim.value)


class _Windows:
    """A claim on D̃ at (ω, r), taken apart."""

    def __init__(self, plan: Plan, position: int, node: MaxPool, claim: TensorClaim) -> None:
        self.node, self.given = node, plan.shape(node.input)
        shape = plan.shape(position)
        parts = split(claim.point, (*node.kernel, *shape))
        self.places, self.batch, self.channel = parts[:2], parts[2], parts[3]
        self.maximum_point = claim.point[len(parts[0]) + len(parts[1]) :]
        rows, columns = axes(node, self.given, shape)
        self.kernels = (
            spread(rows, parts[4], eq_table(parts[0])),
            spread(columns, parts[5], eq_table(parts[1])),
        )
        self.inside = below(parts[0], rows.taps) * below(parts[1], columns.taps)
        everywhere = self.inside * below(parts[4], rows.count) * below(parts[5], columns.count)
        on_picture = _total(self.kernels[0]) * _total(self.kernels[1])
        real = below(self.batch, plan.batch) * below(self.channel, shape[1])
        low = plan.floor(position)
        self.constant = real * (everywhere - on_picture) * low

    def pictures(self, claim: TensorClaim, maximum: Element) -> Element:
        """What Σ K(u) K(v) X̃ must be."""
        return self.inside * maximum - self.constant - claim.value


def _total(table: Words) -> Element:
    return Element(sum(table[:, 0].tolist()), sum(table[:, 1].tolist()))


def _draw_all(channel: ProverChannel | VerifierChannel, count: int) -> list[Element]:
    return [channel.draw() for _ in range(count)]


def _joined(node: MaxPool, values: Sequence[Element], place: Point) -> Element:
    """Σ_ab eq(ω, ab)·D̃_ab."""
    rows, columns = split(place, node.kernel)
    row_weights = [at(rows, a) for a in range(node.kernel[0])]
    column_weights = [at(columns, b) for b in range(node.kernel[1])]
    weights = [r * c for r in row_weights for c in column_weights]
    return sum((weight * value for weight, value in zip(weights, values, strict=True)), ZERO)


def prove_max_pool(prover: Proving, position: int, node: MaxPool, windows: TensorClaim, table: Words) -> None:
    """Prove that the committed maxima are elements, and settle both claims on the windows.

    `table` holds D_ab for the real places of the window, (places, padded outputs, 2).
    """
    bits = prover.plan.bits(position)
    tau = _draw_all(prover.channel, bits)
    point, values = prove_product(prover.channel, table, tau)
    prover.channel.say(values)
    place = _draw_all(prover.channel, sum(prover.plan.window_bits(position)))
    second = TensorClaim((*place, *point), _joined(node, values, place))
    for claim in (windows, second):
        _prove_windows(prover, position, node, claim)


def _prove_windows(prover: Proving, position: int, node: MaxPool, claim: TensorClaim) -> None:
    parts = _Windows(prover.plan, position, node, claim)
    maximum = evaluate(elements(prover.values[position]), parts.maximum_point)
    prover.channel.say([maximum])
    prover.claims.on_tensor(position, parts.maximum_point, maximum)
    total = parts.pictures(claim, maximum)
    prove_window_sum(prover, node.input, (parts.batch, parts.channel), parts.kernels, total)


def verify_max_pool(verifier: Verifying, position: int, node: MaxPool, windows: TensorClaim) -> None:
    """The other side. Raises VerificationError if a committed maximum is not an element of its window."""
    tau = _draw_all(verifier.channel, verifier.plan.bits(position))
    places = node.kernel[0] * node.kernel[1]
    point, last = verify_weighted(verifier.channel, ZERO, tau, places)
    values = verifier.channel.hear(places)
    product = ONE
    for value in values:
        product = product * value
    if product != last:
        raise VerificationError(f"layer {node.name or position}: a maximum is not an element of its window")
    place = _draw_all(verifier.channel, sum(verifier.plan.window_bits(position)))
    second = TensorClaim((*place, *point), _joined(node, values, place))
    for claim in (windows, second):
        _verify_windows(verifier, position, node, claim)


def _verify_windows(verifier: Verifying, position: int, node: MaxPool, claim: TensorClaim) -> None:
    parts = _Windows(verifier.plan, position, node, claim)
    (maximum,) = verifier.channel.hear(1)
    verifier.claims.on_tensor(position, parts.maximum_point, maximum)
    total = parts.pictures(claim, maximum)
    verify_window_sum(verifier, node.input, (parts.batch, parts.channel), parts.kernels, total)

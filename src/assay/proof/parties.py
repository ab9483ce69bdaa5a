"""What each side carries from layer to layer while the network is walked backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from assay.proof.claims import Claims
from assay.proof.field import Element
from assay.proof.multilinear import Point
from assay.proof.plan import Plan
from assay.proof.tensors import Ints
from assay.proof.transcript import ProverChannel, VerifierChannel


class SayWeights(Protocol):
    """What the prover says about weights that the verifier does not hold; nothing if it holds them."""

    def weight(self, channel: ProverChannel, position: int, rows: Point, columns: Point, value: Element) -> None:
        """The node's weight matrix extends to `value`."""

    def bias(self, channel: ProverChannel, position: int, rows: Point) -> None:
        """The node's bias at this point."""

    def finish(self, channel: ProverChannel) -> None:
        """Prove what was said."""


class KnowWeights(Protocol):
    """How the verifier comes to know weights: by itself, or from a claim that it has proven later."""

    def weight(self, channel: VerifierChannel, position: int, rows: Point, columns: Point) -> Element:
        """The extension of the node's weights.

        A linear layer's are (out, in), a convolution's (out; in, row, column), `columns` being a point of all three.
        """

    def bias(self, channel: VerifierChannel, position: int, rows: Point) -> Element:
        """The extension of the node's bias."""

    def finish(self, channel: VerifierChannel) -> None:
        """Raise VerificationError unless what was heard is proven."""


@dataclass(frozen=True, slots=True)
class Proving:
    """The prover: `values` are the tensors of the run, one a node, batch first."""

    channel: ProverChannel
    plan: Plan
    claims: Claims
    values: list[Ints]
    weights: SayWeights


@dataclass(frozen=True, slots=True)
class Verifying:
    """The verifier."""

    channel: VerifierChannel
    plan: Plan
    claims: Claims
    weights: KnowWeights

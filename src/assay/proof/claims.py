"""Claims that wait to be proven: on tensors of the network, and on the committed vector."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from assay.proof.commitment import Claim, Term
from assay.proof.field import Element
from assay.proof.plan import Plan


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """The tensor, each axis padded, extends to `value` at `point`: variables of the batch first, then axis by axis."""

    point: tuple[Element, ...]
    value: Element


@dataclass
class Claims:
    """Prover and verifier fill it alike."""

    plan: Plan
    columns: list[Claim] = field(default_factory=list)
    _tensors: defaultdict[int, list[TensorClaim]] = field(default_factory=lambda: defaultdict(list))

    def on_column(self, kind: str, about: int, point: list[Element] | tuple[Element, ...], value: Element) -> None:
        """A claim on a committed block."""
        block = self.plan.columns[kind, about]
        self.columns.append(Claim((Term(block.offset, tuple(point)),), value))

    def on_tensor(self, position: int, point: list[Element] | tuple[Element, ...], value: Element) -> None:
        """A claim on the tensor of a node; it goes to the commitment where the tensor is committed."""
        if ("output", position) in self.plan.columns:
            self.on_column("output", position, point, value)
        else:
            self._tensors[position].append(TensorClaim(tuple(point), value))

    def take(self, position: int) -> list[TensorClaim]:
        """The claims on a tensor that is not committed; they are then seen to."""
        return self._tensors.pop(position, [])

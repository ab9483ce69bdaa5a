"""The soundness ledger: a bound on the chance that a false statement is accepted, term by term, for one instance.

Each term is the bound that the module of that step derives, summed over its uses (union bound). Every bound is a
theorem, the proximity gap in the unique decoding range included; no conjecture is used.

The ledger is for one try. A receipt's challenges are hashes, so its prover may try again: in the random-oracle model,
whoever computes T hashes is believed with probability at most T times the ledger's, and T²/2²⁵⁶ for finding two
columns with one hash. `Ledger.after` says so for a number of hashes; a live prover has one try.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from assay.integer import graph as g
from assay.proof.commitment import QUERIES, Layout
from assay.proof.field import P
from assay.proof.grouped_weights import grouped_variables
from assay.proof.multilinear import variables
from assay.proof.plan import Plan, rounds_picture


@dataclass(frozen=True, slots=True)
class Term:
    """One step's share.

    Attributes:
        step: what could go wrong there.
        bound: how the number comes about.
        error: an upper bound on the probability.
    """

    step: str
    bound: str
    error: float

    @property
    def bits(self) -> float:
        return -math.log2(self.error) if self.error else math.inf


@dataclass(frozen=True, slots=True)
class Ledger:
    """All terms."""

    terms: tuple[Term, ...]

    @property
    def bits(self) -> float:
        """−log₂ of the sum of all errors."""
        return -math.log2(sum(term.error for term in self.terms))

    def after(self, tries_bits: float) -> float:
        """Bits that are left against a prover of a receipt that computes 2**tries_bits hashes."""
        guessed, collided = self.bits - tries_bits, 256 - 2 * tries_bits
        return -math.log2(2**-guessed + 2**-collided)

    def rows(self) -> list[dict[str, object]]:
        """For JSON and tables."""
        return [{"step": t.step, "bound": t.bound, "bits": round(t.bits, 1)} for t in self.terms]


def _field(step: str, numerator: int, bound: str) -> Term:
    return Term(step, f"{bound} = {numerator}/p²", numerator / P**2)


def ledger_for(plan: Plan, committed_weights: tuple[Layout, int] | None = None) -> Ledger:
    """The ledger of a proof of this plan; `committed_weights` are layout and number of claims on them, if any."""
    outputs = plan.bits(len(plan.nodes) - 1)
    terms = [_field("outputs at a random point", outputs, "variables")]
    layers = [_layer(plan, k) for k in range(1, len(plan.nodes))]
    if sum(layers):
        terms.append(_field("sum-checks of the layers", sum(layers), "degree × variables, all layers"))
    if merging := _merging(plan):
        terms.append(_field("claims on one tensor merged", merging, "claims + 2 × variables"))
    if plan.looked_up:
        terms += _lookup_terms(plan) + commitment_terms("activations", plan.layout, _claims_on_columns(plan))
    if committed_weights is not None:
        terms += [_groups_of_weights(plan), *commitment_terms("weights", *committed_weights)]
    return Ledger(tuple(term for term in terms if term.error))


def _lookup_terms(plan: Plan) -> list[Term]:
    values = [(block.bits, plan.lookups.groups[name]) for name, block in plan.fractions.items() if name[0] != "table"]
    return lookup_terms(values, sum(1 << table.bits for table in plan.tables), plan.fraction_count)


def lookup_terms(values: Sequence[tuple[int, range]], rows: int, fractions: int) -> list[Term]:
    """Of one instance: `values` are bits and groups of each block of values, `rows` those of all tables.

    Only the fullest group counts (`blocks`).
    """
    full: Counter[int] = Counter()
    for bits, groups in values:
        full.update({group: (1 << bits) // len(groups) for group in groups})
    n = variables(fractions)
    return [
        _field(
            "lookups: rows mixed and inverted at random", max(full.values()) + 2 * rows, "values a group + 2 × rows"
        ),
        _field("lookups: fractions added", 3 * n * (n - 1) // 2 + 2 * n, "3n(n − 1)/2 + 2n"),
    ]


def commitment_terms(what: str, layout: Layout, claims: int) -> list[Term]:
    """Of one commitment and its opening."""
    radius = 3 * (1 << layout.column_bits) // 2
    return [
        _field(f"{what}: claims reduced to one point", claims + 2 * layout.variables, "claims + 2 × variables"),
        _field(f"{what}: proximity gap", layout.gap, "log₂(rows) × codeword"),
        Term(
            f"{what}: {QUERIES} columns opened",
            f"(1 − {radius + 1}/{layout.codeword})^{QUERIES}, unique decoding",
            (1 - (radius + 1) / layout.codeword) ** QUERIES,
        ),
    ]


def _groups_of_weights(plan: Plan) -> Term:
    """Of the sum-checks that only committed weights need."""
    rounds = sum(grouped_variables(node) for node in plan.nodes if isinstance(node, g.Conv2d) and node.groups > 1)
    return _field("weights: groups of convolutions", 2 * rounds, "degree × variables")


def _claims_on_columns(plan: Plan) -> int:
    """An upper bound: lookups leave at most 2 a node and 1 a table, pooling 2, every reader of a tensor 2."""
    readers = sum(len(node.inputs) for node in plan.nodes)
    return 4 * len(plan.looked_up) + len(plan.tables) + 2 * readers + 1


def _merging(plan: Plan) -> int:
    """Tensors that are not committed and that more than one claim is left on; a max pool leaves two."""
    readers = Counter(source for node in plan.nodes for source in node.inputs)
    pooled = {node.input for node in plan.nodes if isinstance(node, g.MaxPool)}
    total, committed = 0, set(plan.looked_up)
    for position in range(1, len(plan.nodes)):
        several = readers[position] > 1 or position in pooled
        if several and position not in committed and not rounds_picture(plan.nodes[position]):
            total += 2 * readers[position] + 2 * plan.bits(position)
    return total


def _picture_bits(plan: Plan, position: int) -> int:
    return sum(variables(size) for size in plan.architecture.shapes[position])


def _layer(plan: Plan, position: int) -> int:
    """Numerator of the error of one layer's protocol, as its module derives it."""
    node = plan.nodes[position]
    match node:
        case g.Linear():
            return 2 * _picture_bits(plan, node.input)
        case g.Conv2d():
            kernel = sum(variables(side) for side in node.weight.shape[2:])
            return 2 * (_picture_bits(plan, node.input) + kernel)
        case g.SumPool() | g.Subsample():
            return 2 * _picture_bits(plan, node.input)
        case g.MaxPool():
            window, places = sum(plan.window_bits(position)), prod(node.kernel)
            return (places + 2) * plan.bits(position) + window + 4 * _picture_bits(plan, node.input)
        case g.Square():
            return 3 * plan.bits(position)
        case g.Flatten() | g.Concat() | g.PadChannels():
            return sum(2 * _picture_bits(plan, source) for source in node.inputs)
        case _:
            return 0

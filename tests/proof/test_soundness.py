"""The ledger: at least 100 bits for networks and batches of the sizes that tables are made of."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from assay.integer import graph as g
from assay.integer.shapes import shapes_of
from assay.proof.commitment import MAX_GAP, QUERIES, layout_for
from assay.proof.field import P
from assay.proof.hidden import WeightPlan, range_ledger
from assay.proof.plan import Architecture, Plan, reaches
from assay.proof.soundness import Ledger, Term, ledger_for

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Channels of a convolution, or 0 for a pooling."""


def placeholder(*shape: int) -> g.Ints:
    """Takes 8 bytes."""
    return np.broadcast_to(np.zeros((), np.int64), shape)


def vgg16() -> Architecture:
    nodes: list[g.Node] = [g.Input((3, 32, 32))]
    channels = 3
    for step in VGG16:
        last = len(nodes) - 1
        if not step:
            nodes.append(g.MaxPool(input=last, kernel=(2, 2), stride=(2, 2)))
            continue
        weight, bias = placeholder(step, channels, 3, 3), placeholder(step)
        nodes.append(g.Conv2d(input=last, weight=weight, bias=bias, padding=(1, 1, 1, 1)))
        nodes.append(g.Requantise(input=last + 1, shift=9, low=0, high=255, start=0, stop=step))
        channels = step
    nodes.append(g.Flatten(input=len(nodes) - 1))
    nodes.append(g.Linear(input=len(nodes) - 1, weight=placeholder(10, 512), bias=placeholder(10)))
    return Architecture(tuple(nodes), shapes_of(nodes), reaches(nodes, lambda position: (128, 1 << 20)))


def plan_of(architecture: Architecture, batch: int) -> Plan:
    """Accumulators of 23 bits, as compiled networks have them."""
    ranges = {
        k: (0, 255) if isinstance(node, g.MaxPool) else (-(1 << 22), 1 << 22)
        for k, node in enumerate(architecture.nodes)
        if isinstance(node, g.MaxPool | g.Requantise)
    }
    return Plan(architecture, batch, ranges)


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_vgg16_has_a_hundred_bits_at_every_batch_with_its_weights_public_or_committed(batch: int) -> None:
    architecture = vgg16()
    plan, weights = plan_of(architecture, batch), WeightPlan(architecture)
    assert ledger_for(plan).bits > 100
    assert ledger_for(plan, (weights.layout, 2 * len(weights.layers))).bits > 100
    assert range_ledger(weights).bits > 100


def test_one_challenge_for_all_lookups_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.proof.blocks.GROUP_BITS", 40)
    assert ledger_for(plan_of(vgg16(), 64)).bits < 98


def test_no_layout_has_a_larger_gap_than_allowed() -> None:
    assert all(layout_for(size).gap <= MAX_GAP for size in (1, 2, 1000, 1 << 20, 1 << 24, (1 << 28) - 1))


def test_opened_columns_miss_a_difference_with_the_probability_that_is_printed() -> None:
    """C = 2 has codewords of 8 and radius 3: differences in 4 of 8 columns are missed by half of all draws."""
    term = next(t for t in ledger_for(plan_of(vgg16(), 1)).terms if "columns opened" in t.step)
    assert Fraction(term.error) < Fraction(5, 8) ** QUERIES
    assert 104 < term.bits < 105


def test_hashes_are_paid_for_bit_by_bit() -> None:
    ledger = Ledger((Term("one", "1/p²", 1 / P**2), Term("two", "2/p²", 2 / P**2)))
    assert ledger.bits == pytest.approx(122 - np.log2(3), abs=1e-6)
    assert ledger.after(0) == pytest.approx(ledger.bits)
    assert ledger.after(40) == pytest.approx(ledger.bits - 40)
    assert ledger.after(120) == pytest.approx(ledger.bits - 120, abs=0.1)


def test_a_max_pool_alone_leaves_two_claims_on_what_it_reads() -> None:
    """Which is not committed here, so they are merged, and the ledger says so."""
    nodes = (
        g.Input((2, 4, 4)),
        g.Offset(input=0, value=np.array([-3, -4])),
        g.MaxPool(input=1, kernel=(2, 2), stride=(2, 2)),
        g.Flatten(input=2),
    )
    architecture = Architecture(nodes, shapes_of(nodes), reaches(nodes, lambda position: (0, 0)))
    steps = {term.step: term for term in ledger_for(Plan(architecture, 2, {2: (-259, 252)})).terms}
    claims, picture_bits = 2, 6
    assert steps["claims on one tensor merged"].error == (claims + 2 * picture_bits) / P**2

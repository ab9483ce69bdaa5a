"""What a proof will cost, before it is made: sizes are counted, times come from a short measurement on this machine.

The constants say how many multiplications in F_p² each step is worth, memory traffic included; they were fitted once,
on proofs of LeNet-5, ResNet-20 and VGG-16 (`assay bench proof` compares prediction and measurement).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from math import prod

import numpy as np

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof.api import plan_for
from assay.proof.commitment import QUERIES, Layout
from assay.proof.field import P, products
from assay.proof.merkle import HASH_BYTES
from assay.proof.multilinear import variables
from assay.proof.plan import Plan
from assay.proof.transcript import ELEMENT_BYTES

ENCODE = 1.15
"""Multiplications a butterfly."""
FRACTION = 24.0
"""A fraction of the lookups: its tree, and ten multiplications in the sum-checks."""
OPENED = 12.0
"""A committed value, in the reduction of all claims to one point."""
ACTIVATION = 10.0
"""A value that a convolution reads, per row of its kernel; a value that is squared."""
WEIGHT = 0.25
"""A weight that is bound to a point."""
ROUND_S = 35e-6
"""Seconds of Python a message."""
HASH_S = 1.3e-6
"""Seconds of Python a hash."""
BASE_BYTES = 260 << 20
"""The process with its libraries and compiled code."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Attributes:
    prove_s: CPU seconds to run and prove, compiled code warm.
    memory_bytes: peak of the process.
    receipt_bytes: of the file, inputs and outputs included.
    committed, lookups: how many values of each kind.
    """

    prove_s: float
    memory_bytes: int
    receipt_bytes: int
    committed: int
    lookups: int


def estimate(network: IntegerNetwork, batch: int = 1) -> Estimate:
    """The cost of a receipt for `batch` pictures. Takes about a tenth of a second and one run of the network.

    Raises:
        UnprovableError: naming the layer that cannot be proven.
    """
    plan = plan_for(network, batch)
    messages = _messages(plan)
    size = _proof_bytes(plan, messages)
    pictures = prod(plan.shape(0)) * (1 if network.input.low >= 0 and network.input.high <= 255 else 8)
    receipt = size + pictures + 8 * prod(plan.shape(len(plan.nodes) - 1)) + 200
    committed, fractions = plan.committed_size, plan.fraction_count
    seconds = _arithmetic(plan) * _multiplication_s() + _hashes(plan) + messages * ROUND_S + batch * _run_s(network)
    activations = sum(prod(plan.shape(k)) for k in range(len(plan.nodes)))
    memory = BASE_BYTES + 8 * activations + max(150 * fractions, 60 * committed) + 56 * committed + 40 * _largest(plan)
    return Estimate(seconds, memory, receipt, committed, fractions)


def _largest(plan: Plan) -> int:
    """Values of the largest tensor that a sum-check runs over."""
    return max((1 << plan.bits(k) for k, node in enumerate(plan.nodes) if isinstance(node, g.Square)), default=0)


def _layer_variables(plan: Plan, position: int) -> tuple[int, int]:
    """Rounds of a layer's sum-checks, and elements said a round."""
    node = plan.nodes[position]

    def bits(source: int) -> int:
        return sum(variables(size) for size in plan.architecture.shapes[source])

    match node:
        case g.Linear():
            return bits(node.input), 2
        case g.Conv2d():
            spatial = sum(variables(side) for side in plan.architecture.shapes[node.input][1:])
            return bits(node.input) + sum(variables(side) for side in node.weight.shape[2:]) + spatial, 2
        case g.SumPool():
            return bits(node.input), 2
        case g.MaxPool():
            return plan.bits(position), prod(node.kernel) + 1
        case g.Square():
            return plan.bits(position), 3
        case g.Flatten() | g.Concat() | g.Subsample() | g.PadChannels():
            return sum(bits(source) for source in node.inputs), 2
        case _:
            return 0, 0


def _messages(plan: Plan) -> int:
    """Messages of all sum-checks."""
    n = variables(plan.fraction_count) if plan.looked_up else 0
    opening = plan.layout.variables if plan.looked_up else 0
    return n * (n + 3) // 2 + opening + sum(_layer_variables(plan, k)[0] + 2 for k in range(1, len(plan.nodes)))


def _proof_bytes(plan: Plan, messages: int) -> int:
    layers = [_layer_variables(plan, k) for k in range(1, len(plan.nodes))]
    elements = sum(rounds * said + 2 for rounds, said in layers)
    if not plan.looked_up:
        return ELEMENT_BYTES * elements
    n = variables(plan.fraction_count)
    elements += 3 * n * (n - 1) // 2 + 4 * n + 4 * len(plan.looked_up) + len(plan.tables)
    return ELEMENT_BYTES * elements + _opening_bytes(plan.layout)


def _opening_bytes(layout: Layout) -> int:
    """Expected size of an opening: positions are drawn with repetition, and neighbours save hashes."""

    def met(nodes: int) -> float:
        """Share of a level's nodes that lie on an opened path."""
        return 1 - float(1 - 1 / nodes) ** QUERIES

    columns = layout.codeword * met(layout.codeword)
    hashes = sum((1 << level) * met(1 << level) * (1 - met(1 << level)) for level in range(1, layout.depth + 1))
    return int(ELEMENT_BYTES * ((2 << layout.column_bits) + columns * layout.rows) + HASH_BYTES * hashes)


def _arithmetic(plan: Plan) -> float:
    """In multiplications."""
    total = 0.0
    for position, node in enumerate(plan.nodes):
        if isinstance(node, g.Conv2d | g.Linear):
            total += WEIGHT * node.weight.size + 2 * WEIGHT * prod(plan.shape(node.input))
        if isinstance(node, g.Conv2d):
            total += ACTIVATION * node.weight.shape[3] * prod(plan.architecture.shapes[node.input])
        if isinstance(node, g.Square | g.MaxPool):
            total += ACTIVATION * (1 << plan.bits(position)) * (8 if isinstance(node, g.MaxPool) else 1)
    if plan.looked_up:
        layout = plan.layout
        butterflies = layout.rows * layout.codeword * (layout.column_bits + 2) / 2
        total += ENCODE * butterflies + FRACTION * plan.fraction_count + OPENED * plan.committed_size
    return total


def _hashes(plan: Plan) -> float:
    if not plan.looked_up:
        return 0.0
    layout: Layout = plan.layout
    column = bytes(16 * layout.rows)
    begun = time.perf_counter()
    for _ in range(50):
        hashlib.sha256(column).digest()
    return layout.codeword * ((time.perf_counter() - begun) / 50 + 2 * HASH_S)


def _multiplication_s() -> float:
    """Seconds of one multiplication in F_p², the best of a few tries."""
    words = np.full((1 << 16, 2), P - 2, np.uint64)
    products(words, words)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        products(words, words)
        times.append(time.perf_counter() - begun)
    return min(times) / len(words)


def _run_s(network: IntegerNetwork) -> float:
    """CPU seconds of the network on one picture."""
    picture = np.full((1, *network.input_shape), network.input.low, np.int64)
    network.run(picture)
    begun = time.process_time()
    network.run(picture)
    return time.process_time() - begun

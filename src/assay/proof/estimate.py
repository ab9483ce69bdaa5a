"""What a proof will cost, before it is made: sizes are counted, times follow from a rehearsal on this machine.

Nearly all of a proof's time goes into three steps whose work is counted exactly: the commitment, the sum of fractions,
and the opening. `_rehearse` does each of them once on numbers, as many as the proof has but at most 2²⁰, and what one
value took there it will take again. The rest is small and counted in multiplications and messages.
`assay bench estimates` compares what was foreseen with what it took.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof.api import plan_for
from assay.proof.commitment import QUERIES, Claim, Committed, Layout, Term
from assay.proof.field import ONE, P, products
from assay.proof.fraction_sum import prove_zero_sum
from assay.proof.merkle import HASH_BYTES
from assay.proof.multilinear import variables
from assay.proof.plan import Plan
from assay.proof.transcript import ELEMENT_BYTES, Recorder

ACTIVATION = 10.0
"""Multiplications for a value that a convolution reads, per row of its kernel; for a value that is squared."""
WEIGHT = 0.25
"""Multiplications for a weight that is bound to a point."""
WITNESS = 8.0
"""Multiplications that the time to lay out a committed value or find the row of a fraction is worth."""
ROUND_S = 30e-6
"""Seconds of Python a message."""
REHEARSED_BITS = (12, 20)
"""Sizes of a rehearsal; above the largest, memory is as slow as it gets."""

LIBRARIES = 168 << 20
"""Bytes of the process with its libraries and compiled code."""
WEIGHT_BYTES = 15
"""A weight, in the types that reading, running and proving want."""
COMMITTED_BYTES = 48
"""A committed value: the vector twice, its row, and 32 bytes of codeword."""
FRACTION_BYTES = 68
"""A fraction: numerator and denominator, the same again folded in pairs, and its row."""


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
    """The cost of a receipt for `batch` pictures. Takes up to a second and one run of the network.

    Raises:
        UnprovableError: naming the layer that cannot be proven.
    """
    plan = plan_for(network, batch)
    messages = _messages(plan)
    pictures = prod(plan.shape(0)) * (1 if network.input.low >= 0 and network.input.high <= 255 else 8)
    receipt = _proof_bytes(plan) + pictures + 8 * prod(plan.shape(len(plan.nodes) - 1)) + 200
    seconds = _arithmetic(plan) * _multiplication_s() + messages * ROUND_S + batch * _run_s(network)
    if plan.looked_up:
        seconds += _lookup_s(plan)
    return Estimate(seconds, _memory(plan), receipt, plan.committed_size, plan.fraction_count)


def _lookup_s(plan: Plan) -> float:
    """Commitment, sum of fractions, opening."""
    committed, fractions = plan.committed_size, plan.fraction_count
    rates = _rehearse(_rehearsed_bits(committed)), _rehearse(_rehearsed_bits(fractions))
    encoding = rates[0].butterfly_s * _butterflies(plan.layout)
    return encoding + rates[0].opened_s * committed + rates[1].fraction_s * fractions


def _rehearsed_bits(count: int) -> int:
    least, most = REHEARSED_BITS
    return min(max(count.bit_length() - 1, least), most)


def _butterflies(layout: Layout) -> float:
    """Work of encoding and hashing a matrix; two for the column that is hashed."""
    return layout.rows * layout.codeword * (layout.column_bits + 2) / 2


@dataclass(frozen=True, slots=True)
class _Rates:
    """CPU seconds of one butterfly of an encoding, one value in an opening, one fraction of a sum."""

    butterfly_s: float
    opened_s: float
    fraction_s: float


@lru_cache(maxsize=16)
def _rehearse(bits: int) -> _Rates:
    """Commit to 2**bits numbers, open them, add as many fractions. The quicker of two times, of one for the largest."""
    size = 1 << bits
    numbers = (np.arange(size, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) % np.uint64(P)
    table = np.repeat(numbers[:, None], 2, axis=1)
    claim, found = Claim((Term(0, (ONE,) * bits),), ONE), []
    rounds = bits * (bits + 3) // 2 * ROUND_S
    for _ in range(2 if bits < REHEARSED_BITS[1] else 1):  # what is larger finds no memory warm
        begun = time.process_time()
        committed = Committed(numbers)
        encoded = time.process_time()
        committed.prove(Recorder(), [claim])
        opened = time.process_time()
        prove_zero_sum(Recorder(), table, table)
        added = time.process_time()
        found.append((encoded - begun, opened - encoded, max(added - opened - rounds, 0.5 * (added - opened))))
    encode_s, open_s, add_s = (min(times) for times in zip(*found, strict=True))
    return _Rates(encode_s / _butterflies(committed.layout), open_s / size, add_s / size)


def _memory(plan: Plan) -> int:
    """Peak of the process: the run, the commitment, and the larger of fractions and opening."""
    activations = sum(prod(plan.shape(k)) for k in range(len(plan.nodes)))
    weights = sum(node.weight.size for node in plan.nodes if isinstance(node, g.Conv2d | g.Linear))
    committed, fractions = plan.committed_size, plan.fraction_count
    proof = COMMITTED_BYTES * committed + max(FRACTION_BYTES * fractions, COMMITTED_BYTES * committed)
    return LIBRARIES + WEIGHT_BYTES * weights + 8 * activations + proof + 40 * _largest(plan)


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
        case g.SumPool() | g.Subsample():
            return bits(node.input), 2
        case g.MaxPool():
            return plan.bits(position), prod(node.kernel) + 1
        case g.Square():
            return plan.bits(position), 3
        case g.Flatten() | g.Concat() | g.PadChannels():
            return sum(bits(source) for source in node.inputs), 2
        case _:
            return 0, 0


def _messages(plan: Plan) -> int:
    """Messages of all sum-checks."""
    n = variables(plan.fraction_count) if plan.looked_up else 0
    opening = plan.layout.variables if plan.looked_up else 0
    return n * (n + 3) // 2 + opening + sum(_layer_variables(plan, k)[0] + 2 for k in range(1, len(plan.nodes)))


def _proof_bytes(plan: Plan) -> int:
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
    """Of the layers and of the witness, in multiplications."""
    total = WITNESS * (plan.committed_size + plan.fraction_count) if plan.looked_up else 0.0
    for position, node in enumerate(plan.nodes):
        if isinstance(node, g.Conv2d | g.Linear):
            total += WEIGHT * node.weight.size + 2 * WEIGHT * prod(plan.shape(node.input))
        if isinstance(node, g.Conv2d):
            total += ACTIVATION * node.weight.shape[3] * prod(plan.architecture.shapes[node.input])
        if isinstance(node, g.Square | g.MaxPool):
            total += ACTIVATION * (1 << plan.bits(position)) * (8 if isinstance(node, g.MaxPool) else 1)
    return total


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

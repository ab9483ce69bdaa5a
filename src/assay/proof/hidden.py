"""Committed weights: the verifier holds 32 bytes, the provider keeps its weights.

The commitment names architecture and weights: c = SHA-256("assay/weights/1" ‖ length ‖ architecture ‖ Merkle root). The
committed vector holds, for each layer, one matrix (out, in) per place of the kernel, and each bias as two limbs of 16
bits, b = l₀ + 2¹⁶·l₁ − 2³¹.

What bounds the weights of a network one holds means nothing for weights one cannot see: 2^60 is a field element too. So
a commitment comes with a proof that every weight is in [−128, 127] and every limb in [0, 2¹⁶): LogUp, as in `lookup`.
It is checked once, when the commitment is accepted (`accept_commitment`); from then on the 32 bytes suffice.

Entries that pad a matrix are committed like the others. A provider that puts weights there has committed to a network
of more channels than it says; the answer is that network's, and the bounds count padding.

Soundness error of that proof: 3·(values + table rows)/p² for its two draws, the sum of fractions, and one opening.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.files import Graph, graph_text
from assay.integer.shapes import shapes_of, title
from assay.proof.commitment import Claim, Committed, Layout, Term, layout_for, verify_claims
from assay.proof.errors import UnprovableError, UnreadableReceipt, VerificationError
from assay.proof.field import ONE, ZERO, Element, Words, from_integers, pack, unpack
from assay.proof.fraction_sum import prove_zero_sum, verify_zero_sum
from assay.proof.multilinear import Point, at, below, combine, eq_table, index_sum, split, variables
from assay.proof.plan import Architecture, Block, loose_intervals, placed
from assay.proof.tensors import Ints, padded
from assay.proof.transcript import ProverChannel, Reader, Recorder, VerifierChannel
from assay.runs import write_atomically

DOMAIN = b"assay/weights/1"
FORMAT = "assay weights"
VERSION = 1
MAX_WEIGHTS = 1 << 27
"""Weights of one network, padded."""
MAX_ARCHITECTURE = 1 << 24
WEIGHT_LIMIT = 128
BIAS_LIMIT = 1 << 31
LIMB_BITS = 16
_TABLES = ((8, -WEIGHT_LIMIT), (LIMB_BITS, 0))
"""Bits and first value of the tables of weights and of limbs."""


class _Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the architecture says: the graph, shapes of weights, and offsets, which are no secret."""

    graph: str
    weights: dict[str, tuple[int, ...]]
    offsets: dict[str, tuple[int, ...]]


def describe(network: IntegerNetwork) -> bytes:
    """The architecture of a network, as bytes.

    Raises:
        UnprovableError: naming the layer, if its weights cannot be committed.
    """
    weights, offsets = {}, {}
    for position, node in enumerate(network.nodes):
        if isinstance(node, g.Conv2d | g.Linear):
            _check_sizes(position, node)
            weights[str(position)] = node.weight.shape
        elif isinstance(node, g.Offset):
            offsets[str(position)] = tuple(node.value.tolist())
    return msgspec.json.encode(_Described(graph_text(network), weights, offsets))


def _check_sizes(position: int, node: g.Conv2d | g.Linear) -> None:
    name = title(position, node)
    if isinstance(node, g.Conv2d) and node.groups != 1:
        raise UnprovableError(f"{name} has {node.groups} groups; committed weights are for one group only")
    if int(node.weight.min()) < -WEIGHT_LIMIT or int(node.weight.max()) >= WEIGHT_LIMIT:
        raise UnprovableError(f"{name} has weights beyond 8 bits, which cannot be committed; compile with 8 bits")
    if int(node.bias.min()) < -BIAS_LIMIT or int(node.bias.max()) >= BIAS_LIMIT:
        raise UnprovableError(f"{name} has a bias beyond 32 bits, which cannot be committed")


@lru_cache(maxsize=4)
def read_architecture(data: bytes) -> Architecture:
    """The architecture back from its bytes, with weights that are placeholders.

    Raises:
        VerificationError: if it does not make sense. Sizes are checked before memory is taken.
    """
    if len(data) > MAX_ARCHITECTURE:
        raise VerificationError(f"an architecture of {len(data)} bytes is larger than {MAX_ARCHITECTURE >> 20} MiB")
    try:
        described = msgspec.json.decode(data, type=_Described)
        graph = msgspec.json.decode(described.graph, type=Graph)
        nodes = tuple(_node(k, dict(said), described) for k, said in enumerate(graph.nodes))
        if sum(int(np.prod(shape)) for shape in described.weights.values()) > MAX_WEIGHTS:
            raise VerificationError(f"a commitment is to at most {MAX_WEIGHTS} weights")
        shapes = shapes_of(nodes)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError, ModelError) as error:
        raise VerificationError(f"the committed architecture does not make sense: {error}") from error
    if len(shapes[-1]) != 1 or graph.classic:
        raise VerificationError("the committed architecture has no flat output, or is a classic network")
    return Architecture(nodes, shapes, loose_intervals(nodes, lambda position: (WEIGHT_LIMIT, BIAS_LIMIT)))


def _node(position: int, said: dict[str, Any], described: _Described) -> g.Node:
    operation = g.OPERATIONS.get(str(said.pop("op", None)))
    if operation is None:
        raise ValueError(f"node {position} is of no known kind")
    name = str(position)
    if operation in (g.Conv2d, g.Linear):
        shape = described.weights.get(name, ())
        if len(shape) != (4 if operation is g.Conv2d else 2) or min(shape) < 1 or max(shape) > MAX_WEIGHTS:
            raise ValueError(f"node {position} has weights of shape {shape}")
        said |= {"weight": _zeros(shape), "bias": _zeros(shape[:1])}
    if operation is g.Offset:
        said["value"] = np.array(described.offsets.get(name, ()), np.int64)
    node: g.Node = msgspec.convert(said, operation)  # type: ignore[assignment]
    if isinstance(node, g.Conv2d) and node.groups != 1:
        raise ValueError(f"node {position} has groups")
    return node


def _zeros(shape: tuple[int, ...]) -> Ints:
    """Takes 8 bytes, whatever the shape."""
    return np.broadcast_to(np.zeros((), np.int64), shape)


@dataclass(frozen=True)
class WeightPlan:
    """Where everything lies in the committed vector. Kinds of blocks: ("weight …"), ("limb …"), ("counts", table)."""

    architecture: Architecture

    @cached_property
    def blocks(self) -> dict[tuple[str, int], Block]:
        """By kind and number: weights of a layer's tap, low and high limb of a layer's bias, counts of a table."""
        wanted: list[tuple[str, int, int]] = []
        for position, node in self.layers:
            bits = sum(variables(size) for size in node.weight.shape[:2])
            wanted += [(f"weight {tap}", position, bits) for tap in range(taps_of(node))]
            wanted += [(f"limb {k}", position, variables(len(node.weight))) for k in (0, 1)]
        wanted += [("counts", table, bits) for table, (bits, _) in enumerate(_TABLES)]
        return placed(wanted)

    @property
    def layers(self) -> list[tuple[int, g.Conv2d | g.Linear]]:
        """Layers with weights."""
        return [(k, n) for k, n in enumerate(self.architecture.nodes) if isinstance(n, g.Conv2d | g.Linear)]

    @property
    def size(self) -> int:
        return sum(1 << block.bits for block in self.blocks.values())

    @cached_property
    def layout(self) -> Layout:
        return layout_for(self.size)


def taps_of(node: g.Conv2d | g.Linear) -> int:
    """Places of the kernel; 1 for a linear layer."""
    return int(np.prod(node.weight.shape[2:], dtype=np.int64))


def commitment_of(architecture: bytes, root: bytes) -> bytes:
    """The 32 bytes that a client holds."""
    return hashlib.sha256(DOMAIN + len(architecture).to_bytes(8, "little") + architecture + root).digest()


class HiddenNetwork:
    """The provider's side: a network, its commitment, and what is needed to open it.

    Cost: encoding all weights once; for VGG-16 about half a gigabyte is kept.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        """Raises UnprovableError naming the layer, if its weights cannot be committed."""
        if network.classic:
            raise UnprovableError("weights of classic networks are beyond 8 bits and cannot be committed")
        self.network = network
        self.description = describe(network)
        self.plan = WeightPlan(read_architecture(self.description))
        self.vector, self._places = self._fill()
        self.committed = Committed(from_integers(self.vector))
        self.root = self.committed.root
        self.digest = commitment_of(self.description, self.root)

    def _fill(self) -> tuple[Ints, NDArray[np.int32]]:
        """The committed vector, and for every entry the row of both tables, end to end, that it is found in."""
        vector = np.zeros(self.plan.size, np.int64)
        places = np.zeros(self.plan.size, np.int32)
        rows = 0
        for table, (bits, start) in enumerate(_TABLES):
            for block, values in self._blocks_of(table):
                here = slice(block.offset, block.offset + (1 << block.bits))
                vector[here] = values.ravel()
                places[here] = values.ravel() - start + rows
            rows += 1 << bits
        counts = np.zeros(rows, np.int64)
        for (kind, _), block in self.plan.blocks.items():
            if kind != "counts":
                counts += np.bincount(places[block.offset : block.offset + (1 << block.bits)], minlength=rows)
        first = 0
        for table, (bits, _) in enumerate(_TABLES):
            block = self.plan.blocks["counts", table]
            here = slice(block.offset, block.offset + (1 << bits))
            vector[here] = counts[first : first + (1 << bits)]
            places[here] = np.arange(first, first + (1 << bits))
            first += 1 << bits
        return vector, places

    def _blocks_of(self, table: int) -> Iterator[tuple[Block, Ints]]:
        """Blocks of weights (table 0) or limbs (table 1), with their padded values."""
        for position, _ in self.plan.layers:
            node = self.network.nodes[position]
            assert isinstance(node, g.Conv2d | g.Linear)
            if table == 0:
                matrices = np.moveaxis(node.weight.reshape(*node.weight.shape[:2], -1), 2, 0)
                for tap, matrix in enumerate(matrices):
                    yield self.plan.blocks[f"weight {tap}", position], padded(matrix)
            else:
                raised = node.bias + BIAS_LIMIT
                for k, limb in enumerate((raised & ((1 << LIMB_BITS) - 1), raised >> LIMB_BITS)):
                    yield self.plan.blocks[f"limb {k}", position], padded(limb)

    def prove_ranges(self) -> bytes:
        """The proof that all weights and limbs are in range."""
        channel = Recorder()
        channel.bind(DOMAIN)
        channel.bind(self.description)
        channel.bind(self.root)
        alpha, beta = channel.draw(), channel.draw()
        numerators, denominators = self._leaves(alpha, beta)
        leaf = prove_zero_sum(channel, numerators, denominators)
        claims = []
        tables: dict[int, Words] = {}
        for block in self.plan.blocks.values():
            point = block.inside(leaf.point)
            weights = tables.setdefault(len(point), eq_table(point))
            here = self.vector[block.offset : block.offset + (1 << block.bits)]
            value = unpack(combine(here[:, None], weights))[0]
            channel.say([value])
            claims.append(Claim((Term(block.offset, tuple(point)),), value))
        self.committed.prove(channel, claims)
        return bytes(channel.proof)

    def _leaves(self, alpha: Element, beta: Element) -> tuple[Words, Words]:
        rows = []
        for table, (bits, start) in enumerate(_TABLES):
            column = from_integers(np.arange(start, start + (1 << bits)))
            constant = alpha - 1 - beta * table
            words = np.repeat(pack([constant]), len(column), axis=0)
            words[:, 0] = from_integers((words[:, 0].astype(object) - column.astype(object)) % g.P)
            rows.append(words)
        numerators = np.zeros((self.plan.size, 2), np.uint64)
        numerators[:, 0] = 1
        for table, (bits, _) in enumerate(_TABLES):
            block = self.plan.blocks["counts", table]
            here = slice(block.offset, block.offset + (1 << bits))
            numerators[here, 0] = from_integers(-self.vector[here])
        return numerators, np.ascontiguousarray(np.concatenate(rows)[self._places])

    def to_bytes(self) -> bytes:
        """What a client needs to accept the commitment: architecture, root, range proof."""
        return msgspec.msgpack.encode(CommitmentFile(FORMAT, VERSION, self.description, self.root, self.prove_ranges()))

    def save(self, path: Path | str) -> Path:
        """Write it to a file."""
        path = Path(path)
        write_atomically(path, self.to_bytes())
        return path


class CommitmentFile(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What `assay commit` writes."""

    format: str
    version: int
    architecture: bytes
    root: bytes
    proof: bytes


def accept_commitment(data: bytes) -> bytes:
    """Check a commitment file; the 32 bytes that it is accepted under.

    Raises:
        UnreadableReceipt: if it is no such file.
        VerificationError: if a weight may be out of range.
    """
    try:
        file = msgspec.msgpack.decode(data, type=CommitmentFile)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UnreadableReceipt(f"this is not a commitment to weights: {error}") from error
    if (file.format, file.version) != (FORMAT, VERSION) or len(file.root) != 32 or msgspec.msgpack.encode(file) != data:
        raise UnreadableReceipt("this is not a commitment to weights of this version")
    plan = WeightPlan(read_architecture(file.architecture))
    channel = Reader(file.proof)
    channel.bind(DOMAIN)
    channel.bind(file.architecture)
    channel.bind(file.root)
    _verify_ranges(channel, plan, file.root)
    channel.finish()
    return commitment_of(file.architecture, file.root)


def _verify_ranges(channel: VerifierChannel, plan: WeightPlan, root: bytes) -> None:
    alpha, beta = channel.draw(), channel.draw()
    leaf = verify_zero_sum(channel, plan.size)
    numerator, denominator, claims = ZERO, ZERO, []
    for (kind, about), block in plan.blocks.items():
        (value,) = channel.hear(1)
        point, selector = block.inside(leaf.point), block.selector(leaf.point)
        claims.append(Claim((Term(block.offset, tuple(point)),), value))
        if kind == "counts":
            bits, start = _TABLES[about]
            entry, tag, top = index_sum(point, 1 << bits) + start, about, -value
        else:
            entry, tag, top = value, int(kind.startswith("limb")), ONE
        denominator = denominator + selector * (alpha - 1 - entry - beta * tag)
        numerator = numerator + selector * top
    if (numerator, denominator) != (leaf.numerator, leaf.denominator):
        raise VerificationError("a committed weight or bias may be out of range")
    verify_claims(channel, root, plan.layout, claims)


def _weight_claim(plan: WeightPlan, position: int, rows: Point, columns: Point, value: Element) -> Claim:
    node = plan.architecture.nodes[position]
    assert isinstance(node, g.Conv2d | g.Linear)
    inner, *taps = split(columns, node.weight.shape[1:])
    coefficients = [ONE]
    for axis, side in zip(taps, node.weight.shape[2:], strict=True):
        coefficients = [c * at(axis, k) for c in coefficients for k in range(side)]
    point = (*rows, *inner)
    terms = tuple(
        Term(plan.blocks[f"weight {tap}", position].offset, point, coefficient)
        for tap, coefficient in enumerate(coefficients)
    )
    return Claim(terms, value)


def _bias_claim(plan: WeightPlan, position: int, rows: Point, value: Element) -> Claim:
    node = plan.architecture.nodes[position]
    assert isinstance(node, g.Conv2d | g.Linear)
    low, high = (plan.blocks[f"limb {k}", position].offset for k in (0, 1))
    terms = (Term(low, tuple(rows)), Term(high, tuple(rows), Element(1 << LIMB_BITS)))
    return Claim(terms, value + below(rows, len(node.weight)) * BIAS_LIMIT)


class SayHidden:
    """The prover's side of weights that only it holds: every evaluation is said, and proven at the end."""

    def __init__(self, hidden: HiddenNetwork) -> None:
        self._hidden = hidden
        self._claims: list[Claim] = []

    def weight(self, channel: ProverChannel, position: int, rows: Point, columns: Point, value: Element) -> None:
        channel.say([value])
        self._claims.append(_weight_claim(self._hidden.plan, position, rows, columns, value))

    def bias(self, channel: ProverChannel, position: int, rows: Point) -> None:
        node = self._hidden.network.nodes[position]
        assert isinstance(node, g.Conv2d | g.Linear)
        value = unpack(combine(node.bias[:, None], eq_table(rows)))[0]
        channel.say([value])
        self._claims.append(_bias_claim(self._hidden.plan, position, rows, value))

    def finish(self, channel: ProverChannel) -> None:
        self._hidden.committed.prove(channel, self._claims)


class KnowHidden:
    """The verifier's side."""

    def __init__(self, plan: WeightPlan, root: bytes) -> None:
        self._plan, self._root = plan, root
        self._claims: list[Claim] = []

    @property
    def layout_and_claims(self) -> tuple[Layout, int]:
        """For the soundness ledger: the committed matrix, and how many claims on it were heard."""
        return self._plan.layout, len(self._claims)

    def weight(self, channel: VerifierChannel, position: int, rows: Point, columns: Point) -> Element:
        (value,) = channel.hear(1)
        self._claims.append(_weight_claim(self._plan, position, rows, columns, value))
        return value

    def bias(self, channel: VerifierChannel, position: int, rows: Point) -> Element:
        (value,) = channel.hear(1)
        self._claims.append(_bias_claim(self._plan, position, rows, value))
        return value

    def finish(self, channel: VerifierChannel) -> None:
        verify_claims(channel, self._root, self._plan.layout, self._claims)

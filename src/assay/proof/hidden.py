"""Committed weights: the verifier holds 32 bytes, the provider keeps its weights.

The commitment names architecture and weights: c = SHA-256("assay/weights/1" ‖ length ‖ architecture ‖ Merkle root). The
committed vector holds, for each layer, one matrix (out, in) per place of the kernel, and each bias as two limbs of 16
bits, b = l₀ + 2¹⁶·l₁ − 2³¹. A convolution in groups has (group, out, in) for (out, in), see `grouped_weights`.

What bounds the weights of a network one holds means nothing for weights one cannot see: 2^60 is a field element too. So
a commitment comes with a proof that every weight is in [−128, 127] and every limb in [0, 2¹⁶): LogUp, as in `lookup`.
It is checked once, when the commitment is accepted (`accept_commitment`); from then on the 32 bytes suffice.

Entries that pad a matrix are committed like the others. A provider that puts weights there has committed to a network
of more channels than it says; the answer is that network's, and the bounds count padding.

Classic networks need no such proof: nothing in them is looked up, every value is an element of F_p by definition, and
whatever was committed is one function over F_p. Their biases are one limb, b = l₀ − 2³¹ mod p.

Soundness error of that proof: that of `lookup` for groups of 2²⁰ values, the sum of fractions, and one opening.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.files import Graph, check_fields, graph_text, text_of
from assay.integer.shapes import shapes_of, title
from assay.proof.blocks import Block, Grouped, Name, grouped, total_size
from assay.proof.commitment import Claim, Committed, Layout, Term, layout_for, verify_claims
from assay.proof.errors import UnprovableError, UnreadableReceipt, VerificationError
from assay.proof.field import ONE, ZERO, Element, Words, from_integers, pack, sums, unpack
from assay.proof.fraction_sum import prove_zero_sum, verify_zero_sum
from assay.proof.grouped_weights import prove_grouped, verify_grouped
from assay.proof.multilinear import Point, at, below, combine, eq_table, index_sum, split, variables
from assay.proof.plan import Architecture, looked_up, reaches
from assay.proof.soundness import Ledger, commitment_terms, lookup_terms
from assay.proof.tensors import Ints, padded
from assay.proof.transcript import ProverChannel, Reader, Recorder, VerifierChannel
from assay.runs import write_atomically

DOMAIN = b"assay/weights/1"
FORMAT = "assay weights"
VERSION = 1
MAX_WEIGHTS = 1 << 27
"""Weights of one network, padded."""
MAX_TAPS = 1 << 15
"""Places of all kernels; each takes a block of the committed vector, and a claim."""
MAX_ARCHITECTURE = 1 << 24
WEIGHT_LIMIT = 128
BIAS_LIMIT = 1 << 31
BIAS_REACH = 1 << 32
"""What two limbs can say; the bias of a channel that is padding is not moved by 2**31."""
LIMB_BITS = 16
_TABLES = ((8, -WEIGHT_LIMIT), (LIMB_BITS, 0))
"""Bits and first value of the tables of weights and of limbs."""
_FIRST_ROWS = (0, 1 << 8)
_ROWS = (1 << 8) + (1 << LIMB_BITS)
"""Where each begins when they are put end to end, and where the second ends."""


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
    for position, node in enumerate(network.nodes):
        if isinstance(node, g.Conv2d | g.Linear) and not network.classic:
            _check_sizes(position, node)
    return _description(graph_text(network), network.nodes)


def _description(graph: str, nodes: Sequence[g.Node]) -> bytes:
    numbered = [(str(position), node) for position, node in enumerate(nodes)]
    weights = {position: node.weight.shape for position, node in numbered if isinstance(node, g.Conv2d | g.Linear)}
    offsets = {position: tuple(node.value.tolist()) for position, node in numbered if isinstance(node, g.Offset)}
    return msgspec.json.encode(_Described(graph, weights, offsets))


def _check_sizes(position: int, node: g.Conv2d | g.Linear) -> None:
    name = title(position, node)
    if int(node.weight.min()) < -WEIGHT_LIMIT or int(node.weight.max()) >= WEIGHT_LIMIT:
        raise UnprovableError(f"{name} has weights beyond 8 bits, which cannot be committed; compile with 8 bits")
    if int(node.bias.min()) < -BIAS_LIMIT or int(node.bias.max()) >= BIAS_LIMIT:
        raise UnprovableError(f"{name} has a bias beyond 32 bits, which cannot be committed")


@lru_cache(maxsize=4)
def read_architecture(data: bytes) -> Architecture:
    """The architecture back from its bytes, with weights that are placeholders.

    Raises:
        VerificationError: if it does not make sense, or is written otherwise than Assay writes it: what two readers
            could understand in two ways is no commitment. Sizes are checked before memory is taken.
    """
    if len(data) > MAX_ARCHITECTURE:
        raise VerificationError(f"an architecture of {len(data)} bytes is larger than {MAX_ARCHITECTURE >> 20} MiB")
    try:
        described = msgspec.json.decode(data, type=_Described)
        graph = msgspec.json.decode(described.graph, type=Graph)
        nodes = tuple(_node(k, dict(said), described) for k, said in enumerate(graph.nodes))
        shaped = [node.weight.shape for node in nodes if isinstance(node, g.Conv2d | g.Linear)]
        if sum(map(prod, shaped)) > MAX_WEIGHTS or sum(prod(shape[2:]) for shape in shaped) > MAX_TAPS:
            raise VerificationError(
                f"a commitment is to at most {MAX_WEIGHTS} weights, at {MAX_TAPS} places of kernels"
            )
        shapes = shapes_of(nodes)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError, ModelError) as error:
        raise VerificationError(f"the committed architecture does not make sense: {error}") from error
    if shapes[-1] != (len(graph.class_names),):
        raise VerificationError(f"the committed architecture gives {shapes[-1]}, for {len(graph.class_names)} classes")
    if not 0 < graph.output_scale < float("inf"):
        raise VerificationError(f"the committed architecture has the output scale {graph.output_scale}")
    if _description(text_of(nodes, graph.class_names, graph.output_scale, graph.classic), nodes) != data:
        raise VerificationError("the committed architecture is not in the one form that Assay writes")
    if graph.classic and looked_up(nodes):
        raise VerificationError("a committed classic network has no lookups, since nothing bounds its weights")
    return Architecture(nodes, shapes, reaches(nodes, lambda position: (WEIGHT_LIMIT, BIAS_REACH)))


def _node(position: int, said: dict[str, Any], described: _Described) -> g.Node:
    operation = g.OPERATIONS.get(str(said.get("op")))
    if operation is None:
        raise ValueError(f"node {position} is of no known kind")
    check_fields(position, said, operation)
    del said["op"]
    name = str(position)
    if operation in (g.Conv2d, g.Linear):
        shape = described.weights.get(name, ())
        if len(shape) != (4 if operation is g.Conv2d else 2) or min(shape) < 1 or max(shape) > MAX_WEIGHTS:
            raise ValueError(f"node {position} has weights of shape {shape}")
        said |= {"weight": _zeros(shape), "bias": _zeros(shape[:1])}
    if operation is g.Offset:
        said["value"] = np.array(described.offsets.get(name, ()), np.int64)
    node: g.Node = msgspec.convert(said, operation)  # type: ignore[assignment]
    return node


def _zeros(shape: tuple[int, ...]) -> Ints:
    """Takes 8 bytes, whatever the shape."""
    return np.broadcast_to(np.zeros((), np.int64), shape)


@dataclass(frozen=True)
class WeightPlan:
    """Where everything lies in the committed vector. Kinds of blocks: ("weight …"), ("limb …"), ("counts", table)."""

    architecture: Architecture

    @cached_property
    def lookups(self) -> Grouped:
        """The committed vector: a layer's weights a tap, low and high limbs of its bias, counts of both tables."""
        wanted: list[tuple[Name, int]] = []
        for position, node in self.layers:
            bits = sum(variables(size) for size in matrix_shape(node))
            wanted += [((f"weight {tap}", position), bits) for tap in range(taps_of(node))]
            wanted += [((f"limb {k}", position), variables(len(node.weight))) for k in (0, 1)]
        return grouped(wanted, [(("counts", table), bits) for table, (bits, _) in enumerate(_TABLES)])

    @property
    def blocks(self) -> dict[Name, Block]:
        """By kind and number."""
        return self.lookups.blocks

    @property
    def layers(self) -> list[tuple[int, g.Conv2d | g.Linear]]:
        """Layers with weights."""
        return [(k, n) for k, n in enumerate(self.architecture.nodes) if isinstance(n, g.Conv2d | g.Linear)]

    @cached_property
    def size(self) -> int:
        return total_size(self.blocks)

    @cached_property
    def layout(self) -> Layout:
        return layout_for(self.size)


def matrix_shape(node: g.Conv2d | g.Linear) -> tuple[int, ...]:
    """Of a tap's weights: (out, in), or (groups, out, in) where there are several."""
    out, inner = node.weight.shape[:2]
    if isinstance(node, g.Conv2d) and node.groups > 1:
        return node.groups, out // node.groups, inner
    return out, inner


def taps_of(node: g.Conv2d | g.Linear) -> int:
    """Places of the kernel; 1 for a linear layer."""
    return int(np.prod(node.weight.shape[2:], dtype=np.int64))


@lru_cache(maxsize=4)
def _is_classic(architecture: bytes) -> bool:
    """Of an architecture that `read_architecture` has accepted."""
    described = msgspec.json.decode(architecture, type=_Described)
    return msgspec.json.decode(described.graph, type=Graph).classic


def commitment_of(architecture: bytes, root: bytes) -> bytes:
    """The 32 bytes that a client holds."""
    return hashlib.sha256(DOMAIN + len(architecture).to_bytes(8, "little") + architecture + root).digest()


class HiddenNetwork:
    """The provider's side: a network, its commitment, and what is needed to open it.

    Cost: encoding all weights once; for VGG-16 about half a gigabyte is kept.
    """

    def __init__(self, network: IntegerNetwork) -> None:
        """Raises UnprovableError naming the layer, if its weights cannot be committed."""
        if network.classic and looked_up(network.nodes):
            raise UnprovableError("weights of a classic network with lookups are beyond 8 bits and cannot be committed")
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
        for table, (_, start) in enumerate(_TABLES):
            for block, values in self._blocks_of(table):
                vector[block.place] = values.ravel()
                places[block.place] = values.ravel() - start + _FIRST_ROWS[table]
        if not self.network.classic:
            self._count(vector, places)
        return vector, places

    def _count(self, vector: Ints, places: NDArray[np.int32]) -> None:
        """Fill in how often each group of values is found in each row, and the rows of the tables themselves."""
        lookups = self.plan.lookups
        counts = np.zeros((1 << lookups.bits, _ROWS), np.int64)
        for name, groups in lookups.groups.items():
            if name[0] != "counts":
                for group, part in zip(groups, lookups.blocks[name].parts(len(groups)), strict=True):
                    counts[group] += np.bincount(places[part], minlength=_ROWS)
        for table, (bits, _) in enumerate(_TABLES):
            rows = np.arange(_FIRST_ROWS[table], _FIRST_ROWS[table] + (1 << bits))
            vector[lookups.blocks["counts", table].place] = counts[:, rows].ravel()
            places[lookups.blocks["counts", table].place] = np.tile(rows, len(counts))

    def _blocks_of(self, table: int) -> Iterator[tuple[Block, Ints]]:
        """Blocks of weights (table 0) or limbs (table 1), with their padded values."""
        for position, _ in self.plan.layers:
            node = self.network.nodes[position]
            assert isinstance(node, g.Conv2d | g.Linear)
            if table == 0:
                matrices = np.moveaxis(node.weight.reshape(*matrix_shape(node), -1), -1, 0)
                for tap, matrix in enumerate(matrices):
                    yield self.plan.blocks[f"weight {tap}", position], padded(matrix)
            else:
                for k, limb in enumerate(self._limbs(node.bias)):
                    yield self.plan.blocks[f"limb {k}", position], padded(limb)

    def _limbs(self, bias: Ints) -> tuple[Ints, Ints]:
        if self.network.classic:
            return bias + BIAS_LIMIT, np.zeros_like(bias)
        raised = bias + BIAS_LIMIT
        return raised & ((1 << LIMB_BITS) - 1), raised >> LIMB_BITS

    def prove_ranges(self) -> bytes:
        """The proof that all weights and limbs are in range; nothing for a classic network, which needs none."""
        if self.network.classic:
            return b""
        channel = Recorder()
        channel.bind(DOMAIN)
        channel.bind(self.description)
        channel.bind(self.root)
        draws = _draw(channel, self.plan)
        leaf = prove_zero_sum(channel, *self._leaves(draws))
        claims = []
        tables: dict[int, Words] = {}
        for block in self.plan.blocks.values():
            point = block.inside(leaf.point)
            weights = tables.setdefault(len(point), eq_table(point))
            value = unpack(combine(self.vector[block.place, None], weights))[0]
            channel.say([value])
            claims.append(Claim((Term(block.offset, tuple(point)),), value))
        self.committed.prove(channel, claims)
        return bytes(channel.proof)

    def _leaves(self, draws: _Draws) -> tuple[Words, Words]:
        """Numerators, and denominators less one."""
        lookups = self.plan.lookups
        columns = [from_integers(-1 - np.arange(start, start + (1 << bits))) for bits, start in _TABLES]
        rows = np.zeros((_ROWS, 2), np.uint64)
        rows[:, 0] = np.concatenate(columns)
        rows[_FIRST_ROWS[1] :] = sums(rows[_FIRST_ROWS[1] :], np.repeat(pack([-draws.beta]), 1 << LIMB_BITS, axis=0))
        denominators = np.empty((self.plan.size, 2), np.uint64)
        for name, groups in lookups.groups.items():
            for group, part in zip(groups, lookups.blocks[name].parts(len(groups)), strict=True):
                found = np.ascontiguousarray(rows[self._places[part]])
                denominators[part] = sums(found, np.repeat(pack([draws.alphas[group]]), len(found), axis=0))
        numerators = np.zeros((self.plan.size, 2), np.uint64)
        numerators[:, 0] = 1
        for table in range(len(_TABLES)):
            here = lookups.blocks["counts", table].place
            numerators[here, 0] = from_integers(-self.vector[here])
        return numerators, denominators

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
    """Check a commitment file; the 32 bytes that it is accepted under. How sure that is: `range_ledger`.

    Raises:
        UnreadableReceipt: if it is no such file.
        VerificationError: if a weight may be out of range.
    """
    try:
        file = msgspec.msgpack.decode(data, type=CommitmentFile)
    except (msgspec.DecodeError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableReceipt(f"this is not a commitment to weights: {error}") from error
    try:
        return _accepted(file, data)
    except MemoryError as error:
        raise VerificationError("checking this commitment takes more memory than there is") from error


def _accepted(file: CommitmentFile, data: bytes) -> bytes:
    if (file.format, file.version) != (FORMAT, VERSION) or len(file.root) != 32 or msgspec.msgpack.encode(file) != data:
        raise UnreadableReceipt("this is not a commitment to weights of this version")
    plan = WeightPlan(read_architecture(file.architecture))
    channel = Reader(file.proof)
    if not _is_classic(file.architecture):
        channel.bind(DOMAIN)
        channel.bind(file.architecture)
        channel.bind(file.root)
        _verify_ranges(channel, plan, file.root)
    channel.finish()
    return commitment_of(file.architecture, file.root)


@dataclass(frozen=True, slots=True)
class _Draws:
    """An α a group, and the factor of the tag."""

    alphas: list[Element]
    beta: Element


def _draw(channel: ProverChannel | VerifierChannel, plan: WeightPlan) -> _Draws:
    alphas = [channel.draw() for _ in range(1 << plan.lookups.bits)]
    return _Draws(alphas, channel.draw())


def ledger_of_commitment(data: bytes) -> Ledger | None:
    """How sure it is that the weights in an accepted file are in range; None for classic networks, which need none."""
    file = msgspec.msgpack.decode(data, type=CommitmentFile)
    return None if _is_classic(file.architecture) else range_ledger(WeightPlan(read_architecture(file.architecture)))


def range_ledger(plan: WeightPlan) -> Ledger:
    """Of the proof that all weights and biases are in range."""
    values = [(block.bits, plan.lookups.groups[name]) for name, block in plan.blocks.items() if name[0] != "counts"]
    lookups = lookup_terms(values, _ROWS, plan.size)
    return Ledger((*lookups, *commitment_terms("weights", plan.layout, len(plan.blocks))))


def _verify_ranges(channel: VerifierChannel, plan: WeightPlan, root: bytes) -> None:
    draws = _draw(channel, plan)
    leaf = verify_zero_sum(channel, plan.size)
    numerator, denominator, claims = ZERO, ZERO, []
    for (kind, about), block in plan.blocks.items():
        (value,) = channel.hear(1)
        point, selector = block.inside(leaf.point), block.selector(leaf.point)
        claims.append(Claim((Term(block.offset, tuple(point)),), value))
        if kind == "counts":
            bits, start = _TABLES[about]
            entry, tag, top = index_sum(point[plan.lookups.bits :], 1 << bits) + start, about, -value
        else:
            entry, tag, top = value, int(kind.startswith("limb")), ONE
        alpha = plan.lookups.alpha_at(draws.alphas, (kind, about), point)
        denominator = denominator + selector * (alpha - 1 - entry - draws.beta * tag)
        numerator = numerator + selector * top
    if (numerator, denominator) != (leaf.numerator, leaf.denominator):
        raise VerificationError("a committed weight or bias may be out of range")
    verify_claims(channel, root, plan.layout, claims)


def _tap_coefficients(node: g.Conv2d | g.Linear, taps: Sequence[Point]) -> list[Element]:
    """eq(taps, (a, b)) for each place of the kernel."""
    coefficients = [ONE]
    for axis, side in zip(taps, node.weight.shape[2:], strict=True):
        coefficients = [c * at(axis, k) for c in coefficients for k in range(side)]
    return coefficients


def _columns(node: g.Conv2d | g.Linear, columns: Point) -> tuple[list[Element], list[list[Element]]]:
    """The variables of input channels, and of the places of the kernel."""
    groups = node.groups if isinstance(node, g.Conv2d) else 1
    inner, *taps = split(columns, (groups * node.weight.shape[1], *node.weight.shape[2:]))
    return inner, taps


def _claim_on_taps(
    plan: WeightPlan, position: int, coefficients: Sequence[Element], point: Point, value: Element
) -> Claim:
    """Σ_taps coefficient·matrix extends to `value` at `point`."""
    terms = tuple(
        Term(plan.blocks[f"weight {tap}", position].offset, tuple(point), coefficient)
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
        node, plan = self._hidden.network.nodes[position], self._hidden.plan
        assert isinstance(node, g.Conv2d | g.Linear)
        channel.say([value])
        inner, taps = _columns(node, columns)
        coefficients, point = _tap_coefficients(node, taps), [*rows, *inner]
        if isinstance(node, g.Conv2d) and node.groups > 1:
            point, value = prove_grouped(channel, node, coefficients, (rows, inner), value)
        self._claims.append(_claim_on_taps(plan, position, coefficients, point, value))

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
        node = self._plan.architecture.nodes[position]
        assert isinstance(node, g.Conv2d | g.Linear)
        (value,) = channel.hear(1)
        inner, taps = _columns(node, columns)
        coefficients = _tap_coefficients(node, taps)
        point, claimed = [*rows, *inner], value
        if isinstance(node, g.Conv2d) and node.groups > 1:
            point, claimed = verify_grouped(channel, node, (rows, inner), value)
        self._claims.append(_claim_on_taps(self._plan, position, coefficients, point, claimed))
        return value

    def bias(self, channel: VerifierChannel, position: int, rows: Point) -> Element:
        (value,) = channel.hear(1)
        self._claims.append(_bias_claim(self._plan, position, rows, value))
        return value

    def finish(self, channel: VerifierChannel) -> None:
        verify_claims(channel, self._root, self._plan.layout, self._claims)

"""A verifier of Assay's receipts in one file, with nothing but Python's standard library: read it, then trust it.

    python -m assay.proof.standalone a.receipt --model net.assay --inputs digits.npz --nonce 000102…0f

It accepts exactly the receipts that `assay verify` accepts, those of committed weights (--commitment) among them; to
accept a commitment itself, which shows once that weights are in range, is left to `assay commit --accept`. It checks
that the outputs in the receipt are what this integer network gives on these pictures, and never runs the network.
VGG-16 on one picture takes it 4.6 s of an EPYC core with Python 3.11, where `assay verify` takes 40 ms.

How a proof goes. A tensor, padded to a power of two along each axis, is the values on {0,1}ⁿ of one polynomial of
degree 1 in each of n variables, its extension. A *claim* says what the extension is at a point. The verifier makes the
first claim itself, from the outputs, at a point that the prover could not foresee. Each layer turns a claim on its
output into claims on its inputs by a *sum-check*: the sum of products that a layer computes becomes, a variable at a
time, the product at one random point. At the picture the verifier looks for itself. What is no sum of products
(rounding, clamping, maxima) the prover *committed* to before, and *lookups* show that it is in tables of what is
allowed.
Sources and soundness are in the modules of `assay.proof` that are named below.

Exit codes: 0 accepted, 1 rejected, 2 unreadable.
"""
# ruff: noqa: B905 (zip: lengths are equal, or what is missing in the shorter one is zero)

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import struct
import sys
import zipfile
from array import array
from collections.abc import Callable, Iterable, Sequence
from math import prod
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

P = (1 << 61) - 1
LARGEST = (P - 1) // 2
QUERIES, MAX_GAP, GROUP_BITS = 154, 1 << 20, 20

Node = dict[str, Any]
Shape = tuple[int, ...]
Interval = tuple[int, int]
Name = tuple[str, int]
Block = tuple[int, int]


class Rejected(Exception):
    """The receipt does not convince."""


class Unreadable(Rejected):
    """This is not a receipt, a network or a set of pictures."""


def need(holds: bool, sentence: str) -> None:
    if not holds:
        raise Rejected(sentence)


# ---- `field`: F_p² = F_p[i], i² = −1, for p = 2**61 − 1


class E:
    """real + imag·i. Whole numbers mix with elements, because they have these two attributes as well."""

    __slots__ = ("imag", "real")

    def __init__(self, real: int, imag: int = 0) -> None:
        self.real, self.imag = real % P, imag % P

    def __add__(self, other: E | int) -> E:
        return E(self.real + other.real, self.imag + other.imag)

    def __sub__(self, other: E | int) -> E:
        return E(self.real - other.real, self.imag - other.imag)

    def __mul__(self, other: E | int) -> E:
        a, b, c, d = self.real, self.imag, other.real, other.imag
        return E(a * c - b * d, a * d + b * c)

    def __pow__(self, exponent: int) -> E:
        half = (self * self) ** (exponent >> 1) if exponent > 1 else ONE
        return half * self if exponent & 1 else half

    def __eq__(self, other: object) -> bool:
        return isinstance(other, E) and (self.real, self.imag) == (other.real, other.imag)

    def itself(self) -> E:
        return self

    def conjugate(self) -> E:
        return E(self.real, -self.imag)

    def inverse(self) -> E:
        return self.conjugate() * pow(self.real * self.real + self.imag * self.imag, P - 2, P)


Point = list[E]
Claim = tuple[Point, E]
ZERO, ONE = E(0), E(1)
HALF, ROOT = E(2).inverse(), E(4, 1) ** ((P * P - 1) >> 62)  # ROOT has the order 2**62


def dot(a: Sequence[E | int], b: Sequence[E]) -> E:
    """Σ a·b as far as both go, reduced once at the end."""
    br, bi = [x.real for x in b], [x.imag for x in b]
    if isinstance(a[0], int):
        return E(sum(map(mul, a, br)), sum(map(mul, a, bi)))
    ar, ai = [x.real for x in a], [x.imag for x in a]
    return E(sum(map(mul, ar, br)) - sum(map(mul, ai, bi)), sum(map(mul, ar, bi)) + sum(map(mul, ai, br)))


def product(factors: Iterable[E]) -> E:
    return prod(factors, start=ONE)


def powers(root: E, count: int) -> list[E]:
    found = [ONE]
    while len(found) < count:
        found.append(found[-1] * root)
    return found


# ---- `transcript`: challenges are hashes of all that was said before (Fiat and Shamir)


def elements(data: bytes) -> list[E]:
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    need(all(word < P for word in words), "a field element is not canonical")
    return [E(re, im) for re, im in zip(words[::2], words[1::2])]


class Reader:
    """Hears a proof in order. Nothing in it has a length of its own: the statement says how many elements come next."""

    def __init__(self, proof: bytes) -> None:
        self.state, self.proof, self.place = hashlib.sha256(b"assay/proof/1").digest(), proof, 0

    def bind(self, data: bytes) -> None:
        self.state = hashlib.sha256(self.state + b"said" + len(data).to_bytes(8, "little") + data).digest()

    def hear_bytes(self, count: int) -> bytes:
        data = self.proof[self.place : self.place + count]
        need(len(data) == count, "the proof ends early")
        self.place += count
        self.bind(data)
        return data

    def hear(self, count: int) -> list[E]:
        return elements(self.hear_bytes(16 * count))

    def squeeze(self) -> bytes:
        self.state = hashlib.sha256(self.state + b"draw").digest()
        return self.state

    def draw(self) -> E:
        digest = self.squeeze()
        return E(int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little"))

    def draws(self, count: int) -> Point:
        return [self.draw() for _ in range(count)]

    def draw_indices(self, count: int, bits: int) -> list[int]:
        words = [word for _ in range(0, count, 8) for word in struct.unpack("<8I", self.squeeze())]
        return [word & ((1 << bits) - 1) for word in words[:count]]


# ---- `multilinear`: extensions of tables; points list the slowest variable first


def variables(size: int) -> int:
    return (size - 1).bit_length()


def all_variables(shape: Iterable[int]) -> int:
    return sum(map(variables, shape))


def split(point: Point, shape: Iterable[int]) -> list[Point]:
    """The variables of each axis."""
    rest = iter(point)
    return [[next(rest) for _ in range(variables(size))] for size in shape]


def eq(a: Point, b: Point) -> E:
    """1 if two points of {0,1}ⁿ are equal and 0 if not, extended."""
    return product(x * y * 2 - x - y + 1 for x, y in zip(a, b))


def at(point: Point, index: int) -> E:
    """eq(point, the bits of `index`)."""
    return product(r if index >> k & 1 else ONE - r for k, r in enumerate(reversed(point)))


def eq_table(point: Point) -> list[E]:
    """eq(point, j) for all j."""
    table = [ONE]
    for r in point:
        table = [part for value in table for high in [value * r] for part in (value - high, high)]
    return table


def prefix(point: Point, count: int) -> tuple[E, E]:
    """Σ eq(point, j) and Σ j·eq(point, j) over all j < count: "is below count", and "the index, if below", extended."""
    if count <= 0:
        return ZERO, ZERO
    if count >= 1 << len(point):
        return ONE, sum((r * (1 << k) for k, r in enumerate(reversed(point))), ZERO)
    r, rest, half = point[0], point[1:], 1 << (len(point) - 1)
    inside, index = prefix(rest, min(count, half))
    beyond, index_beyond = prefix(rest, min(count, 2 * half) - half)
    return (ONE - r) * inside + r * beyond, (ONE - r) * index + r * (index_beyond + beyond * half)


def below(point: Point, count: int) -> E:
    return prefix(point, count)[0]


def fold(table: Sequence[E | int], shape: Iterable[int], point: Point) -> E:
    """The extension of a tensor of this shape, of elements or of whole numbers."""
    for size, part in zip(shape, split(point, shape)):
        columns, weights = len(table) // size, eq_table(part)
        table = [dot(table[c::columns], weights) for c in range(columns)]
    return ZERO + table[0]


# ---- `sumcheck`


def interpolate(values: list[E], x: E) -> E:
    """The polynomial with these values at 0, 1, 2, …, at x."""
    total = ZERO
    for k, value in enumerate(values):
        others = [j for j in range(len(values)) if j != k]
        total = total + value * product(x - j for j in others) * E(prod(k - j for j in others)).inverse()
    return total


def sum_check(reader: Reader, total: E, n: int) -> Claim:
    """total = Σ a(x)·b(x) over {0,1}ⁿ: the point, and what a·b must be there. A round says g(0), g(2) of its g."""
    point: Point = []
    for _ in range(n):
        g0, g2 = reader.hear(2)
        point.insert(0, reader.draw())
        total = interpolate([g0, total - g0, g2], point[0])
    return point, total


def eq_sum_check(reader: Reader, total: E, eq_point: Point, degree: int) -> Claim:
    """total = Σ eq(eq_point, x)·F(x): the point, and what F must be there. A round leaves eq out of what it says."""
    point: Point = []
    for e in reversed(eq_point):
        values = reader.hear(degree + 1)
        need(
            (ONE - e) * values[0] + e * values[1] == total, "a sum-check message is not what the claim before it needs"
        )
        point.insert(0, reader.draw())
        total = interpolate(values, point[0])
    return point, total


# ---- `commitment`: Ligero's, and `merkle`

Opening = tuple[list[tuple[int, Point, E]], E]
"""A claim on a committed vector: terms (offset, point, coefficient), and what they add up to."""


def layout(size: int) -> tuple[int, int]:
    """The matrix of a committed vector: `rows` of 2·2**bits values, for a small opening and a small enough gap."""
    bits = 0
    while 2 * (2 << bits) ** 2 < QUERIES * size and variables(-(-size // (2 << bits))) * (8 << bits) <= MAX_GAP:
        bits += 1
    return bits, -(-size // (2 << bits))


def check_leaves(reader: Reader, root: bytes, depth: int, known: dict[int, bytes]) -> None:
    """The hashed leaves, by position, lie in the Merkle tree under `root`: level by level, missing nodes are heard."""
    for _ in range(depth):
        missing = sorted(index ^ 1 for index in known if index ^ 1 not in known)
        sent = reader.hear_bytes(32 * len(missing))
        whole = known | {index: sent[32 * k : 32 * k + 32] for k, index in enumerate(missing)}
        known = {i >> 1: hashlib.sha256(b"\x01" + whole[i & ~1] + whole[i | 1]).digest() for i in known}
    need(known == {0: root}, "an opened column does not lie under the committed Merkle root")


def encoded(message: list[E], bits: int, places: list[int]) -> list[E]:
    """A Reed–Solomon codeword at some places: a polynomial's values at roots of unity of order 4·2**bits.

    The message is its 2**bits coefficients. The roots stand in four cosets, each in bit-reversed order.
    """
    size, found = 4 << bits, []
    roots = powers(ROOT ** (1 << (60 - bits)), size)
    for place in places:
        reverse = int(f"{place & ((1 << bits) - 1):0{bits}b}"[::-1], 2) if bits else 0
        exponent = (place >> bits) + 4 * reverse
        found.append(dot(message, [roots[exponent * k % size] for k in range(len(message))]))
    return found


def verify_openings(reader: Reader, root: bytes, size: int, claims: list[Opening]) -> None:
    """All claims on the vector under `root`, by one opening at one point: A + iB is a combination of the rows."""
    bits, rows = layout(size)
    mixed = powers(reader.draw(), len(claims))
    point, last = sum_check(reader, dot(mixed, [value for _, value in claims]), variables(rows) + 1 + bits)
    weight = ZERO
    for power, (terms, _) in zip(mixed, claims):
        for offset, where, coefficient in terms:
            high = len(point) - len(where)
            weight = weight + power * coefficient * at(point[:high], offset >> len(where)) * eq(where, point[high:])
    row_point, part, inner = point[: variables(rows)], point[variables(rows)], point[variables(rows) + 1 :]
    both = reader.hear(2 << bits)
    real, imaginary = both[: 1 << bits], both[1 << bits :]
    places = sorted(set(reader.draw_indices(QUERIES, bits + 2)))
    entries = reader.hear_bytes(16 * len(places) * rows)
    columns = [entries[k : k + 16 * rows] for k in range(0, len(entries), 16 * rows)]
    leaves = {place: hashlib.sha256(b"\x00" + column).digest() for place, column in zip(places, columns)}
    check_leaves(reader, root, bits + 2, leaves)
    opened, row_weights = [elements(column) for column in columns], eq_table(row_point)
    for turn in (E.itself, E.conjugate):
        combined, turned = (
            [turn(a) + E(0, 1) * turn(b) for a, b in zip(real, imaginary)],
            [turn(w) for w in row_weights],
        )
        good = encoded(combined, bits, places) == [dot(column, turned) for column in opened]
        need(good, "an opened column disagrees with the combined row")
    table = eq_table(inner)
    value = (ONE - part) * dot(real, table) + part * dot(imaginary, table)
    need(value * weight == last, "the committed vector disagrees with the claims on it")


# ---- `integer.files`, `integer.shapes`: the network

TYPES = {"I8": "b", "I16": "h", "I32": "i", "I64": "q"}
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, struct.error)


class Tensor(NamedTuple):
    """Whole numbers, row by row; none of them, only their shape and largest magnitude, where weights are committed."""

    values: Sequence[int]
    shape: Shape
    reach: int


def whole_numbers(code: str, data: bytes, shape: Iterable[int]) -> Tensor:
    values, shape = array(code, data), tuple(shape)
    if sys.byteorder == "big":
        values.byteswap()
    if len(values) != prod(shape):
        raise ValueError(f"{len(values)} numbers do not fill a tensor of shape {shape}")
    return Tensor(values, shape, max(max(values), -min(values)))


def in_bytes(values: Iterable[int]) -> bytes:
    """Eight bytes each, little-endian."""
    words = array("q", values)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def read_network(data: bytes) -> tuple[list[Node], bytes, bytes]:
    """Nodes of a net.assay file; its graph as text; its digest, computed anew."""
    try:
        length = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        metadata = header.pop("__metadata__")
        text, parts = metadata["assay.network"].encode(), [metadata["assay.network"].encode()]
        nodes = [complete(node) for node in json.loads(text)["nodes"]]
        for k, node in enumerate(nodes):
            for field in ("weight", "bias", "value"):
                if entry := header.get(f"{k}.{field}"):
                    code, place = TYPES[entry["dtype"]], slice(*entry["data_offsets"])
                    node[field] = whole_numbers(code, body[place], entry["shape"])
                    parts += [f"{k}.{field}".encode(), in_bytes(entry["shape"]), in_bytes(node[field].values)]
    except MALFORMED as error:
        raise Unreadable(f"this is not an integer network: {error}") from error
    framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    digest = hashlib.sha256(b"assay.integer/1" + framed).digest()
    if digest.hex() != metadata["assay.digest"]:
        raise Unreadable("this network is not the one that its digest names")
    return nodes, text, digest


def read_architecture(data: bytes) -> list[Node]:
    """Nodes of a committed network: its weights have a shape and a bound."""
    try:
        described = json.loads(data)
        nodes = [complete(node) for node in json.loads(described["graph"])["nodes"]]
        for k, node in enumerate(nodes):
            if node["op"] in ("conv2d", "linear"):
                node["weight"] = Tensor([], tuple(described["weights"][str(k)]), 128)
                node["bias"] = Tensor([], node["weight"].shape[:1], 1 << 32)
            elif node["op"] == "offset":
                node["value"] = Tensor(values := described["offsets"][str(k)], (len(values),), max(map(abs, values)))
    except MALFORMED as error:
        raise Rejected(f"the committed architecture does not make sense: {error}") from error
    return nodes


def complete(node: Node) -> Node:
    """What files leave out, because it is the same in all nodes of a kind."""
    single = [node["input"]] if "input" in node else []
    return {"inputs": single, "shift": 0, "dilation": [1, 1], "padding": [0] * 4, "groups": 1} | node


def kernel_of(node: Node) -> Shape:
    if node["op"] == "subsample":
        return 1, 1
    return tuple(node["weight"].shape[2:] if node["op"] == "conv2d" else node["kernel"])


def shape_of(node: Node, given: list[Shape]) -> Shape:
    """Of the node's tensor for one picture: channels, rows, columns; or one axis, once it is flat."""
    match node["op"]:
        case "input":
            return tuple(node["shape"])
        case "linear":
            return node["weight"].shape[:1]  # type: ignore[no-any-return]
        case "flatten":
            return (prod(given[0]),)
        case "concat":
            return (sum(shape[0] for shape in given), *given[0][1:])
        case "pad-channels":
            return (node["before"] + given[0][0] + node["after"], *given[0][1:])
        case "conv2d" | "sum-pool" | "max-pool" | "subsample":
            channels = node["weight"].shape[0] if node["op"] == "conv2d" else given[0][0]
            sides = zip(given[0][1:], kernel_of(node), node["stride"], node["dilation"])
            ends = [sum(node["padding"][:2]), sum(node["padding"][2:])]
            return (channels, *((x + end - d * (k - 1) - 1) // s + 1 for (x, k, s, d), end in zip(sides, ends)))
        case _:
            return given[0]


def reach_of(node: Node, given: list[int]) -> int:
    """The largest magnitude that values can have, from the sizes of weights and biases alone."""
    match node["op"]:
        case "input" | "requantise":
            return max(-int(node["low"]), int(node["high"]))
        case "offset":
            return given[0] + int(node["value"].reach)
        case "conv2d" | "linear":
            weight: Tensor = node["weight"]
            fan_in = prod(weight.shape[2:]) << variables(weight.shape[1])
            return fan_in * weight.reach * given[0] + int(node["bias"].reach)
        case "add":
            return sum(reach << int(shift) for reach, shift in zip(given, node["shifts"]))
        case "sum-pool":
            return given[0] * prod(kernel_of(node))
        case "square":
            return given[0] ** 2
        case _:
            return max(given)


# ---- `blocks`, `plan`: where everything lies


def placed(wanted: list[tuple[Name, int]]) -> tuple[dict[Name, Block], int]:
    """Blocks of a longer vector by name: offset, and variables. Largest first; and the length of all."""
    blocks, end = {}, 0
    for name, bits in sorted(wanted, key=lambda entry: -entry[1]):
        blocks[name] = end, bits
        end += 1 << bits
    return blocks, end


def locate(block: Block, point: Point) -> tuple[E, Point]:
    """1 inside a block and 0 outside, extended; and the variables of places inside."""
    offset, bits = block
    high = len(point) - bits
    return at(point[:high], offset >> bits), point[high:]


def groups_of(values: list[tuple[Name, int]]) -> tuple[dict[Name, range], int]:
    """Which groups of 2**20 looked-up values each block belongs to; variables of the number of groups."""
    blocks, size = placed(values)
    groups = {}
    for name, (offset, bits) in blocks.items():
        first = offset >> GROUP_BITS
        groups[name] = range(first, first + (1 << max(0, bits - GROUP_BITS)))
    return groups, variables(max(1, -(-size >> GROUP_BITS)))


class Table:
    """(q, clamp(q, low, high)) for 2**bits numbers q from `start` on; without bounds, (q, 0)."""

    def __init__(self, bits: int, start: int = 0, bounds: Interval | None = None) -> None:
        self.bits, self.start, self.bounds = bits, start, bounds

    def at(self, point: Point) -> tuple[E, E]:
        q = prefix(point, 1 << self.bits)[1] + self.start
        if self.bounds is None:
            return q, ZERO
        low, high = self.bounds
        (under, under_index), (within, within_index) = (prefix(point, x - self.start) for x in (low, high + 1))
        between = (within - under) * self.start + within_index - under_index
        return q, under * low + between + (ONE - within) * high


class Plan:
    """Sizes and places of everything in the proof of one batch.

    The prover chose `intervals`, the ranges of what lookups read. Too short ones let it prove less, never more; what
    must hold is that no value wraps around in the field, and that is checked here.
    """

    def __init__(self, nodes: list[Node], batch: int, intervals: dict[int, Interval]) -> None:
        self.nodes, self.batch, self.intervals = nodes, batch, intervals
        self.shapes, self.reach = list[Shape](), list[int]()
        for node in nodes:
            self.shapes.append(shape_of(node, [self.shapes[i] for i in node["inputs"]]))
            self.reach.append(reach_of(node, [self.reach[i] for i in node["inputs"]]))
        self.looked_up = [k for k, node in enumerate(nodes) if node["op"] in ("requantise", "relu", "max-pool")]
        need(max(map(self.bits, range(len(nodes)))) <= 40, "a tensor is too large for a proof")
        need(sorted(intervals) == self.looked_up, "the ranges of looked-up values do not belong to this network")
        self.tables = self._tables() if self.looked_up else []
        remainders = [(("remainder", k), self.bits(k)) for k in self.looked_up if nodes[k]["shift"]]
        values = [self._looked(k) for k in self.looked_up] + remainders
        self.groups, self.group_bits = groups_of(values)
        rows = [table.bits + self.group_bits for table in self.tables]
        self.fractions, self.count = placed([*values, *((("table", tag), bits) for tag, bits in enumerate(rows))])
        self.groups |= {("table", tag): range(1 << self.group_bits) for tag in range(len(rows))}
        outputs = [(("output", k), self.bits(k)) for k in self.looked_up]
        counts = [(("counts", tag), bits) for tag, bits in enumerate(rows)]
        self.columns, self.committed = placed(outputs + remainders + counts)
        need(self.committed <= 1 << 28 and self.count <= 1 << 29, "the batch is too large for one proof")

    def shape(self, k: int) -> Shape:
        return (self.batch, *self.shapes[k])

    def bits(self, k: int) -> int:
        return all_variables(self.shape(k))

    def _looked(self, k: int) -> tuple[Name, int]:
        if self.nodes[k]["op"] == "max-pool":
            return ("window", k), self.bits(k) + all_variables(self.nodes[k]["kernel"])
        return ("activation", k), self.bits(k)

    def clamps(self, k: int) -> tuple[Interval, Interval]:
        """(low, high) for channels outside [start, stop), and inside, which are rectified."""
        node = self.nodes[k]
        plain = (node["low"], node["high"]) if node["op"] == "requantise" else (-LARGEST, LARGEST)
        if node["start"] >= node["stop"]:
            return plain, plain
        everywhere = node["start"] == 0 and node["stop"] == self.shapes[k][0]
        return ((0, plain[1]) if everywhere else plain), (0, plain[1])

    def _tables(self) -> list[Table]:
        """The range table, which serves remainders and windows, and one for each way of clamping."""
        needed = [self.nodes[k]["shift"] for k in self.looked_up]
        spans: dict[Interval, list[int]] = {}
        for k in self.looked_up:
            (low, high), shift = self.intervals[k], self.nodes[k]["shift"]
            if self.nodes[k]["op"] == "max-pool":
                needed.append((high - low).bit_length())
                continue
            for clamp in self.clamps(k):
                spans.setdefault(clamp, [0]).extend((x + (1 << shift >> 1)) >> shift for x in (low, high))
        tables = [Table(max(needed))]
        tables += [Table(variables(max(x) - min(x) + 1), min(x), clamp) for clamp, x in sorted(spans.items())]
        widest = max(table.bits for table in tables)
        need(widest <= 20, "a lookup table is too large")
        furthest = max(abs(table.start).bit_length() for table in tables)
        for k in self.looked_up:
            shift = self.nodes[k]["shift"]
            reach = (self.reach[self.nodes[k]["input"]] + (1 << shift)).bit_length()
            fits = max(needed) + max(reach, widest + shift + 1, furthest + shift + 1) <= 59
            need(fits, "values could wrap around in the field")
        return tables

    def tag_at(self, k: int, point: Point) -> E:
        """Which table each channel is looked up in, extended."""
        tags = {table.bounds: tag for tag, table in enumerate(self.tables)}
        outside, inside = (tags[clamp] for clamp in self.clamps(k))
        channel, node = split(point, self.shape(k))[1], self.nodes[k]
        return (below(channel, node["stop"]) - below(channel, node["start"])) * (inside - outside) + outside


# ---- `protocol`, `lookup`, `layers`

SAID = {"activation": ["input", "output"], "remainder": ["remainder"], "window": ["window"], "table": ["counts"]}
"""What the prover says about a block of fractions: what the verifier cannot know of its rows."""


class Verifier:
    """Walks the network backwards: a claim on the output of node k becomes claims on its inputs."""

    def __init__(self, reader: Reader, plan: Plan, weights: PublicWeights | CommittedWeights) -> None:
        self.reader, self.plan, self.weights = reader, plan, weights
        self.columns: list[Opening] = []
        self.tensors: dict[int, list[Claim]] = {}

    def on_column(self, kind: str, about: int, point: Point, value: E) -> None:
        self.columns.append(([(self.plan.columns[kind, about][0], point, ONE)], value))

    def on_tensor(self, k: int, point: Point, value: E) -> None:
        if k in self.plan.looked_up:
            self.on_column("output", k, point, value)
        else:
            self.tensors.setdefault(k, []).append((point, value))

    def run(self, pictures: Tensor, outputs: Tensor) -> None:
        reader, plan, last = self.reader, self.plan, len(self.plan.nodes) - 1
        root = reader.hear_bytes(32) if plan.looked_up else b""
        windows = self.lookups() if plan.looked_up else {}
        point = reader.draws(plan.bits(last))
        self.on_tensor(last, point, fold(outputs.values, outputs.shape, point))
        for k in range(last, 0, -1):
            if k in windows:
                self.max_pool(k, *windows[k])
            elif claims := self.tensors.pop(k, []):
                LAYERS[plan.nodes[k]["op"]](self, k, *self.merged(k, claims))
        for where, value in self.tensors.pop(0, []):
            need(fold(pictures.values, pictures.shape, where) == value, "the proof is about another picture")
        if plan.looked_up:
            verify_openings(reader, root, plan.committed, self.columns)
        self.weights.finish(reader)
        need(reader.place == len(reader.proof), "bytes follow the end of the proof")

    # -- lookups: Σ 1/(α − row) over values is Σ count/(α − row) over tables, so every value is a row of its table

    def lookups(self) -> dict[int, Claim]:
        """Claims on the windows of max pools, by node."""
        reader, plan = self.reader, self.plan
        alphas, (beta, gamma) = reader.draws(1 << plan.group_bits), reader.draws(2)
        point, p, d = self.fractions_sum_to_zero()
        said, windows = dict[Name, E](), dict[int, Claim]()
        for (kind, k), block in plan.fractions.items():
            inside = locate(block, point)[1]
            for part, value in zip(SAID[kind], reader.hear(len(SAID[kind]))):
                said[part, k] = value
                if part == "window":
                    windows[k] = (inside, value)
                elif part == "input":
                    self.on_tensor(plan.nodes[k]["input"], inside, value)
                else:
                    self.on_column(part, k, inside, value)
        for (kind, k), block in plan.fractions.items():
            (selector, inside), groups = locate(block, point), plan.groups[kind, k]
            alpha = dot([alphas[group] for group in groups], eq_table(inside[: variables(len(groups))]))
            first, second, tag = self.row(kind, k, inside, said)
            p = p - selector * (said["counts", k] * -1 if kind == "table" else ONE)
            d = d - selector * (alpha - 1 - first - beta * second - gamma * tag)
        need(p == ZERO and d == ZERO, "lookup: the fractions are not those of this network's values and tables")
        return windows

    def fractions_sum_to_zero(self) -> tuple[Point, E, E]:
        """Fractions p/(1 + d) are added in a binary tree. A claim on the leaves: point, p, d."""
        reader, point = self.reader, list[E]()
        p, (d,) = ZERO, reader.hear(1)
        need(d + 1 != ZERO, "lookup: a denominator is zero")
        for _ in range(variables(self.plan.count)):
            mix = reader.draw()
            point, last = eq_sum_check(reader, p + mix * d, point, 2)
            p0, d0, p1, d1 = reader.hear(4)
            total = p0 * (d1 + 1) + p1 * (d0 + 1) + mix * (d0 + d1 + d0 * d1)
            need(total == last, "lookup: two fractions do not add up to the one above them")
            r = reader.draw()
            p, d, point = p0 + r * (p1 - p0), d0 + r * (d1 - d0), [*point, r]
        return point, p, d

    def row(self, kind: str, k: int, inside: Point, said: dict[Name, E]) -> tuple[E, E, E]:
        """Both columns and the tag of the rows of one block."""
        plan = self.plan
        if kind == "table":
            return *plan.tables[k].at(inside[plan.group_bits :]), E(k)
        if kind == "window":
            return said["window", k], ZERO, ZERO
        shift = plan.nodes[k]["shift"]
        if kind == "remainder":
            return said["remainder", k] * (1 << (plan.tables[0].bits - shift)), ZERO, ZERO
        raised = said["input", k] + (1 << shift >> 1) - said.get(("remainder", k), ZERO)
        return raised * HALF**shift, said["output", k], plan.tag_at(k, inside)

    # -- layers

    def reduced(self, total: E, n: int, weight: Callable[[Point], E], sentence: str) -> Claim:
        """A sum-check of total = Σ weight·tensor: the point, and the tensor there, which the prover says."""
        point, last = sum_check(self.reader, total, n)
        known = weight(point)
        (value,) = self.reader.hear(1)
        need(known * value == last, sentence)
        return point, value

    def merged(self, k: int, claims: list[Claim]) -> Claim:
        """Several claims on one tensor become one."""
        if len(claims) == 1:
            return claims[0]
        mixed = powers(self.reader.draw(), len(claims))
        total = dot([value for _, value in claims], mixed)
        weight = lambda point: dot([eq(where, point) for where, _ in claims], mixed)  # noqa: E731
        return self.reduced(total, self.plan.bits(k), weight, f"the claims on tensor {k} do not agree")

    def everywhere(self, k: int, parts: list[Point]) -> E:
        """1 at the real places of the real pictures and 0 in padding, whatever the channel."""
        sides = (self.plan.batch, *self.plan.shapes[k][1:])
        return product(below(part, side) for part, side in zip(parts[:1] + parts[2:], sides))

    def weighted(self, k: int, point: Point, value: E) -> None:
        """Linear layers, and convolutions: a sum over channels and places of the kernel, then over the picture."""
        node, plan = self.plan.nodes[k], self.plan
        source, parts = node["input"], split(point, plan.shape(k))
        rest = value - self.everywhere(k, parts) * self.weights.bias(self.reader, k, parts[1])
        inner = (plan.shapes[source][0], *node["weight"].shape[2:])
        weight = lambda where: self.weights.weight(self.reader, k, parts[1], split(where, inner))  # noqa: E731
        where, given = self.reduced(rest, all_variables(inner), weight, f"node {k} does not give the claimed output")
        channel, *taps = split(where, inner)
        if taps:
            self.window_sum(k, parts, channel, [eq_table(tap) for tap in taps], given)
        else:
            self.on_tensor(source, parts[0] + channel, given)

    def window_sum(self, k: int, parts: list[Point], channel: Point, taps: list[list[E]], total: E) -> None:
        """total = Σ K(u) K(v) X(batch, channel, u, v): all windows over a picture, weighted by place and by output."""
        source = self.plan.nodes[k]["input"]
        kernels = [self.spread(k, axis, parts[2 + axis], taps[axis]) for axis in (0, 1)]
        sides = self.plan.shapes[source][1:]
        weight = lambda where: product(map(dot, kernels, map(eq_table, split(where, sides))))  # noqa: E731
        sentence = f"node {k}: the windows do not add up to the claimed output"
        point, value = self.reduced(total, all_variables(sides), weight, sentence)
        self.on_tensor(source, parts[0] + channel + point, value)

    def spread(self, k: int, axis: int, point: Point, taps: list[E]) -> list[E]:
        """K(u) = Σ eq(point, y)·taps[a] over all y, a with stride·y + dilation·a − padding = u."""
        node, weights = self.plan.nodes[k], eq_table(point)
        out = [ZERO] * self.plan.shapes[node["input"]][1 + axis]
        for y in range(self.plan.shapes[k][1 + axis]):
            for a in range(kernel_of(node)[axis]):
                u = node["stride"][axis] * y + node["dilation"][axis] * a - node["padding"][2 * axis]
                if 0 <= u < len(out):
                    out[u] = out[u] + weights[y] * taps[a]
        return out

    def sum_pool(self, k: int, point: Point, value: E) -> None:
        """Sums over windows; a subsampling is one with windows of one place."""
        parts = split(point, self.plan.shape(k))
        self.window_sum(k, parts, parts[1], [[ONE] * side for side in kernel_of(self.plan.nodes[k])], value)

    def max_pool(self, k: int, point: Point, value: E) -> None:
        """The lookups left a claim on max − x, which is in a range table; that some max − x is 0 is shown here."""
        kernel, reader = self.plan.nodes[k]["kernel"], self.reader
        where, last = eq_sum_check(reader, ZERO, reader.draws(self.plan.bits(k)), prod(kernel))
        values = reader.hear(prod(kernel))
        need(product(values) == last, f"node {k}: a maximum is not an element of its window")
        place = reader.draws(all_variables(kernel))
        rows, columns = (eq_table(part)[:side] for part, side in zip(split(place, kernel), kernel))
        self.pool_windows(k, point, value)
        self.pool_windows(k, place + where, dot(values, [a * b for a in rows for b in columns]))

    def pool_windows(self, k: int, point: Point, value: E) -> None:
        """A claim on max − x at (place in the window, output); outside the picture x is the lowest possible value."""
        plan, kernel = self.plan, self.plan.nodes[k]["kernel"]
        down, across, *parts = split(point, (*kernel, *plan.shape(k)))
        taps = [eq_table(down), eq_table(across)]
        inside = below(down, kernel[0]) * below(across, kernel[1])
        picture = product(sum(self.spread(k, axis, parts[2 + axis], taps[axis]), ZERO) for axis in (0, 1))
        outside = self.everywhere(k, parts) * inside - below(parts[0], plan.batch) * picture
        (maximum,) = self.reader.hear(1)
        self.on_tensor(k, point[len(down + across) :], maximum)
        lowest = below(parts[1], plan.shapes[k][0]) * -plan.reach[plan.nodes[k]["input"]]
        self.window_sum(k, parts, parts[1], taps, inside * maximum - outside * lowest - value)

    def square(self, k: int, point: Point, value: E) -> None:
        where, last = eq_sum_check(self.reader, value, point, 2)
        (given,) = self.reader.hear(1)
        need(given * given == last, f"node {k}: the output is not the square of the input")
        self.on_tensor(self.plan.nodes[k]["input"], where, given)

    def add(self, k: int, point: Point, value: E) -> None:
        node = self.plan.nodes[k]
        values = self.reader.hear(len(node["inputs"]))
        total = sum((given * (1 << shift) for given, shift in zip(values, node["shifts"])), ZERO)
        need(total == value, f"node {k}: the summands do not add up to the claimed output")
        for source, given in zip(node["inputs"], values):
            self.on_tensor(source, point, given)

    def offset(self, k: int, point: Point, value: E) -> None:
        node, parts = self.plan.nodes[k], split(point, self.plan.shape(k))
        offset = fold(node["value"].values, node["value"].shape, parts[1])
        self.on_tensor(node["input"], point, value - self.everywhere(k, parts) * offset)

    def selection(self, k: int, point: Point, value: E) -> None:
        """Flatten, concatenate, pad channels: the values of an input stand in a row somewhere in the output."""
        node, plan = self.plan.nodes[k], self.plan
        batch = split(point, plan.shape(k))[0]
        totals = self.reader.hear(len(node["inputs"])) if len(node["inputs"]) > 1 else [value]
        need(sum(totals, ZERO) == value, f"node {k}: the parts do not add up to the claimed output")
        here, start = real_places(point[len(batch) :], plan.shapes[k]), node.get("before", 0) * prod(plan.shapes[k][1:])
        for source, total in zip(node["inputs"], totals):
            shape = plan.shapes[source]
            weight = lambda where, shape=shape, start=start: dot(real_places(where, shape), here[start:])  # noqa: E731
            sentence = f"node {k}: the output does not hold the values of the input"
            where, given = self.reduced(total, all_variables(shape), weight, sentence)
            self.on_tensor(source, batch + where, given)
            start += prod(shape)


def real_places(point: Point, shape: Shape) -> list[E]:
    """eq(point, ·) at the places of a tensor that are not padding."""
    table = [ONE]
    for size, part in zip(shape, split(point, shape)):
        table = [value * weight for value in table for weight in eq_table(part)[:size]]
    return table


LAYERS: dict[str, Callable[[Verifier, int, Point, E], None]] = {
    **dict.fromkeys(("linear", "conv2d"), Verifier.weighted),
    **dict.fromkeys(("sum-pool", "subsample"), Verifier.sum_pool),
    **dict.fromkeys(("flatten", "concat", "pad-channels"), Verifier.selection),
    **{"square": Verifier.square, "add": Verifier.add, "offset": Verifier.offset},
}


# ---- `weights`, `hidden`, `grouped_weights`


class PublicWeights:
    """The verifier holds the network."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def weight(self, reader: Reader, k: int, rows: Point, columns: list[Point]) -> E:
        """In groups, an output reads the inputs of its own group: elsewhere the matrix is zero."""
        (out, inner, *kernel), groups = self.nodes[k]["weight"].shape, self.nodes[k]["groups"]
        values, width, table, size = self.nodes[k]["weight"].values, inner * prod(kernel), eq_table(rows), out // groups
        starts = range(0, out, size)
        bound = [
            dot(values[j * width + c : (j + size) * width : width], table[j:]) for j in starts for c in range(width)
        ]
        return fold(bound, (groups * inner, *kernel), [r for part in columns for r in part])

    def bias(self, reader: Reader, k: int, rows: Point) -> E:
        return fold(self.nodes[k]["bias"].values, self.nodes[k]["bias"].shape, rows)

    def finish(self, reader: Reader) -> None:
        """Nothing was taken on trust."""


class CommittedWeights:
    """The verifier holds a commitment: every evaluation is heard now and proven at the end."""

    def __init__(self, nodes: list[Node], root: bytes) -> None:
        self.nodes, self.root, self.claims = nodes, root, list[Opening]()
        wanted = []
        for k, node in ((k, node) for k, node in enumerate(nodes) if "weight" in node):
            bits, taps = all_variables(self.matrix_shape(k)), range(prod(node["weight"].shape[2:]))
            wanted += [((f"weight {tap}", k), bits) for tap in taps]
            wanted += [((f"limb {limb}", k), variables(node["weight"].shape[0])) for limb in (0, 1)]
        bits = groups_of(wanted)[1]
        self.blocks, self.size = placed([*wanted, (("counts", 0), 8 + bits), (("counts", 1), 16 + bits)])

    def matrix_shape(self, k: int) -> Shape:
        (out, inner, *_), groups = self.nodes[k]["weight"].shape, self.nodes[k]["groups"]
        return (groups, out // groups, inner) if groups > 1 else (out, inner)

    def weight(self, reader: Reader, k: int, rows: Point, columns: list[Point]) -> E:
        (value,), (inner, *taps) = reader.hear(1), columns
        point, claimed = (
            (rows + inner, value) if self.nodes[k]["groups"] == 1 else self.in_groups(reader, k, rows, inner, value)
        )
        coefficients = [ONE]
        for axis, side in zip(taps, self.nodes[k]["weight"].shape[2:]):
            coefficients = [c * at(axis, place) for c in coefficients for place in range(side)]
        terms = [(self.blocks[f"weight {tap}", k][0], point, c) for tap, c in enumerate(coefficients)]
        self.claims.append((terms, claimed))
        return value

    def in_groups(self, reader: Reader, k: int, rows: Point, inner: Point, value: E) -> Claim:
        """The claim on the whole matrix becomes one on the weights of its groups (group, out, in)."""
        shape = self.matrix_shape(k)
        point, last = sum_check(reader, value, all_variables(shape))
        (found,) = reader.hear(1)
        group, *rest = map(eq_table, split(point, shape))
        weight = ZERO
        for j in range(shape[0]):
            starts = zip((rows, inner), rest, shape[1:])
            weight = weight + group[j] * product(dot(eq_table(p)[j * n : (j + 1) * n], t) for p, t, n in starts)
        need(weight * found == last, f"node {k}: the weights are not those of its groups")
        return point, found

    def bias(self, reader: Reader, k: int, rows: Point) -> E:
        (value,) = reader.hear(1)
        terms = [(self.blocks[f"limb {limb}", k][0], rows, E(1 << 16 * limb)) for limb in (0, 1)]
        self.claims.append((terms, value + below(rows, self.nodes[k]["weight"].shape[0]) * (1 << 31)))
        return value

    def finish(self, reader: Reader) -> None:
        verify_openings(reader, self.root, self.size, self.claims)


# ---- `receipt`: MessagePack, in the one encoding that Assay writes

FIELDS = {"format": str, "version": int, "model": bytes, "architecture": bytes, "weights_root": bytes}
FIELDS |= {"intervals": list, "queries": int, "batch": int, "nonce": bytes, "inputs": bytes, "outputs": bytes}
FIELDS |= {"proof": bytes}
FORMS = dict(zip(range(0xC4, 0xC7), "BHI")) | dict(zip(range(0xCC, 0xD4), "BHIQbhiq"))
FORMS |= dict(zip(range(0xD9, 0xDE), "BHIHI"))
"""How the number behind a tag is written; it is one itself (CC to D3), or the length of bytes, of a text, of a list."""


def pack(value: Any) -> bytes:
    """The shortest encoding."""
    if isinstance(value, int):
        return struct.pack("b", value) if -32 <= value < 128 else tagged(value, range(0xCC, 0xD4))
    if isinstance(value, list):
        head = bytes([0x90 + len(value)]) if len(value) < 16 else tagged(len(value), range(0xDC, 0xDE))
        return head + b"".join(map(pack, value))
    if isinstance(value, bytes):
        return tagged(len(value), range(0xC4, 0xC7)) + bytes(value)
    text: bytes = value.encode()
    return (bytes([0xA0 + len(text)]) if len(text) < 32 else tagged(len(text), range(0xD9, 0xDC))) + text


def tagged(value: int, tags: range) -> bytes:
    """A number in the first of these forms that holds it, behind its tag."""
    for tag in tags:
        try:
            return bytes([tag]) + struct.pack(">" + FORMS[tag], value)
        except struct.error:
            continue
    raise ValueError("a number beyond 64 bits")


def unpack(data: bytes, place: int = 0) -> tuple[Any, int]:
    """The value at `place`, and where it ends."""
    tag, place = data[place], place + 1
    number = tag & (0x0F if tag < 0xA0 else 0x1F)
    if tag in FORMS:
        number = struct.unpack_from(">" + FORMS[tag], data, place)[0]
        place += struct.calcsize(FORMS[tag])
    if tag < 0x80 or tag >= 0xE0:
        return tag - 256 * (tag >= 0xE0), place
    if 0xCC <= tag < 0xD4:
        return number, place
    if number > len(data) - place or not (tag in FORMS or 0x90 <= tag < 0xC0):
        raise ValueError(f"a value of kind {tag:#x}, or a length beyond the end")
    if tag < 0xA0 or tag > 0xDB:
        entries = []
        for _ in range(number):
            entry, place = unpack(data, place)
            entries.append(entry)
        return entries, place
    raw = data[place : place + number]
    return (raw if 0xC4 <= tag < 0xC7 else raw.decode()), place + number


def read_receipt(data: bytes) -> dict[str, Any]:
    try:
        values, end = unpack(data)
        canonical = end == len(data) and pack(values) == data
    except MALFORMED as error:
        raise Unreadable(f"this is not a receipt: {error}") from error
    if not canonical or not isinstance(values, list) or values[:2] != ["assay receipt", 1]:
        raise Unreadable("this is not a receipt of version 1")
    triples: list[Any] = values[5] if [type(value) for value in values] == list(FIELDS.values()) else [None]
    if not all(isinstance(t, list) and [type(x) for x in t] == [int, int, int] for t in triples):
        raise Unreadable("this receipt is damaged")
    receipt = dict(zip(FIELDS, values))
    positions = [position for position, _, _ in triples]
    root = len(receipt["weights_root"])
    need(len(receipt["model"]) == 32, "a model is named by 32 bytes")
    need(root == (32 if receipt["architecture"] else 0), "architecture and root of weights come together or not at all")
    need(positions == sorted(set(positions)) and min(positions, default=0) >= 0, "the ranges are not in order")
    need(all(-LARGEST <= low <= high <= LARGEST for _, low, high in triples), "a range is empty or beyond the field")
    need(1 <= receipt["batch"] <= 1 << 20, "a batch has 1 to 2**20 pictures")
    need(16 <= len(receipt["nonce"]) <= 64, "a nonce has 16 to 64 bytes")
    need(receipt["queries"] == QUERIES, f"{QUERIES} columns are opened a commitment")
    return receipt


# ---- `api`


def verify(
    receipt: dict[str, Any],
    network: tuple[list[Node], bytes, bytes] | None = None,
    commitment: bytes | None = None,
    pictures: Tensor | None = None,
    nonce: bytes | None = None,
) -> list[list[int]]:
    """The outputs, one list a picture; raises Rejected if the receipt does not convince.

    Args:
        network: what `read_network` gave, or else `commitment`: 32 bytes.
        pictures: the client's own; None to trust the receipt's.
        nonce: the client's own; None to allow replay.
    """
    need(nonce is None or receipt["nonce"] == nonce, "this receipt answers another nonce")
    root, architecture = receipt["weights_root"], receipt["architecture"]
    if network is not None:
        nodes, text, name = network
        need(not root, "this receipt is about committed weights; verify it with the commitment")
        weights: PublicWeights | CommittedWeights = PublicWeights(nodes)
    else:
        text, framed = architecture, len(architecture).to_bytes(8, "little") + architecture + root
        name = hashlib.sha256(b"assay/weights/1" + framed).digest()
        need(name == commitment, "this receipt is about another model")
        nodes = read_architecture(architecture)
        weights = CommittedWeights(nodes, root)
    need(receipt["model"] == name, "this receipt is about another model")
    plan = Plan(nodes, receipt["batch"], {k: (low, high) for k, low, high in receipt["intervals"]})
    low, high = nodes[0]["low"], nodes[0]["high"]
    theirs = tensor_of(receipt["inputs"], "B" if low >= 0 and high <= 255 else "q", plan.shape(0))
    need(low <= min(theirs.values) and max(theirs.values) <= high, "a picture is out of the network's range")
    same = pictures is None or (pictures.shape == theirs.shape and list(pictures.values) == list(theirs.values))
    need(same, "this receipt is about other pictures than yours")
    outputs = tensor_of(receipt["outputs"], "q", plan.shape(len(nodes) - 1))
    need(outputs.reach <= LARGEST, "an answer is beyond the field")
    reader, ranges = Reader(receipt["proof"]), [number for triple in receipt["intervals"] for number in triple]
    for said in (in_bytes([QUERIES]), text, name + root, in_bytes(ranges), in_bytes([plan.batch])):
        reader.bind(said)
    for field in ("nonce", "inputs", "outputs"):
        reader.bind(receipt[field])
    Verifier(reader, plan, weights).run(theirs, outputs)
    classes = outputs.shape[1]
    return [list(outputs.values[k : k + classes]) for k in range(0, len(outputs.values), classes)]


def tensor_of(data: bytes, code: str, shape: Shape) -> Tensor:
    size = struct.calcsize("<" + code) * prod(shape)
    need(len(data) == size, f"{size} bytes of pictures or answers are needed, the receipt holds {len(data)}")
    return whole_numbers(code, data, shape)


def read_npz(path: Path) -> Tensor:
    """The array `x` of an .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read("x.npy")
        start = 12 if data[6] >= 2 else 10
        end = start + int.from_bytes(data[8:start], "little")
        header = ast.literal_eval(data[start:end].decode("latin-1"))
        code = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "i8": "q"}[header["descr"][1:]]
        if header["descr"][0] == ">" or header["fortran_order"]:
            raise ValueError("x must hold whole numbers, row by row")
        return whole_numbers(code, data[end:], header["shape"])
    except (OSError, SyntaxError, zipfile.BadZipFile, *MALFORMED) as error:
        raise Unreadable(f"{path} does not hold pictures: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Read files, verify, print the verdict."""
    parser = argparse.ArgumentParser(description="Verify a receipt of Assay with Python's standard library alone.")
    parser.add_argument("receipt", type=Path)
    known, asked, fresh = (parser.add_mutually_exclusive_group(required=True) for _ in range(3))
    known.add_argument("--model", type=Path, help="the network, net.assay")
    known.add_argument("--commitment", type=bytes.fromhex, help="or the commitment to it that you accepted, in hex")
    asked.add_argument("--inputs", type=Path, help="your own pictures: an .npz with x")
    asked.add_argument("--trust-receipt-inputs", action="store_true", help="take the pictures from the receipt")
    fresh.add_argument("--nonce", type=bytes.fromhex, help="the nonce that you drew, in hex")
    fresh.add_argument("--allow-replay", action="store_true", help="do not compare the nonce")
    given = parser.parse_args(arguments)
    try:
        network = read_network(given.model.read_bytes()) if given.model else None
        pictures = read_npz(given.inputs) if given.inputs else None
        outputs = verify(read_receipt(given.receipt.read_bytes()), network, given.commitment, pictures, given.nonce)
    except (OSError, Unreadable) as error:
        print(f"unreadable: {error}")
        return 2
    except Rejected as error:
        print(f"rejected: {error}")
        return 1
    print("accepted: labels", ", ".join(str(row.index(max(row))) for row in outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A verifier of Assay's receipts in one file, with nothing but Python's standard library: read it, then trust it.

    python -I standalone.py a.receipt --model net.assay --inputs digits.npz --nonce 000102…0f

It accepts exactly the receipts that `assay verify` accepts, and never runs the network. A tensor, padded to a power of
two along each axis, is the values on {0,1}ⁿ of one polynomial of degree 1 in each of n variables, its extension; a
*claim* says what that is at a point. The verifier makes the first one itself, from the outputs, at a point that the
prover could not foresee. By a *sum-check*, each layer turns a claim on its output into claims on its inputs; at the
picture the verifier looks for itself. What is no sum of products (rounding, clamping, maxima) the prover *committed* to
before, and *lookups* show that it is in tables of what is allowed. For sources see the modules named below.
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
from functools import partial
from io import BytesIO
from itertools import accumulate, chain
from math import comb, factorial, prod
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

P = (1 << 61) - 1
LARGEST = (P - 1) // 2
QUERIES, MAX_GAP, GROUP_BITS = 154, 1 << 20, 20

Node = dict[str, Any]
Shape = tuple[int, ...]
Name = tuple[str, int]
Pair = tuple[int, int]
Receipt = dict[str, Any]
Network = tuple[list[Node], bytes, bytes]  # its graph as text, and the digest or the commitment that names it


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


Point = list[E]
Claim = tuple[Point, E]
Opening = tuple[list[tuple[int, Point, E]], E]  # of a committed vector: terms (offset, point, coefficient), their sum
ZERO, ONE = E(0), E(1)
ROOT = E(4, 1) ** ((P * P - 1) >> 62)  # of unity, of the order 2**62


def dot(a: Sequence[E | int], b: Sequence[E]) -> E:
    """Σ a·b as far as both go, reduced once at the end."""
    br, bi = [x.real for x in b], [x.imag for x in b]
    if isinstance(a[0], int):
        return E(sum(map(mul, a, br)), sum(map(mul, a, bi)))
    ar, ai = [x.real for x in a], [x.imag for x in a]
    return E(sum(map(mul, ar, br)) - sum(map(mul, ai, bi)), sum(map(mul, ar, bi)) + sum(map(mul, ai, br)))


def powers(base: E, count: int) -> list[E]:
    return list(accumulate([base] * (count - 1), mul, initial=ONE))


# ---- `transcript`, `sumcheck`: challenges are hashes of all that was said before (Fiat and Shamir)
def elements(data: bytes) -> list[E]:
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    need(all(word < P for word in words), "a field element is not canonical")
    return [E(re, im) for re, im in zip(words[::2], words[1::2])]


class Reader:
    """Hears a proof in order. Nothing in it has a length of its own: the statement says how many elements come next."""

    def __init__(self, proof: bytes) -> None:
        self.state, self.proof = hashlib.sha256(b"assay/proof/1").digest(), BytesIO(proof)

    def bind(self, data: bytes) -> None:
        self.state = hashlib.sha256(self.state + b"said" + len(data).to_bytes(8, "little") + data).digest()

    def hear_bytes(self, count: int) -> bytes:
        data = self.proof.read(count)
        need(len(data) == count, "the proof ends early")
        self.bind(data)
        return data

    def hear(self, count: int) -> list[E]:
        return elements(self.hear_bytes(16 * count))

    def squeeze(self) -> bytes:
        self.state = hashlib.sha256(self.state + b"draw").digest()
        return self.state

    def draw(self, count: int) -> Point:
        digests = (self.squeeze() for _ in range(count))
        return [E(int.from_bytes(each[:16], "little"), int.from_bytes(each[16:], "little")) for each in digests]

    def bound(self, values: list[E], point: Point) -> E:
        """One more variable is drawn, and the polynomial that has these values at 0, 1, 2, … is evaluated there."""
        point[:0] = self.draw(1)
        total, last, less = ZERO, len(values) - 1, [point[0] - j for j in range(len(values))]
        before, behind = (list(accumulate(part, mul, initial=ONE)) for part in (less[:last], less[:0:-1]))
        for k, value in enumerate(values):
            total = total + value * before[k] * behind[last - k] * ((-1) ** (last - k) * comb(last, k))
        return total * pow(factorial(last), -1, P)

    def sum_check(self, total: E, n: int) -> Claim:
        """total = Σ a(x)·b(x) over {0,1}ⁿ: the point, and what a·b must be there. A round says g(0), g(2) of its g."""
        point: Point = []
        for _ in range(n):
            g0, g2 = self.hear(2)
            total = self.bound([g0, total - g0, g2], point)
        return point, total

    def eq_sum_check(self, total: E, eq_point: Point, degree: int) -> Claim:
        """total = Σ eq(eq_point, x)·F(x): the point, and what F must be there. A round says values of its F."""
        point: Point = []
        for e in reversed(eq_point):
            values = self.hear(degree + 1)
            need((ONE - e) * values[0] + e * values[1] == total, "a sum-check message does not add up to the claim")
            total = self.bound(values, point)
        return point, total


# ---- `multilinear`: extensions of tables; points list the slowest variable first
def variables(*sizes: int) -> int:
    return sum((size - 1).bit_length() for size in sizes)


def split(point: Point, shape: Iterable[int]) -> list[Point]:
    """The variables of each axis."""
    rest = iter(point)
    return [[next(rest) for _ in range(variables(size))] for size in shape]


def eq(a: Point, b: Point) -> E:
    """1 if two points of {0,1}ⁿ are equal and 0 if not, extended."""
    return prod((x * y * 2 - x - y + 1 for x, y in zip(a, b)), start=ONE)


def eq_table(point: Point) -> list[E]:
    """eq(point, the bits of j) for all j."""
    table = [ONE]
    for r in point:
        table = [part for value in table for high in [value * r] for part in (value - high, high)]
    return table


def real_places(parts: list[Point], shape: Iterable[int]) -> list[E]:
    """eq(point, ·) at the places of a tensor that are not padding."""
    table = [ONE]
    for size, part in zip(shape, parts):
        weights = eq_table(part)[:size]
        table = [value * weight for value in table for weight in weights]
    return table


def locate(block: Pair, point: Point) -> tuple[E, Point]:
    """1 inside a block (offset, variables) of a vector and 0 outside, extended; and the variables of places inside."""
    offset, bits = block
    high = len(point) - bits
    return eq(point[:high], [E(offset >> k & 1) for k in reversed(range(bits, len(point)))]), point[high:]


def clamped(point: Point, start: int, low: int, high: int) -> E:
    """clamp(start + j, low, high) for the places j of {0,1}ⁿ, extended."""
    last = start + (1 << len(point)) - 1
    if last <= low or start >= high:
        return E(low if last <= low else high)
    if low <= start and last <= high:
        return sum((r * (1 << k) for k, r in enumerate(reversed(point))), E(start))
    r, *rest = point
    lower, upper = (clamped(rest, first, low, high) for first in (start, start + (1 << len(rest))))
    return lower + r * (upper - lower)


def below(point: Point, count: int) -> E:
    """1 at the first `count` places and 0 beyond, extended."""
    return E(count) - clamped(point, 0, count - 1, count)


def fold(table: Sequence[E | int], shape: Iterable[int], point: Point) -> E:
    """The extension of a tensor of this shape, of elements or of whole numbers."""
    for size, part in zip(shape, split(point, shape)):
        columns, weights = len(table) // size, eq_table(part)
        table = [dot(table[c::columns], weights) for c in range(columns)]
    return ZERO + table[0]


# ---- `commitment`: Ligero's, and `merkle`
class Commitment:
    """To a vector, as rows of 2·2**bits values A, B; A + iB is encoded. A small opening, and a small enough gap."""

    def __init__(self, reader: Reader, root: bytes, size: int) -> None:
        self.reader, self.root, self.claims, bits = reader, root, list[Opening](), 0
        while 2 * (2 << bits) ** 2 < QUERIES * size and variables(-(-size // (2 << bits))) * (8 << bits) <= MAX_GAP:
            bits += 1
        self.bits, self.rows = bits, -(-size // (2 << bits))

    def verify(self) -> None:
        """All claims, by one opening at one point, where the vector is a combination of the rows."""
        reader, bits, row_bits = self.reader, self.bits, variables(self.rows)
        mixed = powers(reader.draw(1)[0], len(self.claims))
        point, last = reader.sum_check(dot(mixed, [value for _, value in self.claims]), row_bits + 1 + bits)
        weight = ZERO
        for power, (terms, _) in zip(mixed, self.claims):
            for offset, where, coefficient in terms:
                selector, inside = locate((offset, len(where)), point)
                weight = weight + power * coefficient * selector * eq(where, inside)
        row_point, part, inner = point[:row_bits], point[row_bits], point[row_bits + 1 :]
        both = reader.hear(2 << bits)
        sides = both[: 1 << bits], both[1 << bits :], eq_table(row_point)
        places, opened = self.columns()
        for real, imaginary, weights in (sides, [[E(x.real, -x.imag) for x in side] for side in sides]):
            row = self.encoded([a + E(0, 1) * b for a, b in zip(real, imaginary)], places)
            need(row == [dot(column, weights) for column in opened], "an opened column disagrees with the combined row")
        a, b = (dot(side, eq_table(inner)) for side in sides[:2])
        need((a + part * (b - a)) * weight == last, "the committed vector disagrees with the claims on it")

    def columns(self) -> tuple[list[int], list[list[E]]]:
        """Some places, and the columns there, from the Merkle tree: level by level, missing nodes are heard."""
        words = b"".join(self.reader.squeeze() for _ in range(0, QUERIES, 8))[: 4 * QUERIES]
        places = sorted({word & ((4 << self.bits) - 1) for word in struct.unpack(f"<{QUERIES}I", words)})
        entries = self.reader.hear_bytes(16 * len(places) * self.rows)
        columns = [entries[k : k + 16 * self.rows] for k in range(0, len(entries), 16 * self.rows)]
        known = {place: hashlib.sha256(b"\x00" + column).digest() for place, column in zip(places, columns)}
        for _ in range(self.bits + 2):
            missing = sorted(index ^ 1 for index in known if index ^ 1 not in known)
            sent = self.reader.hear_bytes(32 * len(missing))
            whole = known | {index: sent[32 * k : 32 * k + 32] for k, index in enumerate(missing)}
            known = {i >> 1: hashlib.sha256(b"\x01" + whole[i & ~1] + whole[i | 1]).digest() for i in known}
        need(known == {0: self.root}, "an opened column does not lie under the committed Merkle root")
        return places, [elements(column) for column in columns]

    def encoded(self, message: list[E], places: list[int]) -> list[E]:
        """A Reed–Solomon codeword: values at roots of unity, in four cosets, each in bit-reversed order."""
        bits, size = self.bits, 4 << self.bits
        roots = powers(ROOT ** (1 << (60 - bits)), size)
        exponents = ((at >> bits) + 4 * sum((at >> k & 1) << (bits - 1 - k) for k in range(bits)) for at in places)
        return [dot(message, [roots[each * k % size] for k in range(1 << bits)]) for each in exponents]


# ---- `integer.files`, `integer.shapes`: the network
SAID = """input:shape low high/add:inputs shifts/conv2d:input stride padding dilation
groups/square:input/offset:input/relu:input start stop/linear:input/max-pool:input kernel stride padding
dilation/sum-pool:input kernel stride padding/requantise:input shift low high start stop/pad-channels:input before
after/subsample:input stride/concat:inputs/flatten:input"""  # by each kind, beside kind and name
MALFORMED = (Rejected, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, struct.error)


class Tensor(NamedTuple):
    """Whole numbers, row by row; none of them, only their shape and largest magnitude, where weights are committed."""

    values: Sequence[int]
    shape: Shape
    reach: int


def whole_numbers(code: str, data: bytes, shape: Sequence[int]) -> Tensor:
    need(len(data) == prod(shape) * struct.calcsize("<" + code), f"{len(data)} bytes are no tensor of shape {shape}")
    values = array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return Tensor(values, tuple(shape), max(max(values), -min(values)))


def in_bytes(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def nodes_of(graph: str) -> list[Node]:
    """With what files leave out, because it is the same in all nodes of a kind."""
    usual: Node = {"kernel": [1, 1], "stride": [1, 1], "dilation": [1, 1], "padding": [0] * 4, "groups": 1}
    usual |= {"shift": 0, "low": -LARGEST, "high": LARGEST, "before": 0, "after": 0}
    nodes, words = json.loads(graph)["nodes"], dict(kind.split(":") for kind in SAID.split("/"))
    exact = all(x.keys() == {"op", "name", *words[x["op"]].split()} for x in nodes)
    need(exact, "a node says more or less than its kind does")
    return [usual | {"inputs": [x["input"]] if "input" in x else []} | x for x in nodes]


def read_network(data: bytes) -> Network:
    """From a net.assay file; its digest is computed anew."""
    try:
        length = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        graph, claimed = (header["__metadata__"][name] for name in ("assay.network", "assay.digest"))
        nodes, parts = nodes_of(graph), [graph.encode()]
        for k, node in enumerate(nodes):
            for field in ("weight", "bias", "value"):
                if entry := header.get(f"{k}.{field}"):
                    code, place = {"I8": "b", "I16": "h", "I32": "i", "I64": "q"}[entry["dtype"]], entry["data_offsets"]
                    node[field] = whole_numbers(code, body[slice(*place)], entry["shape"])
                    parts += [f"{k}.{field}".encode(), in_bytes(*entry["shape"]), in_bytes(*node[field].values)]
        framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        digest = hashlib.sha256(b"assay.integer/1" + framed).digest()
        need(digest.hex() == claimed, "its digest names another one")
    except MALFORMED as error:
        raise Unreadable(f"this is not an integer network: {error}") from error
    return nodes, parts[0], digest


def read_architecture(data: bytes, root: bytes, commitment: bytes | None) -> Network:
    """A committed network: its weights have a shape and a bound."""
    name = hashlib.sha256(b"assay/weights/1" + len(data).to_bytes(8, "little") + data + root).digest()
    need(name == commitment, "this receipt is about another model")
    try:
        described = json.loads(data)
        for k, node in enumerate(nodes := nodes_of(described["graph"])):
            if node["op"] in ("conv2d", "linear"):
                node["weight"] = Tensor([], tuple(described["weights"][str(k)]), 128)
                node["bias"] = Tensor([], node["weight"].shape[:1], 1 << 32)
            elif node["op"] == "offset":
                node["value"] = Tensor(values := described["offsets"][str(k)], (len(values),), max(map(abs, values)))
    except MALFORMED as error:
        raise Rejected(f"the committed architecture does not make sense: {error}") from error
    return nodes, data, name


# ---- `blocks`, `plan`: where everything lies
def placed(wanted: list[tuple[Name, int]]) -> tuple[dict[Name, Pair], int]:
    """Blocks of a longer vector by name: offset, and variables. Largest first; and the length of all."""
    blocks, end = {}, 0
    for name, bits in sorted(wanted, key=lambda entry: -entry[1]):
        blocks[name] = end, bits
        end += 1 << bits
    return blocks, end


class Plan:
    def __init__(self, nodes: list[Node], batch: int, ranges: list[tuple[int, int, int]]) -> None:
        """`ranges` (node, low, high) of looked-up values are the prover's: short ones let it prove less, never more."""
        self.nodes, self.shapes, self.reach = nodes, list[Shape](), list[int]()
        for node in nodes:
            self.measure(node, batch)
        self.bits = [variables(*shape) for shape in self.shapes]
        kinds, ours = ("requantise", "relu", "max-pool"), ("requantise", [0])  # the picture: the verifier rounds it too
        self.looked_up = {k: x for k, x in enumerate(nodes) if x["op"] in kinds and (x["op"], x["inputs"]) != ours}
        pooled = max((prod(node["kernel"]) for node in nodes if node["op"] == "max-pool"), default=0)
        rows = sum(sum(map(mul, shape[2:], node["kernel"])) for node, shape in zip(nodes, self.shapes))
        need(max(self.bits) <= 40 and pooled <= 1 << 10 and rows <= 1 << 22, "a tensor or a window is too large")
        need([k for k, _, _ in ranges] == list(self.looked_up), "the ranges do not belong to this network")
        self.tables = self.tables_for(ranges)
        remainders = [(("remainder", k), self.bits[k]) for k, node in self.looked_up.items() if node["shift"]]
        values = [((node["op"], k), self.bits[k] + variables(*node["kernel"])) for k, node in self.looked_up.items()]
        self.values, size = placed(values + remainders)
        self.group_bits = variables(max(1, -(-size >> GROUP_BITS)))  # of the groups of 2**20 looked-up values
        rows = [bits + self.group_bits for bits, _, _ in self.tables]
        tables, counts = ([((kind, tag), bits) for tag, bits in enumerate(rows)] for kind in ("table", "counts"))
        outputs = [(("output", k), self.bits[k]) for k in self.looked_up]
        self.fractions, self.count = placed(values + remainders + tables)
        self.columns, self.committed = placed(outputs + remainders + counts)
        need(self.committed <= 1 << 28 and self.count <= 1 << 29, "the batch is too large for one proof")

    def measure(self, node: Node, batch: int) -> None:
        """The shape of its tensor (pictures, channels, rows, columns, or flat) and how large its values can be."""
        shapes, reaches = [self.shapes[k] for k in node["inputs"]], [self.reach[k] for k in node["inputs"]]
        (_, channels, *sides), reach = (shapes[0], max(reaches)) if shapes else ((batch, *node["shape"]), 0)
        match node["op"]:
            case "input" | "requantise":
                reach = max(-node["low"], node["high"])
            case "offset":
                reach += node["value"].reach
            case "add":
                reach = sum(given << shift for given, shift in zip(reaches, node["shifts"]))
            case "square":
                reach **= 2
            case "sum-pool":
                reach *= prod(node["kernel"])
            case "conv2d" | "linear":
                channels, inner, *node["kernel"] = node["weight"].shape
                reach = (reach * node["weight"].reach * prod(node["kernel"]) << variables(inner)) + node["bias"].reach
            case "flatten":
                channels, sides = channels * prod(sides), []
            case "concat":
                channels = sum(shape[1] for shape in shapes)
        channels += node["before"] + node["after"]
        padded = map(sum, zip(sides, node["padding"][::2], node["padding"][1::2]))
        windows = zip(padded, node["kernel"], node["stride"], node["dilation"])
        self.shapes.append((batch, channels, *((side - d * (taps - 1) - 1) // s + 1 for side, taps, s, d in windows)))
        self.reach.append(reach)

    def clamps(self, k: int) -> tuple[Pair, Pair]:
        """(low, high) for channels outside [start, stop), and inside, which are rectified."""
        node, high = self.nodes[k], self.nodes[k]["high"]
        everywhere = (node["start"], node["stop"]) == (0, self.shapes[k][1])
        return (0 if everywhere else node["low"], high), (0 if node["start"] < node["stop"] else node["low"], high)

    def tables_for(self, ranges: list[tuple[int, int, int]]) -> list[tuple[int, int, Pair]]:
        """Of pairs (q, q clamped) for 2**bits numbers from `start` on: bits, start, clamp. The first is for ranges."""
        needed, spans = 0, dict[Pair, list[int]]()
        for k, low, high in ranges:
            node, shift = self.nodes[k], self.nodes[k]["shift"]
            needed = max(needed, shift, (high - low).bit_length() if node["op"] == "max-pool" else 0)
            for clamp in self.clamps(k) if node["op"] != "max-pool" else ():
                spans.setdefault(clamp, [0]).extend((x + (1 << shift >> 1)) >> shift for x in (low, high))
        tables = [(needed, 0, (0, 0))]
        tables += [(variables(max(x) - min(x) + 1), min(x), clamp) for clamp, x in sorted(spans.items())]
        need(max(bits for bits, _, _ in tables) <= 20, "a lookup table is too large")
        furthest = max(max(bits, abs(start).bit_length()) for bits, start, _ in tables)
        for node in self.looked_up.values():
            reach = (self.reach[node["input"]] + (1 << node["shift"])).bit_length()
            need(needed + max(reach, furthest + node["shift"] + 1) <= 59, "values could wrap around in the field")
        return tables


# ---- `protocol`, `lookup`, `layers`, `weights`
class Verifier:
    """Walks the network backwards: a claim on the output of node k becomes claims on its inputs."""

    def __init__(self, reader: Reader, plan: Plan) -> None:
        self.reader, self.plan, self.nodes, self.shapes = reader, plan, plan.nodes, plan.shapes
        self.tensors: list[list[Claim]] = [[] for _ in plan.nodes]
        self.windows, self.commitments = dict[int, Claim](), list[Commitment]()

    def claim(self, k: int, point: Point, value: E, kind: str = "output") -> None:
        """On the tensor of a node; or on what is committed in its place, or about it."""
        if (kind, k) in self.plan.columns:
            self.commitments[0].claims.append(([(self.plan.columns[kind, k][0], point, ONE)], value))
        else:
            self.tensors[k].append((point, value))

    def run(self, pictures: Tensor, outputs: Tensor) -> None:
        reader, plan, last = self.reader, self.plan, len(self.nodes) - 1
        if plan.looked_up:
            self.commitments.insert(0, Commitment(reader, reader.hear_bytes(32), plan.committed))
            self.lookups()
        point = reader.draw(plan.bits[last])
        self.claim(last, point, fold(outputs.values, outputs.shape, point))
        for k, claims in reversed(list(enumerate(self.tensors))):
            if k in self.windows:
                self.max_pool(k, *self.windows[k])
            elif claims and self.nodes[k]["op"] in ("input", "requantise"):  # of the picture: no other has claims here
                known = rounded(self.nodes[k], pictures) if k else pictures.values
                for where, value in claims:
                    need(fold(known, pictures.shape, where) == value, "the proof is about another picture")
            elif claims:
                self.layer(k, claims)
        for commitment in self.commitments:
            commitment.verify()
        need(not reader.proof.read(1), "bytes follow the end of the proof")

    def lookups(self) -> None:
        """Σ 1/(α − row) over values is Σ count/(α − row) over tables, so every value is a row of its table."""
        reader, plan = self.reader, self.plan
        alphas, (beta, gamma) = reader.draw(1 << plan.group_bits), reader.draw(2)
        tags = {clamp: tag for tag, (_, _, clamp) in enumerate(plan.tables)}
        point, p, d = self.fractions_sum_to_zero()
        said = {(kind, k): reader.hear(2 if kind in ("requantise", "relu") else 1) for kind, k in plan.fractions}
        for (kind, k), block in plan.fractions.items():
            (selector, inside), (value, *more) = locate(block, point), said[kind, k]
            count, second, tag = ONE, ZERO, ZERO
            match kind:
                case "table":
                    (_, start, clamp), rows = plan.tables[k], inside[plan.group_bits :]
                    first, second = (clamped(rows, start, *bounds) for bounds in ((-LARGEST, LARGEST), clamp))
                    count, tag = value * -1, E(k)
                    self.claim(k, inside, value, "counts")
                case "max-pool":
                    first, self.windows[k] = value, (inside, value)
                case "remainder":
                    first = value * (1 << (plan.tables[0][0] - self.nodes[k]["shift"]))
                    self.claim(k, inside, value, kind)
                case _:
                    (second,), (remainder,), node = more, said.get(("remainder", k), [ZERO]), self.nodes[k]
                    first = (value + (1 << node["shift"] >> 1) - remainder) * pow(2, -node["shift"], P)
                    channel, (other, rectified) = split(inside, self.shapes[k])[1], (tags[x] for x in plan.clamps(k))
                    tag = (below(channel, node["stop"]) - below(channel, node["start"])) * (rectified - other) + other
                    self.claim(node["input"], inside, value)
                    self.claim(k, inside, second)
            offset, bits = plan.values.get((kind, k), (0, plan.group_bits + GROUP_BITS))
            groups = alphas[offset >> GROUP_BITS :][: 1 << max(0, bits - GROUP_BITS)]
            alpha = dot(groups, eq_table(inside[: variables(len(groups))]))
            p, d = p - selector * count, d - selector * (alpha - 1 - first - beta * second - gamma * tag)
        need(p == ZERO and d == ZERO, "lookup: the fractions are not those of this network's values and tables")

    def fractions_sum_to_zero(self) -> tuple[Point, E, E]:
        """Fractions p/(1 + d) are added in a binary tree. A claim on the leaves: point, p, d."""
        reader, point = self.reader, list[E]()
        p, (d,) = ZERO, reader.hear(1)
        need(d + 1 != ZERO, "lookup: a denominator is zero")
        for _ in range(variables(self.plan.count)):
            (mix,) = reader.draw(1)
            point, last = reader.eq_sum_check(p + mix * d, point, 2)
            p0, d0, p1, d1 = reader.hear(4)
            total = p0 * (d1 + 1) + p1 * (d0 + 1) + mix * (d0 + d1 + d0 * d1)
            need(total == last, "lookup: two fractions do not add up to the one above them")
            (r,) = reader.draw(1)
            p, d, point = p0 + r * (p1 - p0), d0 + r * (d1 - d0), [*point, r]
        return point, p, d

    def reduced(self, k: int, total: E, shape: Shape, weight: Callable[[Point], E]) -> Claim:
        """A sum-check of total = Σ weight·tensor: the point, and the tensor there, which the prover says."""
        point, last = self.reader.sum_check(total, variables(*shape))
        known, (value,) = weight(point), self.reader.hear(1)
        need(known * value == last, f"node {k} does not give what was claimed of it")
        return point, value

    def layer(self, k: int, claims: list[Claim]) -> None:
        """Claims on what a node gives become one, and then claims on what it reads."""
        node, shape, (point, value) = self.nodes[k], self.shapes[k], claims[0]
        if len(claims) > 1:
            mixed = powers(self.reader.draw(1)[0], len(claims))
            total = dot([value for _, value in claims], mixed)
            point, value = self.reduced(k, total, shape, lambda x: dot([eq(where, x) for where, _ in claims], mixed))
        parts = split(point, shape)
        match node["op"]:
            case "linear" | "conv2d":
                self.weighted(k, parts, value)
            case "flatten" | "concat" | "pad-channels":
                self.selection(k, parts, value)
            case "sum-pool" | "subsample":  # which has windows of one place
                self.window_sum(k, parts, [[ONE] * side for side in node["kernel"]], value)
            case "square":
                (where, last), (given,) = self.reader.eq_sum_check(value, point, 2), self.reader.hear(1)
                need(given * given == last, f"node {k}: the output is not the square of the input")
                self.claim(node["input"], where, given)
            case "add":
                values = self.reader.hear(len(node["inputs"]))
                total = sum((given * (1 << shift) for given, shift in zip(values, node["shifts"])), ZERO)
                need(total == value, f"node {k}: the summands do not add up to the claimed output")
                for source, given in zip(node["inputs"], values):
                    self.claim(source, point, given)
            case "offset":
                here = self.everywhere(k, parts) * fold(node["value"].values, node["value"].shape, parts[1])
                self.claim(node["input"], point, value - here)

    def everywhere(self, k: int, parts: list[Point]) -> E:
        """1 at the real places of the real pictures and 0 in padding, whatever the channel."""
        return prod((below(parts[axis], side) for axis, side in enumerate(self.shapes[k]) if axis != 1), start=ONE)

    def weight(self, k: int, rows: Point, columns: Point) -> E:
        """In groups, an output reads the inputs of its own group: elsewhere the matrix is zero."""
        (values, (out, inner, *kernel), _), groups = self.nodes[k]["weight"], self.nodes[k]["groups"]
        width, size, table, bound = inner * prod(kernel), out // groups, eq_table(rows), []
        for j in range(0, out, size):
            bound += [dot(values[j * width + c : (j + size) * width : width], table[j:]) for c in range(width)]
        return fold(bound, (groups * inner, *kernel), columns)

    def bias(self, k: int, rows: Point) -> E:
        return fold(self.nodes[k]["bias"].values, self.nodes[k]["bias"].shape, rows)

    def weighted(self, k: int, parts: list[Point], value: E) -> None:
        """Linear layers, and convolutions: a sum over channels and places of the kernel, then over the picture."""
        node, (batch, rows, *places) = self.nodes[k], parts
        rest = value - self.everywhere(k, parts) * self.bias(k, rows)
        inner = (self.shapes[node["input"]][1], *node["kernel"])
        where, given = self.reduced(k, rest, inner, partial(self.weight, k, rows))
        channel, *taps = split(where, inner)
        if taps:
            self.window_sum(k, [batch, channel, *places], list(map(eq_table, taps)), given)
        else:
            self.claim(node["input"], batch + channel, given)

    def window_sum(self, k: int, parts: list[Point], taps: list[list[E]], total: E) -> None:
        """total = Σ K(u) K(v) X(batch, channel, u, v): all windows over a picture, weighted by place and by output."""
        (batch, channel, *places), source = parts, self.nodes[k]["input"]
        kernels, sides = [self.spread(k, axis, places[axis], taps[axis]) for axis in (0, 1)], self.shapes[source][2:]
        weight = lambda x: prod(map(dot, kernels, map(eq_table, split(x, sides))), start=ONE)  # noqa: E731
        point, value = self.reduced(k, total, sides, weight)
        self.claim(source, batch + channel + point, value)

    def spread(self, k: int, axis: int, point: Point, taps: list[E]) -> list[E]:
        """K(u) = Σ eq(point, y)·taps[a] over all y, a with stride·y + dilation·a − padding = u."""
        node, out = self.nodes[k], [ZERO] * self.shapes[self.nodes[k]["input"]][2 + axis]
        for y, weight in enumerate(eq_table(point)[: self.shapes[k][2 + axis]]):
            for a, tap in enumerate(taps[: node["kernel"][axis]]):
                u = node["stride"][axis] * y + node["dilation"][axis] * a - node["padding"][2 * axis]
                if 0 <= u < len(out):
                    out[u] = out[u] + weight * tap
        return out

    def max_pool(self, k: int, point: Point, value: E) -> None:
        """The lookups left a claim on max − x, which is in a range table; that some max − x is 0 is shown here."""
        kernel, reader = self.nodes[k]["kernel"], self.reader
        where, last = reader.eq_sum_check(ZERO, reader.draw(self.plan.bits[k]), prod(kernel))
        values = reader.hear(prod(kernel))
        need(prod(values, start=ONE) == last, f"node {k}: a maximum is not an element of its window")
        place = reader.draw(variables(*kernel))
        self.pool_windows(k, point, value)
        self.pool_windows(k, place + where, fold(values, kernel, place))

    def pool_windows(self, k: int, point: Point, value: E) -> None:
        """A claim on max − x at (place in the window, output); outside the picture x is the lowest possible value."""
        node, shape = self.nodes[k], self.shapes[k]
        down, across, *parts = split(point, (*node["kernel"], *shape))
        taps = [eq_table(down), eq_table(across)]
        inside = below(down, node["kernel"][0]) * below(across, node["kernel"][1])
        rows, columns = (sum(self.spread(k, axis, parts[2 + axis], taps[axis]), ZERO) for axis in (0, 1))
        outside = self.everywhere(k, parts) * inside - below(parts[0], shape[0]) * rows * columns
        (maximum,) = self.reader.hear(1)
        self.claim(k, point[len(down + across) :], maximum)
        lowest = below(parts[1], shape[1]) * -self.plan.reach[node["input"]]
        self.window_sum(k, parts, taps, inside * maximum - outside * lowest - value)

    def selection(self, k: int, parts: list[Point], value: E) -> None:
        """Flatten, concatenate, pad channels: the values of an input stand in a row somewhere in the output."""
        node, (batch, *places), (_, *shape) = self.nodes[k], parts, self.shapes[k]
        totals = self.reader.hear(len(node["inputs"])) if len(node["inputs"]) > 1 else [value]
        need(sum(totals, ZERO) == value, f"node {k}: the parts do not add up to the claimed output")
        here = real_places(places, shape)[node["before"] * prod(shape[1:]) :]
        for source, total in zip(node["inputs"], totals):
            given = self.shapes[source][1:]
            where, said = self.reduced(k, total, given, partial(fold, here[: prod(given)], given))
            self.claim(source, batch + where, said)
            here = here[prod(given) :]


def rounded(node: Node, pictures: Tensor) -> list[int]:
    """What a picture becomes that is rounded before all else."""
    batch, channels, *sides = pictures.shape
    lows = [0 if node["start"] <= c < node["stop"] else node["low"] for c in range(channels)]
    given = zip(pictures.values, (low for _ in range(batch) for low in lows for _ in range(prod(sides))))
    return [min(max((x + (1 << node["shift"] >> 1)) >> node["shift"], low), node["high"]) for x, low in given]


# ---- `hidden`, `grouped_weights`
class CommitmentVerifier(Verifier):
    """Holds a commitment instead of weights: every evaluation of them is heard, and proven at the end."""

    def __init__(self, reader: Reader, plan: Plan, root: bytes) -> None:
        super().__init__(reader, plan)
        wanted: list[tuple[Name, int]] = []
        for k, node in ((k, node) for k, node in enumerate(self.nodes) if "weight" in node):
            (out, inner, *kernel), groups = node["weight"].shape, node["groups"]
            wanted += [((f"weight {tap}", k), variables(groups, out // groups, inner)) for tap in range(prod(kernel))]
            wanted += [((f"limb {limb}", k), variables(out)) for limb in (0, 1)]
        bits = variables(max(1, -(-placed(wanted)[1] >> GROUP_BITS)))
        self.blocks, size = placed([*wanted, (("counts", 0), 8 + bits), (("counts", 1), 16 + bits)])
        self.commitments.append(Commitment(reader, root, size))

    def weight(self, k: int, rows: Point, columns: Point) -> E:
        """In groups, the claim on the whole matrix becomes one on what is committed of it (group, out, in)."""
        (out, inner, *kernel), groups = self.nodes[k]["weight"].shape, self.nodes[k]["groups"]
        (value,), (column, *taps) = self.reader.hear(1), split(columns, (groups * inner, *kernel))
        point, claimed = rows + column, value
        if groups > 1:
            size, inputs = out // groups, eq_table(column)
            table = [a * b for j, a in enumerate(eq_table(rows)[:out]) for b in inputs[j // size * inner :][:inner]]
            point, claimed = self.reduced(k, value, (groups, size, inner), partial(fold, table, (groups, size, inner)))
        terms = [(self.blocks[f"weight {tap}", k][0], point, x) for tap, x in enumerate(real_places(taps, kernel))]
        self.commitments[-1].claims.append((terms, claimed))
        return value

    def bias(self, k: int, rows: Point) -> E:
        (value,) = self.reader.hear(1)
        terms = [(self.blocks[f"limb {limb}", k][0], rows, E(1 << 16 * limb)) for limb in (0, 1)]
        self.commitments[-1].claims.append((terms, value + below(rows, self.nodes[k]["weight"].shape[0]) * (1 << 31)))
        return value


# ---- `receipt`: MessagePack, in the one encoding that Assay writes
RANGES = {"B": range(1 << 8), "H": range(1 << 16), "I": range(1 << 32), "Q": range(1 << 64)}
RANGES |= {code.lower(): range(-held.stop // 2, held.stop // 2) for code, held in RANGES.items()}
# Numbers that are in their tag, by tag; the first of the tags before other numbers, and how these follow.
NUMBER = ({value & 0xFF: value for value in range(-32, 128)}, 0xCC, "BHIQbhiq")
LIST = ({0x90 | size: size for size in range(16)}, 0xDC, "H")
BYTES = (dict[int, int](), 0xC4, "BHI")


def read_number(data: BytesIO, kind: tuple[dict[int, int], int, str] = NUMBER) -> int:
    """Or the length of bytes or of a list; in its shortest form, or there is an error among MALFORMED."""
    (small, first, codes), (tag,) = kind, data.read(1)
    if tag in small:
        return small[tag]
    need(first <= tag < first + len(codes), f"a value of kind {tag:#x}")
    code, shorter = codes[tag - first], [small.values(), *(RANGES[other] for other in codes[: tag - first])]
    value = int(struct.unpack(">" + code, data.read(struct.calcsize(code)))[0])
    need(not any(value in held for held in shorter), "a number takes more bytes than it needs")
    return value


def read_bytes(data: BytesIO) -> bytes:
    need(len(content := data.read(length := read_number(data, BYTES))) == length, "it ends early")
    return content


def read_receipt(receipt: bytes) -> Receipt:
    data, begin = BytesIO(receipt), b"\x9c\xadassay receipt\x01"
    try:
        need(len(receipt) <= 1 << 30 and data.read(len(begin)) == begin, "version 1 begins otherwise, or is smaller")
        fields: Receipt = {name: read_bytes(data) for name in ("model", "architecture", "weights_root")}
        sizes = (read_number(data, LIST) for _ in range(read_number(data, LIST)))
        ranges = [(k, low, high) for k, low, high in ([read_number(data) for _ in range(size)] for size in sizes)]
        fields |= {"ranges": ranges} | {name: read_number(data) for name in ("queries", "batch")}
        fields |= {name: read_bytes(data) for name in ("nonce", "inputs", "outputs", "proof")}
        need(len(ranges) <= 10_000 and not data.read(1), "it has too many ranges, or bytes follow its end")
    except MALFORMED as error:
        raise Unreadable(f"this is not a receipt: {error}") from error
    need(len(fields["model"]) == 32 and 16 <= len(fields["nonce"]) <= 64, "a model has 32 bytes, a nonce 16 to 64")
    need(len(fields["weights_root"]) == (32 if fields["architecture"] else 0), "weights come with their architecture")
    need(all(-LARGEST <= low <= high <= LARGEST for _, low, high in ranges), "a range is empty or beyond the field")
    need(1 <= fields["batch"] <= 1 << 20, "a batch has 1 to 2**20 pictures")
    need(fields["queries"] == QUERIES, f"{QUERIES} columns are opened a commitment")
    return fields


# ---- `api`
def verify(
    receipt: Receipt, network: Network | None, commitment: bytes | None, pictures: Tensor | None, nonce: bytes | None
) -> list[list[int]]:
    """The outputs, one list a picture. Without `pictures` it trusts the receipt's, without a nonce it allows replay."""
    reader, root = Reader(receipt["proof"]), receipt["weights_root"]
    need(nonce is None or receipt["nonce"] == nonce, "this receipt answers another nonce")
    need(not (network and root), "this receipt is about committed weights; verify it with the commitment")
    nodes, text, name = network or read_architecture(receipt["architecture"], root, commitment)
    need(receipt["model"] == name, "this receipt is about another model")
    plan = Plan(nodes, receipt["batch"], receipt["ranges"])
    low, high = nodes[0]["low"], nodes[0]["high"]
    theirs = whole_numbers("B" if low >= 0 and high <= 255 else "q", receipt["inputs"], plan.shapes[0])
    need(low <= min(theirs.values) and max(theirs.values) <= high, "a picture is out of the network's range")
    need(pictures in (None, theirs), "this receipt is about other pictures than yours")
    outputs = whole_numbers("q", receipt["outputs"], plan.shapes[-1])
    need(outputs.reach <= LARGEST, "an answer is beyond the field")
    known = (in_bytes(QUERIES), text, name + root, in_bytes(*chain(*receipt["ranges"])), in_bytes(receipt["batch"]))
    for said in (*known, receipt["nonce"], receipt["inputs"], receipt["outputs"]):
        reader.bind(said)
    verifier = Verifier(reader, plan) if network else CommitmentVerifier(reader, plan, root)
    verifier.run(theirs, outputs)
    return [list(outputs.values[k : k + outputs.shape[1]]) for k in range(0, len(outputs.values), outputs.shape[1])]


def read_npz(path: Path) -> Tensor:
    """The array `x` of an .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            beginning, values = archive.read("x.npy").split(b"\n", 1)
        header = ast.literal_eval(beginning[beginning.index(b"{") :].decode())
        code = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "i8": "q"}[header["descr"][1:]]
        need(header["descr"][0] != ">" and not header["fortran_order"], "x must hold whole numbers, row by row")
        return whole_numbers(code, values, header["shape"])
    except (OSError, SyntaxError, zipfile.BadZipFile, *MALFORMED) as error:
        raise Unreadable(f"{path} does not hold pictures: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 accepted, 1 rejected, 2 unreadable."""
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
    except (OSError, MemoryError, Rejected) as error:
        code, verdict = (1, "rejected") if type(error) is Rejected else (2, "unreadable")
        print(f"{verdict}: {error}")
        return code
    print("accepted: labels", ", ".join(str(row.index(max(row))) for row in outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A verifier of Assay's receipts in one file, with nothing but Python's standard library: read it, then trust it.

    python -m assay.proof.standalone a.receipt --model net.assay --inputs digits.npz --nonce 000102…0f

It accepts exactly the receipts that `assay verify` accepts, in seconds instead of milliseconds
(VGG-16, one picture: 4.6 s of an EPYC core, Python 3.11). It checks that the
outputs in the receipt are what this integer network gives on these pictures, and never runs the network. Sources and
soundness are in the modules of `assay.proof` that are named like the sections here. A commitment to weights must have
been accepted before (`assay commit --accept`), which proves once that they are in range.

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
from typing import Any

P = (1 << 61) - 1
LARGEST = (P - 1) // 2
QUERIES = 150

Node = dict[str, Any]
Shape = tuple[int, ...]


class Rejected(Exception):
    """The receipt does not convince."""


class Unreadable(Rejected):
    """This is not a receipt, a network or a set of pictures."""


def need(holds: bool, sentence: str) -> None:
    if not holds:
        raise Rejected(sentence)


# ---- field: F_p² = F_p[i], i² = −1


class E:
    """re + im·i."""

    __slots__ = ("im", "re")

    def __init__(self, re: int, im: int = 0) -> None:
        self.re, self.im = re % P, im % P

    def __add__(self, other: E | int) -> E:
        return E(self.re + other.re, self.im + other.im) if isinstance(other, E) else E(self.re + other, self.im)

    def __neg__(self) -> E:
        return E(-self.re, -self.im)

    def __sub__(self, other: E | int) -> E:
        return self + -other

    def __rsub__(self, other: int) -> E:
        return -self + other

    def __mul__(self, other: E | int) -> E:
        if isinstance(other, int):
            return E(self.re * other, self.im * other)
        return E(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    def __pow__(self, exponent: int) -> E:
        power, square = ONE, self
        while exponent:
            power = power * square if exponent & 1 else power
            square, exponent = square * square, exponent >> 1
        return power

    def __eq__(self, other: object) -> bool:
        return isinstance(other, E) and (self.re, self.im) == (other.re, other.im)

    __radd__, __rmul__, __hash__ = __add__, __mul__, None  # type: ignore[assignment]

    def conjugate(self) -> E:
        return E(self.re, -self.im)

    def inverse(self) -> E:
        norm = pow(self.re * self.re + self.im * self.im, P - 2, P)
        return E(self.re * norm, -self.im * norm)


Point = list[E]
ZERO, ONE = E(0), E(1)
HALF, ROOT = E(2).inverse(), E(4, 1) ** ((P * P - 1) >> 62)  # ROOT has the order 2**62


def dot(a: Iterable[E], b: Iterable[E]) -> E:
    return sum((x * y for x, y in zip(a, b)), ZERO)


def powers(root: E, count: int) -> list[E]:
    found = [ONE]
    while len(found) < count:
        found.append(found[-1] * root)
    return found


# ---- transcript


class Reader:
    """Hears a proof in order; challenges are hashes of all that came before."""

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
        words = struct.unpack(f"<{2 * count}Q", self.hear_bytes(16 * count))
        need(all(word < P for word in words), "a field element is not canonical")
        return [E(re, im) for re, im in zip(words[::2], words[1::2])]

    def squeeze(self) -> bytes:
        self.state = hashlib.sha256(self.state + b"draw").digest()
        return self.state

    def draw(self) -> E:
        digest = self.squeeze()
        return E(int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little"))

    def draws(self, count: int) -> Point:
        return [self.draw() for _ in range(count)]

    def draw_indices(self, count: int, bits: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            found += [word & ((1 << bits) - 1) for word in struct.unpack("<8I", self.squeeze())]
        return found[:count]


# ---- multilinear: points list the slowest variable first; axes are padded to powers of two


def variables(size: int) -> int:
    return (size - 1).bit_length()


def all_variables(shape: Iterable[int]) -> int:
    return sum(map(variables, shape))


def split(point: Point, shape: Iterable[int]) -> list[Point]:
    parts, start = [], 0
    for size in shape:
        parts.append(point[start : start + variables(size)])
        start += variables(size)
    return parts


def eq(a: Point, b: Point) -> E:
    product = ONE
    for x, y in zip(a, b):
        both = x * y
        product = product * (both + both - x - y + 1)
    return product


def at(point: Point, index: int) -> E:
    return eq(point, [E(index >> k & 1) for k in reversed(range(len(point)))])


def eq_table(point: Point) -> list[E]:
    table = [ONE]
    for r in point:
        high = [value * r for value in table]
        table = [part for value, up in zip(table, high) for part in (value - up, up)]
    return table


def prefix(point: Point, count: int) -> tuple[E, E]:
    """Σ eq(point, j) and Σ j·eq(point, j) over all j < count."""
    inside, index, path, start = ZERO, ZERO, ONE, 0
    for k, r in enumerate([ZERO, *point] if count >> len(point) else point):
        rest = len(point) - k - (0 if count >> len(point) else 1)
        if count >> rest & 1:  # the block of j from start to start + 2**rest
            mean = sum((s * (1 << (rest - 1 - i)) for i, s in enumerate(point[len(point) - rest :])), ZERO)
            inside, index = inside + path * (1 - r), index + path * (1 - r) * (mean + start)
            path, start = path * r, start + (1 << rest)
        else:
            path = path * (1 - r)
    return inside, index


def below(point: Point, count: int) -> E:
    return prefix(point, min(count, 1 << len(point)))[0]


class Tensor:
    """Whole numbers, row by row."""

    def __init__(self, values: array[int], shape: Iterable[int]) -> None:
        self.values, self.shape = values, tuple(shape)

    @property
    def reach(self) -> int:
        return max(max(self.values), -min(self.values), 0)


def combine(numbers: Sequence[int], columns: int, weights: list[E]) -> list[E]:
    """Σ_r weights[r]·row r: one element a column."""
    re, im = [w.re for w in weights], [w.im for w in weights]
    parts = (numbers[c::columns] for c in range(columns))
    return [E(sum(map(mul, part, re)), sum(map(mul, part, im))) for part in parts]


def fold(table: list[E], shape: Iterable[int], point: Point) -> E:
    """The extension of a list of elements of this shape."""
    for size, part in zip(shape, split(point, shape)):
        columns, weights = len(table) // size, eq_table(part)
        table = [dot(table[c::columns], weights) for c in range(columns)]
    return table[0]


def tensor_at(tensor: Tensor, point: Point) -> E:
    first = variables(tensor.shape[0])
    table = combine(tensor.values, prod(tensor.shape[1:]), eq_table(point[:first]))
    return fold(table, tensor.shape[1:], point[first:])


# ---- sumcheck


def interpolate(values: list[E], x: E) -> E:
    total = ZERO
    for k, value in enumerate(values):
        others = [j for j in range(len(values)) if j != k]
        above = prod((x - j for j in others), start=ONE)
        total = total + value * above * E(prod(k - j for j in others)).inverse()
    return total


def sum_of_products(reader: Reader, claim: E, n: int) -> tuple[Point, E]:
    point: Point = []
    for _ in range(n):
        g0, g2 = reader.hear(2)
        point.insert(0, reader.draw())
        claim = interpolate([g0, claim - g0, g2], point[0])
    return point, claim


def weighted_sum(reader: Reader, claim: E, eq_point: Point, degree: int) -> tuple[Point, E]:
    point: Point = []
    for e in reversed(eq_point):
        values = reader.hear(degree + 1)
        need((1 - e) * values[0] + e * values[1] == claim, "a sum-check message does not add up to the running claim")
        point.insert(0, reader.draw())
        claim = interpolate(values, point[0])
    return point, claim


# ---- commitment

Claim = tuple[list[tuple[int, Point, E]], E]
"""Terms (offset, point, coefficient), and what they add up to."""


class Layout:
    """The matrix of a committed vector: rows of 2·2**bits values; of all, the one with the smallest opening."""

    cost: int

    def __init__(self, size: int, bits: int | None = None) -> None:
        if bits is None:
            most = min(max(0, variables(size) - 1), 22)
            bits = min(range(most + 1), key=lambda candidate: Layout(size, candidate).cost)
        self.bits, self.depth, self.rows = bits, bits + 2, -(-size // (2 << bits))
        self.variables = variables(self.rows) + 1 + bits
        columns = min(QUERIES, 4 << bits)
        paths = columns * max(0, self.depth - columns.bit_length() + 2) * 32
        self.cost = 16 * ((2 << bits) + columns * self.rows + 2 * self.variables) + paths


def encode(message: list[E]) -> list[E]:
    """The polynomial with these coefficients at all roots of order 4C: four cosets, each in bit-reversed order."""
    size, word = len(message), []
    shifts = powers(ROOT ** (1 << (60 - variables(size))), 4 * size)
    twiddles = shifts[::4]
    for coset in range(4):
        work, half = [value * shifts[coset * k] for k, value in enumerate(message)], size // 2
        while half:
            for start in range(0, size, 2 * half):
                for k in range(start, start + half):
                    a, b = work[k], work[k + half]
                    work[k], work[k + half] = a + b, (a - b) * twiddles[(k - start) * (size // (2 * half))]
            half //= 2
        word += work
    return word


def missing_nodes(positions: Iterable[int], depth: int) -> list[tuple[int, int]]:
    known, missing = set(positions), []
    for level in range(depth):
        missing += [(level, index ^ 1) for index in sorted(known) if index ^ 1 not in known]
        known = {index >> 1 for index in known}
    return missing


def check_leaves(root: bytes, depth: int, known: dict[int, bytes], siblings: bytes) -> None:
    sent = {place: siblings[32 * k : 32 * k + 32] for k, place in enumerate(missing_nodes(known, depth))}
    for level in range(depth):
        whole = known | {index: node for (where, index), node in sent.items() if where == level}
        known = {i >> 1: hashlib.sha256(b"\x01" + whole[i & ~1] + whole[i | 1]).digest() for i in known}
    need(known == {0: root}, "an opened column does not lie under the committed Merkle root")


def verify_claims(reader: Reader, root: bytes, layout: Layout, claims: list[Claim]) -> None:
    mixed = powers(reader.draw(), len(claims))
    point, last = sum_of_products(reader, dot(mixed, [value for _, value in claims]), layout.variables)
    weight = ZERO
    for power, (terms, _) in zip(mixed, claims):
        for offset, where, coefficient in terms:
            high = len(point) - len(where)
            here = at(point[:high], offset >> len(where)) * eq(where, point[high:])
            weight = weight + power * coefficient * here
    need(open_at(reader, root, layout, point) * weight == last, "the committed vector disagrees with the claims on it")


def open_at(reader: Reader, root: bytes, layout: Layout, point: Point) -> E:
    size, row_bits, rows = 1 << layout.bits, variables(layout.rows), layout.rows
    both = reader.hear(2 * size)
    real, imaginary = both[:size], both[size:]
    places = sorted(set(reader.draw_indices(QUERIES, layout.depth)))
    entries = reader.hear(len(places) * rows)
    columns = {place: entries[k * rows : (k + 1) * rows] for k, place in enumerate(places)}
    siblings = reader.hear_bytes(32 * len(missing_nodes(places, layout.depth)))
    leaves = {k: hashlib.sha256(b"\x00" + b"".join(map(to_bytes, column))).digest() for k, column in columns.items()}
    check_leaves(root, layout.depth, leaves, siblings)
    weights = eq_table(point[:row_bits])
    for turn in (lambda x: x, E.conjugate):
        word = encode([turn(a) + E(0, 1) * turn(b) for a, b in zip(real, imaginary)])
        turned = [turn(weight) for weight in weights]
        good = all(dot(column, turned) == word[k] for k, column in columns.items())
        need(good, "an opened column disagrees with the combined row")
    table, part = eq_table(point[row_bits + 1 :]), point[row_bits]
    return (1 - part) * dot(real, table) + part * dot(imaginary, table)


def to_bytes(element: E) -> bytes:
    return struct.pack("<2Q", element.re, element.im)


# ---- network

ARRAYS = {"offset": ("value",), "conv2d": ("weight", "bias"), "linear": ("weight", "bias")}
TYPES = {"I8": "b", "I16": "h", "I32": "i", "I64": "q"}


def whole_numbers(code: str, data: bytes) -> array[int]:
    values = array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def read_network(data: bytes) -> tuple[list[Node], bytes, bytes]:
    """Nodes of a net.assay file; its graph as text; its digest, computed anew."""
    try:
        length = int.from_bytes(data[:8], "little")
        header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
        metadata = header.pop("__metadata__")
        text = metadata["assay.network"].encode()
        nodes: list[Node] = json.loads(text)["nodes"]
        parts = [text]
        for name, field, node in ((f"{k}.{f}", f, n) for k, n in enumerate(nodes) for f in ARRAYS.get(n["op"], ())):
            entry = header[name]
            values = whole_numbers(TYPES[entry["dtype"]], body[slice(*entry["data_offsets"])])
            node[field] = Tensor(values, entry["shape"])
            if len(values) != prod(entry["shape"]):
                raise ValueError(f"tensor {name} does not fill its bytes")
            parts += [
                name.encode(),
                numbers(entry["shape"]),
                whole_numbers("q", array("q", values).tobytes()).tobytes(),
            ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"this is not an integer network: {error}") from error
    framed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    digest = hashlib.sha256(b"assay.integer/1" + framed).digest()
    if digest.hex() != metadata["assay.digest"]:
        raise Unreadable("this network is not the one that its digest names")
    return nodes, text, digest


def numbers(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


def sources(node: Node) -> list[int]:
    return list(node["inputs"]) if "inputs" in node else [node["input"]] if "input" in node else []


def kernel_of(node: Node) -> Shape:
    return tuple(node["weight"].shape[2:] if node["op"] == "conv2d" else node["kernel"])


def shape_of(node: Node, given: list[Shape]) -> Shape:
    match node["op"]:
        case "input":
            return tuple(node["shape"])
        case "linear":
            return (node["weight"].shape[0],)
        case "flatten":
            return (prod(given[0]),)
        case "concat":
            return (sum(shape[0] for shape in given), *given[0][1:])
        case "subsample":
            return (given[0][0], *(-(-side // step) for side, step in zip(given[0][1:], node["stride"])))
        case "pad-channels":
            return (node["before"] + given[0][0] + node["after"], *given[0][1:])
        case "conv2d" | "sum-pool" | "max-pool":
            channels = node["weight"].shape[0] if node["op"] == "conv2d" else given[0][0]
            sides = zip(given[0][1:], kernel_of(node), node["stride"], node.get("dilation", (1, 1)))
            ends = [sum(node["padding"][:2]), sum(node["padding"][2:])]
            return (channels, *((x + end - d * (k - 1) - 1) // s + 1 for (x, k, s, d), end in zip(sides, ends)))
        case _:
            return given[0]


def loose_interval(node: Node, given: list[tuple[int, int]], limits: tuple[int, int]) -> tuple[int, int]:
    """What values can be at most, from sizes of weights alone."""
    low, high = min((x for x, _ in given), default=0), max((x for _, x in given), default=0)
    match node["op"]:
        case "input" | "requantise":
            return node["low"], node["high"]
        case "offset":
            return low + min(node["value"].values), high + max(node["value"].values)
        case "conv2d" | "linear":
            shape = node["weight"].shape
            reach = (prod(shape[2:]) << variables(shape[1])) * limits[0] * max(-low, high) + limits[1]
            return -reach, reach
        case "add":
            return sum(x << s for (x, _), s in zip(given, node["shifts"])), sum(
                x << s for (_, x), s in zip(given, node["shifts"])
            )
        case "sum-pool":
            return min(low, 0) * prod(node["kernel"]), max(high, 0) * prod(node["kernel"])
        case "square":
            return 0, max(low * low, high * high)
        case _:
            return min(low, 0), max(high, 0)


# ---- plan


class Block:
    """2**bits entries of a longer vector."""

    def __init__(self, bits: int, offset: int) -> None:
        self.bits, self.offset = bits, offset

    def locate(self, point: Point) -> tuple[E, Point]:
        """1 inside and 0 outside, extended; and the variables of places inside."""
        high = len(point) - self.bits
        return at(point[:high], self.offset >> self.bits), point[high:]


def placed(wanted: list[tuple[tuple[str, int], int]]) -> tuple[dict[tuple[str, int], Block], int]:
    """Blocks by name, largest first, and the length of all."""
    blocks, end = {}, 0
    for name, bits in sorted(wanted, key=lambda entry: -entry[1]):
        blocks[name] = Block(bits, end)
        end += 1 << bits
    return blocks, end


class Table:
    """(q, clamp(q, low, high)) for 2**bits numbers q from `start` on; without bounds, (q, 0)."""

    def __init__(self, bits: int, start: int = 0, bounds: tuple[int, int] | None = None) -> None:
        self.bits, self.start, self.bounds = bits, start, bounds

    def at(self, point: Point) -> tuple[E, E]:
        size = 1 << self.bits
        q = prefix(point, size)[1] + self.start
        if self.bounds is None:
            return q, ZERO
        low, high = self.bounds
        first, last = (prefix(point, min(max(x - self.start, 0), size)) for x in (low, high + 1))
        between = (last[0] - first[0]) * self.start + last[1] - first[1]
        return q, first[0] * low + between + (1 - last[0]) * high


class Plan:
    """Sizes and places of everything in the proof of one batch."""

    def __init__(self, nodes: list[Node], batch: int, intervals: dict[int, tuple[int, int]], limits: Limits) -> None:
        self.nodes, self.batch, self.intervals = nodes, batch, intervals
        self.shapes: list[Shape] = []
        self.loose: list[tuple[int, int]] = []
        for node in nodes:
            self.shapes.append(shape_of(node, [self.shapes[i] for i in sources(node)]))
            weighted = limits(node) if "weight" in node else (0, 0)
            self.loose.append(loose_interval(node, [self.loose[i] for i in sources(node)], weighted))
        self.looked_up = [k for k, node in enumerate(nodes) if node["op"] in ("requantise", "relu", "max-pool")]
        need(max(self.bits(k) for k in range(len(nodes))) <= 40, "a tensor is too large for a proof")
        need(sorted(intervals) == self.looked_up, "the ranges of looked-up values do not belong to this network")
        self.tables = self._tables() if self.looked_up else []
        remainders = [(("remainder", k), self.bits(k)) for k in self.looked_up if self.shift(k)]
        outputs = [(("output", k), self.bits(k)) for k in self.looked_up]
        counts = [(("counts", tag), table.bits) for tag, table in enumerate(self.tables)]
        self.columns, self.committed = placed(outputs + remainders + counts)
        values = [(self._looked(k), self.bits(k) + self._window_bits(k)) for k in self.looked_up]
        rows = [(("table", tag), bits) for (_, tag), bits in counts]
        self.fractions, self.count = placed(values + remainders + rows)
        need(self.committed <= 1 << 28 and self.count <= 1 << 29, "the batch is too large for one proof")

    def shape(self, k: int) -> Shape:
        return (self.batch, *self.shapes[k])

    def bits(self, k: int) -> int:
        return all_variables(self.shape(k))

    def shift(self, k: int) -> int:
        return int(self.nodes[k].get("shift", 0))

    def half(self, k: int) -> int:
        return (1 << self.shift(k)) >> 1

    def _looked(self, k: int) -> tuple[str, int]:
        return ("window" if self.nodes[k]["op"] == "max-pool" else "activation"), k

    def _window_bits(self, k: int) -> int:
        return all_variables(self.nodes[k]["kernel"]) if self.nodes[k]["op"] == "max-pool" else 0

    def clamps(self, k: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(low, high) for channels outside [start, stop), and inside."""
        node = self.nodes[k]
        plain = (node["low"], node["high"]) if node["op"] == "requantise" else (-LARGEST, LARGEST)
        if node["start"] >= node["stop"]:
            return plain, plain
        everywhere = node["start"] == 0 and node["stop"] == self.shapes[k][0]
        return ((0, plain[1]) if everywhere else plain), (0, plain[1])

    def _tables(self) -> list[Table]:
        range_bits = max(map(self.shift, self.looked_up))
        spans: dict[tuple[int, int], list[int]] = {}
        for k in self.looked_up:
            low, high = self.intervals[k]
            if self.nodes[k]["op"] == "max-pool":
                range_bits = max(range_bits, (high - low).bit_length())
                continue
            for clamp in self.clamps(k):
                spans.setdefault(clamp, [0]).extend((x + self.half(k)) >> self.shift(k) for x in (low, high))
        tables = [
            Table(variables(max(ends) - min(ends) + 1), min(ends), clamp) for clamp, ends in sorted(spans.items())
        ]
        widest = max(range_bits, *(table.bits for table in tables)) if tables else range_bits
        need(widest <= 20, "a lookup table is too large")
        furthest = max((abs(table.start).bit_length() for table in tables), default=0)
        for k in self.looked_up:
            low, high = self.loose[sources(self.nodes[k])[0]]
            reach = (max(-low, high) + (1 << self.shift(k))).bit_length()
            most = max(reach, widest + self.shift(k) + 1, furthest + self.shift(k) + 1)
            need(range_bits + most <= 59, "values could wrap around in the field")
        return [Table(range_bits), *tables]

    def tag_at(self, k: int, point: Point) -> E:
        tags = {table.bounds: tag for tag, table in enumerate(self.tables)}
        outside, inside = (tags[clamp] for clamp in self.clamps(k))
        channel, node = split(point, self.shape(k))[1], self.nodes[k]
        return (below(channel, node["stop"]) - below(channel, node["start"])) * (inside - outside) + outside


Limits = Callable[[Node], tuple[int, int]]
"""Largest magnitude of a layer's weights, and of its biases."""


# ---- lookup


def fractions_sum_to_zero(reader: Reader, size: int) -> tuple[Point, E, E]:
    """A claim on the leaves: point, numerator, denominator less one."""
    point: Point = []
    p, (d,) = ZERO, reader.hear(1)
    need(d + 1 != ZERO, "lookup: a denominator is zero")
    for _ in range(variables(size)):
        mix = reader.draw()
        point, last = weighted_sum(reader, p + mix * d, point, 2)
        p0, d0, p1, d1 = reader.hear(4)
        total = p0 * (d1 + 1) + p1 * (d0 + 1) + mix * (d0 + d1 + d0 * d1)
        need(total == last, "lookup: two fractions do not add up to the one above them")
        r = reader.draw()
        p, d = p0 + r * (p1 - p0), d0 + r * (d1 - d0)
        point = [*point, r]
    return point, p, d


class Verifier:
    """Walks the network backwards: a claim on the output of node k becomes claims on its inputs."""

    def __init__(self, reader: Reader, plan: Plan, weights: PublicWeights | CommittedWeights) -> None:
        self.reader, self.plan, self.weights = reader, plan, weights
        self.columns: list[Claim] = []
        self.tensors: dict[int, list[tuple[Point, E]]] = {}

    def on_column(self, kind: str, about: int, point: Point, value: E) -> None:
        self.columns.append(([(self.plan.columns[kind, about].offset, point, ONE)], value))

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
        self.on_tensor(last, point, tensor_at(outputs, point))
        for k in range(last, 0, -1):
            if k in windows:
                self.max_pool(k, *windows[k])
            elif claims := self.tensors.pop(k, []):
                LAYERS[plan.nodes[k]["op"]](self, k, *self.merged(k, claims))
        for where, value in self.tensors.pop(0, []):
            need(tensor_at(pictures, where) == value, "the proof is about another picture")
        if plan.looked_up:
            verify_claims(reader, root, Layout(plan.committed), self.columns)
        self.weights.finish(reader)
        need(reader.place == len(reader.proof), "bytes follow the end of the proof")

    def lookups(self) -> dict[int, tuple[Point, E]]:
        """Claims on the windows of max pools, by node."""
        reader, plan = self.reader, self.plan
        alpha, beta = reader.draws(2)
        point, p, d = fractions_sum_to_zero(reader, plan.count)
        said: dict[tuple[str, int], E] = {}
        windows = {}
        for (kind, k), block in plan.fractions.items():
            if kind == "remainder":
                continue  # said with its activation
            inside = block.locate(point)[1]
            parts = {"window": ["window"], "table": ["counts"]}.get(kind, ["input", "output"])
            if kind == "activation" and plan.shift(k):
                parts.insert(1, "remainder")
            for part, value in zip(parts, reader.hear(len(parts))):
                said[part, k] = value
                if part == "window":
                    windows[k] = (inside, value)
                elif part == "input":
                    self.on_tensor(sources(plan.nodes[k])[0], inside, value)
                else:
                    self.on_column(part, k, inside, value)
        for (kind, k), block in plan.fractions.items():
            selector, inside = block.locate(point)
            first, second, tag = self.row(kind, k, inside, said)
            p = p - selector * (-said["counts", k] if kind == "table" else ONE)
            d = d - selector * (alpha - 1 - first - beta * (second + beta * tag))
        need(p == ZERO and d == ZERO, "lookup: the fractions are not those of this network's values and tables")
        return windows

    def row(self, kind: str, k: int, inside: Point, said: dict[tuple[str, int], E]) -> tuple[E, E, E]:
        """Both columns and the tag of the rows of one block."""
        plan = self.plan
        if kind == "table":
            return *plan.tables[k].at(inside), E(k)
        if kind == "window":
            return said["window", k], ZERO, ZERO
        if kind == "remainder":
            return said["remainder", k] * (1 << (plan.tables[0].bits - plan.shift(k))), ZERO, ZERO
        raised = said["input", k] + plan.half(k) - said.get(("remainder", k), ZERO)
        return raised * HALF ** plan.shift(k), said["output", k], plan.tag_at(k, inside)

    # -- layers

    def merged(self, k: int, claims: list[tuple[Point, E]]) -> tuple[Point, E]:
        if len(claims) == 1:
            return claims[0]
        mixed = powers(self.reader.draw(), len(claims))
        total = dot(mixed, (value for _, value in claims))
        weight = lambda point: dot(mixed, (eq(where, point) for where, _ in claims))  # noqa: E731
        return self.reduced(total, self.plan.bits(k), weight, f"the claims on tensor {k} do not agree")

    def reduced(self, total: E, n: int, weight: Callable[[Point], E], sentence: str) -> tuple[Point, E]:
        """A sum-check of total = Σ weight·tensor: the point, and the tensor there, which the prover says."""
        point, last = sum_of_products(self.reader, total, n)
        known = weight(point)
        (value,) = self.reader.hear(1)
        need(known * value == last, sentence)
        return point, value

    def everywhere(self, k: int, parts: list[Point]) -> E:
        """Inside the real pictures and their real places."""
        sides = zip(parts[2:], self.plan.shapes[k][1:])
        return prod((below(part, side) for part, side in sides), start=below(parts[0], self.plan.batch))

    def weighted(self, k: int, point: Point, value: E) -> None:
        """Linear layers and convolutions."""
        node, plan = self.plan.nodes[k], self.plan
        (source,), parts = sources(node), split(point, plan.shape(k))
        rest = value - self.everywhere(k, parts) * self.weights.bias(self.reader, k, parts[1])
        inner = (plan.shapes[source][0], *node["weight"].shape[2:])
        weight = lambda where: self.weights.weight(self.reader, k, parts[1], where)  # noqa: E731
        where, given = self.reduced(rest, all_variables(inner), weight, f"node {k} does not give the claimed output")
        channel, *taps = split(where, inner)
        if not taps:
            return self.on_tensor(source, parts[0] + channel, given)
        kernels = [self.spread(k, axis, parts[2 + axis], eq_table(taps[axis])) for axis in (0, 1)]
        return self.window_sum(source, parts[0] + channel, kernels, given)

    def spread(self, k: int, axis: int, point: Point, taps: list[E]) -> list[E]:
        """K(u) = Σ eq(point, y)·taps[a] over all y, a with stride·y + dilation·a − padding = u."""
        node = self.plan.nodes[k]
        out, weights = [ZERO] * self.plan.shapes[sources(node)[0]][1 + axis], eq_table(point)
        stride, dilation = node["stride"][axis], node.get("dilation", (1, 1))[axis]
        for y in range(self.plan.shapes[k][1 + axis]):
            for a in range(kernel_of(node)[axis]):
                u = stride * y + dilation * a - node["padding"][2 * axis]
                if 0 <= u < len(out):
                    out[u] = out[u] + weights[y] * taps[a]
        return out

    def window_sum(self, source: int, head: Point, kernels: list[list[E]], total: E) -> None:
        sides = self.plan.shapes[source][1:]
        weight = lambda where: prod(  # noqa: E731
            (dot(kernel, eq_table(part)) for kernel, part in zip(kernels, split(where, sides))), start=ONE
        )
        sentence = f"the windows over tensor {source} do not add up to the claimed output"
        point, value = self.reduced(total, all_variables(sides), weight, sentence)
        self.on_tensor(source, head + point, value)

    def sum_pool(self, k: int, point: Point, value: E) -> None:
        node, parts = self.plan.nodes[k], split(point, self.plan.shape(k))
        kernels = [self.spread(k, axis, parts[2 + axis], [ONE] * node["kernel"][axis]) for axis in (0, 1)]
        self.window_sum(node["input"], parts[0] + parts[1], kernels, value)

    def max_pool(self, k: int, point: Point, value: E) -> None:
        """`value` is the claim on max − x that the lookups left."""
        node, reader = self.plan.nodes[k], self.reader
        where, last = weighted_sum(reader, ZERO, reader.draws(self.plan.bits(k)), prod(node["kernel"]))
        values = reader.hear(prod(node["kernel"]))
        need(prod(values, start=ONE) == last, f"node {k}: a maximum is not an element of its window")
        place = reader.draws(all_variables(node["kernel"]))
        tables = [eq_table(part)[:size] for part, size in zip(split(place, node["kernel"]), node["kernel"])]
        second = dot((a * b for a in tables[0] for b in tables[1]), values)
        for at_point, claimed in ((point, value), (place + where, second)):
            self.pool_windows(k, at_point, claimed)

    def pool_windows(self, k: int, point: Point, value: E) -> None:
        """A claim on max − x at (place in the window, output)."""
        node, plan = self.plan.nodes[k], self.plan
        kernel, sides = node["kernel"], plan.shapes[node["input"]][1:]
        *taps, batch, channel, rows, columns = split(point, (*kernel, *plan.shape(k)))
        kernels = [self.spread(k, axis, (rows, columns)[axis], eq_table(taps[axis])) for axis in (0, 1)]
        inside = below(taps[0], kernel[0]) * below(taps[1], kernel[1])
        places = below(rows, plan.shapes[k][1]) * below(columns, plan.shapes[k][2])
        outside = inside * places - sum(kernels[0], ZERO) * sum(kernels[1], ZERO)
        real = below(batch, plan.batch) * below(channel, plan.shapes[k][0])
        (maximum,) = self.reader.hear(1)
        self.on_tensor(k, batch + channel + rows + columns, maximum)
        total = inside * maximum - real * outside * plan.loose[node["input"]][0] - value
        plain = kernel == node["stride"] and not any(node["padding"]) and node["dilation"] == [1, 1]
        if plain and all(n & (n - 1) == 0 and side % n == 0 for n, side in zip(kernel, sides)):
            self.on_tensor(node["input"], batch + channel + rows + taps[0] + columns + taps[1], total)
        else:
            self.window_sum(node["input"], batch + channel, kernels, total)

    def square(self, k: int, point: Point, value: E) -> None:
        where, last = weighted_sum(self.reader, value, point, 2)
        (given,) = self.reader.hear(1)
        need(given * given == last, f"node {k}: the output is not the square of the input")
        self.on_tensor(self.plan.nodes[k]["input"], where, given)

    def add(self, k: int, point: Point, value: E) -> None:
        node = self.plan.nodes[k]
        values = self.reader.hear(len(node["inputs"]))
        total = dot(values, (E(1 << shift) for shift in node["shifts"]))
        need(total == value, f"node {k}: the summands do not add up to the claimed output")
        for source, given in zip(node["inputs"], values):
            self.on_tensor(source, point, given)

    def offset(self, k: int, point: Point, value: E) -> None:
        node, parts = self.plan.nodes[k], split(point, self.plan.shape(k))
        shift = combine(node["value"].values, 1, eq_table(parts[1]))[0]
        self.on_tensor(node["input"], point, value - self.everywhere(k, parts) * shift)

    def selection(self, k: int, point: Point, value: E) -> None:
        """Flatten, concatenate, subsample, pad channels: values move, and stay what they are."""
        node, plan = self.plan.nodes[k], self.plan
        parts, given = split(point, plan.shape(k)), [plan.shapes[source] for source in sources(node)]
        if node["op"] == "flatten" and all(size & (size - 1) == 0 for size in given[0][1:]):
            return self.on_tensor(node["input"], point, value)
        steps = list(zip(node.get("stride", ()), given[0][1:], plan.shapes[k][1:]))
        if steps and all(s & (s - 1) == 0 and variables(side) == variables(n) + variables(s) for s, side, n in steps):
            zeros = [[ZERO] * variables(s) for s in node["stride"]]
            where = parts[0] + parts[1] + parts[2] + zeros[0] + parts[3] + zeros[1]
            return self.on_tensor(node["input"], where, value)
        totals = self.reader.hear(len(given)) if len(given) > 1 else [value]
        need(sum(totals, ZERO) == value, f"node {k}: the parts do not add up to the claimed output")
        here = real_places([r for part in parts[1:] for r in part], plan.shapes[k])
        for which, (source, total) in enumerate(zip(sources(node), totals)):
            pairs = moved(node, given, which, plan.shapes[k])

            def weight(where: Point, shape: Shape = given[which], pairs: list[tuple[int, int]] = pairs) -> E:
                there = real_places(where, shape)
                return sum((here[j] * there[i] for j, i in pairs), ZERO)

            sentence = f"node {k}: the output does not hold the values of the input"
            where, x = self.reduced(total, all_variables(given[which]), weight, sentence)
            self.on_tensor(source, parts[0] + where, x)
        return None


def moved(node: Node, given: list[Shape], which: int, shape: Shape) -> list[tuple[int, int]]:
    """(place in the output, place in this input) of every value that is moved."""
    if node["op"] == "subsample":
        (_, height, width), (down, right) = given[0], node["stride"]
        places = ((c, y, x) for c in range(shape[0]) for y in range(shape[1]) for x in range(shape[2]))
        return [(j, (c * height + down * y) * width + right * x) for j, (c, y, x) in enumerate(places)]
    first = node["before"] * prod(shape[1:]) if node["op"] == "pad-channels" else sum(map(prod, given[:which]))
    return [(first + i, i) for i in range(prod(given[which]))]


def real_places(point: Point, shape: Shape) -> list[E]:
    """eq(point, ·) at the places of a tensor that are not padding."""
    table, places = eq_table(point), [0]
    for size in shape:
        places = [(place << variables(size)) + k for place in places for k in range(size)]
    return [table[place] for place in places]


LAYERS: dict[str, Callable[[Verifier, int, Point, E], None]] = {
    **{"linear": Verifier.weighted, "conv2d": Verifier.weighted, "sum-pool": Verifier.sum_pool},
    **{"square": Verifier.square, "add": Verifier.add, "offset": Verifier.offset},
    **dict.fromkeys(("flatten", "concat", "subsample", "pad-channels"), Verifier.selection),
}


# ---- weights


class PublicWeights:
    """The verifier holds the network."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def weight(self, reader: Reader, k: int, rows: Point, columns: Point) -> E:
        tensor, table, groups = self.nodes[k]["weight"], eq_table(rows), self.nodes[k].get("groups", 1)
        size, width, bound = tensor.shape[0] // groups, prod(tensor.shape[1:]), []
        for j in range(0, groups * size, size):
            bound += combine(tensor.values[j * width : (j + size) * width], width, table[j : j + size])
        return fold(bound, (groups * tensor.shape[1], *tensor.shape[2:]), columns)

    def bias(self, reader: Reader, k: int, rows: Point) -> E:
        return combine(self.nodes[k]["bias"].values, 1, eq_table(rows))[0]

    def finish(self, reader: Reader) -> None:
        """Nothing was taken on trust."""


class CommittedWeights:
    """The verifier holds a commitment: every evaluation is heard now and proven at the end."""

    def __init__(self, nodes: list[Node], root: bytes) -> None:
        self.nodes, self.root = nodes, root
        self.claims: list[Claim] = []
        wanted = []
        for k, shape in ((k, node["weight"].shape) for k, node in enumerate(nodes) if "weight" in node):
            wanted += [((f"weight {tap}", k), all_variables(shape[:2])) for tap in range(prod(shape[2:]))]
            wanted += [((f"limb {limb}", k), variables(shape[0])) for limb in (0, 1)]
        self.blocks, self.size = placed([*wanted, (("counts", 0), 8), (("counts", 1), 16)])

    def weight(self, reader: Reader, k: int, rows: Point, columns: Point) -> E:
        shape = self.nodes[k]["weight"].shape
        (value,), (inner, *taps) = reader.hear(1), split(columns, shape[1:])
        coefficients = [ONE]
        for axis, side in zip(taps, shape[2:]):
            coefficients = [c * at(axis, place) for c in coefficients for place in range(side)]
        offsets = (self.blocks[f"weight {tap}", k].offset for tap in range(len(coefficients)))
        self.claims.append(([(offset, rows + inner, c) for offset, c in zip(offsets, coefficients)], value))
        return value

    def bias(self, reader: Reader, k: int, rows: Point) -> E:
        (value,) = reader.hear(1)
        terms = [(self.blocks[f"limb {limb}", k].offset, rows, E(1 << 16 * limb)) for limb in (0, 1)]
        self.claims.append((terms, value + below(rows, self.nodes[k]["weight"].shape[0]) * (1 << 31)))
        return value

    def finish(self, reader: Reader) -> None:
        verify_claims(reader, self.root, Layout(self.size), self.claims)


def read_architecture(data: bytes) -> list[Node]:
    """Nodes of a committed network: its weights have a shape and nothing else."""
    try:
        described = json.loads(data)
        nodes: list[Node] = json.loads(described["graph"])["nodes"]
        for k, node in enumerate(nodes):
            if node["op"] in ("conv2d", "linear"):
                node["weight"] = Tensor(array("b"), described["weights"][str(k)])
            elif node["op"] == "offset":
                values = described["offsets"][str(k)]
                node["value"] = Tensor(array("q", values), [len(values)])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Rejected(f"the committed architecture does not make sense: {error}") from error
    return nodes


# ---- receipt: MessagePack, in the one encoding that Assay writes

FIELDS = {"format": str, "version": int, "model": bytes, "architecture": bytes, "weights_root": bytes}
FIELDS |= {"intervals": list, "queries": int, "batch": int, "nonce": bytes, "inputs": bytes, "outputs": bytes}
FIELDS |= {"proof": bytes}
SIZED: dict[type, tuple[int, int, str, int]] = {bytes: (0, 0, "BHI", 0xC4), str: (0xA0, 32, "BHI", 0xD9)}
SIZED |= {list: (0x90, 16, "HI", 0xDC)}
"""Tag and limit of the short form, the forms of longer lengths, and the tag of the first of them."""


def pack(value: Any) -> bytes:
    if isinstance(value, int):
        return struct.pack("b", value) if -32 <= value < 128 else tagged(value, "BHIQbhiq", 0xCC)
    short, limit, forms, first = SIZED[type(value)]
    body = (
        b"".join(map(pack, value)) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
    )
    size = len(value) if isinstance(value, list) else len(body)
    return (bytes([short | size]) if size < limit else tagged(size, forms, first)) + body


def tagged(value: int, forms: str, first: int) -> bytes:
    for tag, form in enumerate(forms, first):
        try:
            return bytes([tag]) + struct.pack(">" + form, value)
        except struct.error:
            continue
    raise ValueError("a number beyond 64 bits")


def unpack(data: bytes, place: int = 0) -> tuple[Any, int]:
    """The value at `place`, and where it ends."""
    tag, place = data[place], place + 1
    if tag < 0x80 or tag >= 0xE0:
        return tag - 256 * (tag >= 0xE0), place
    if 0xCC <= tag < 0xD4:
        form = ">" + "BHIQbhiq"[tag - 0xCC]
        return struct.unpack_from(form, data, place)[0], place + struct.calcsize(form)
    for kind, (short, limit, forms, first) in SIZED.items():
        if short <= tag < short + limit:
            return body(kind, data, place, tag - short)
        if first <= tag < first + len(forms):
            form = ">" + forms[tag - first]
            return body(kind, data, place + struct.calcsize(form), struct.unpack_from(form, data, place)[0])
    raise ValueError(f"a value of kind {tag:#x}")


def body(kind: type, data: bytes, place: int, size: int) -> tuple[Any, int]:
    if size > len(data) - place:
        raise ValueError("a length beyond the end")
    if kind is not list:
        raw = data[place : place + size]
        return (raw if kind is bytes else raw.decode()), place + size
    entries = []
    for _ in range(size):
        entry, place = unpack(data, place)
        entries.append(entry)
    return entries, place


def read_receipt(data: bytes) -> dict[str, Any]:
    try:
        values, end = unpack(data)
        canonical = end == len(data) and pack(values) == data
    except (ValueError, IndexError, struct.error, RecursionError) as error:
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
    root, weights, limits = receipt["weights_root"], None, lambda node: (128, 1 << 31)
    if network is not None:
        nodes, architecture, digest = network
        need(receipt["model"] == digest and not root, "this receipt is about another model")
        limits = lambda node: (node["weight"].reach, node["bias"].reach)  # noqa: E731
        weights = PublicWeights(nodes)
    else:
        architecture = receipt["architecture"]
        named = hashlib.sha256(b"assay/weights/1" + len(architecture).to_bytes(8, "little") + architecture + root)
        need(receipt["model"] == commitment == named.digest(), "this receipt is about another model")
        nodes = read_architecture(architecture)
    plan = Plan(nodes, receipt["batch"], {k: (low, high) for k, low, high in receipt["intervals"]}, limits)
    low, high = plan.loose[0]
    theirs = receipt_tensor(receipt["inputs"], "B" if low >= 0 and high <= 255 else "q", plan.shape(0))
    need(low <= min(theirs.values) and max(theirs.values) <= high, "a picture is out of the network's range")
    same = pictures is None or (pictures.shape == theirs.shape and list(pictures.values) == list(theirs.values))
    need(same, "this receipt is about other pictures than yours")
    outputs = receipt_tensor(receipt["outputs"], "q", plan.shape(len(nodes) - 1))
    need(outputs.reach <= LARGEST, "an answer is beyond the field")
    reader, ranges = Reader(receipt["proof"]), [number for triple in receipt["intervals"] for number in triple]
    for said in (numbers([QUERIES]), architecture, receipt["model"] + root, numbers(ranges), numbers([plan.batch])):
        reader.bind(said)
    for field in ("nonce", "inputs", "outputs"):
        reader.bind(receipt[field])
    Verifier(reader, plan, weights or CommittedWeights(nodes, root)).run(theirs, outputs)
    classes = outputs.shape[1]
    return [list(outputs.values[k : k + classes]) for k in range(0, len(outputs.values), classes)]


def receipt_tensor(data: bytes, code: str, shape: Shape) -> Tensor:
    size = struct.calcsize("<" + code) * prod(shape)
    need(len(data) == size, f"{size} bytes of pictures or answers are needed, the receipt holds {len(data)}")
    return Tensor(whole_numbers(code, data), shape)


# ---- command line


def read_npz(path: str) -> Tensor:
    """The array `x` of an .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read("x.npy")
        start = 12 if data[6] >= 2 else 10
        end = start + int.from_bytes(data[8:start], "little")
        header = ast.literal_eval(data[start:end].decode("latin-1"))
        code = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "i8": "q"}[header["descr"][1:]]
        tensor = Tensor(whole_numbers(code, data[end:]), header["shape"])
        if header["descr"][0] == ">" or header["fortran_order"] or len(tensor.values) != prod(tensor.shape):
            raise ValueError("x must hold whole numbers, row by row")
    except (OSError, ValueError, KeyError, TypeError, IndexError, SyntaxError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path} does not hold pictures: {error}") from error
    return tensor


def read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error


def main(arguments: list[str] | None = None) -> int:
    """Read files, verify, print the verdict."""
    parser = argparse.ArgumentParser(description="Verify a receipt of Assay with Python's standard library alone.")
    parser.add_argument("receipt")
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument("--model", help="the network, net.assay")
    known.add_argument("--commitment", type=bytes.fromhex, help="or the commitment to it that you accepted, in hex")
    asked, fresh = (parser.add_mutually_exclusive_group(required=True) for _ in range(2))
    asked.add_argument("--inputs", help="your own pictures: an .npz with x")
    asked.add_argument("--trust-receipt-inputs", action="store_true", help="take the pictures from the receipt")
    fresh.add_argument("--nonce", type=bytes.fromhex, help="the nonce that you drew, in hex")
    fresh.add_argument("--allow-replay", action="store_true", help="do not compare the nonce")
    given = parser.parse_args(arguments)
    try:
        network = read_network(read_file(given.model)) if given.model else None
        pictures = read_npz(given.inputs) if given.inputs else None
        outputs = verify(read_receipt(read_file(given.receipt)), network, given.commitment, pictures, given.nonce)
    except Unreadable as error:
        print(f"unreadable: {error}")
        return 2
    except Rejected as error:
        print(f"rejected: {error}")
        return 1
    print("accepted: labels", ", ".join(str(max(range(len(row)), key=row.__getitem__)) for row in outputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A verifier of Assay's receipts in one file, with nothing but Python's standard library: read it, then trust it.

    python -m assay.proof.standalone a.receipt --model net.assay --inputs digits.npz --nonce 000102…0f

It accepts exactly the receipts that `assay verify` accepts, and is slow instead of fast: seconds where that takes
milliseconds. What it checks: that the outputs in the receipt are what this integer network gives on these pictures. It
never runs the network. Sources and soundness are in the modules of `assay.proof` that have the same names as the
sections here. A commitment to weights must have been accepted before (`assay commit --accept`): that their values are
in range is proven once, there.

Exit codes: 0 accepted, 1 rejected, 2 unreadable.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import struct
import sys
import zipfile
from math import prod

P = (1 << 61) - 1
LARGEST = (P - 1) // 2
QUERIES = 150
DOMAIN = b"assay/proof/1"
WEIGHTS_DOMAIN = b"assay/weights/1"


class Rejected(Exception):
    """The receipt does not convince."""


class Unreadable(Rejected):
    """This is not a receipt, a network or a set of pictures."""


def need(holds, sentence):
    if not holds:
        raise Rejected(sentence)


# ---- field: F_p² = F_p[i], i² = −1 -----------------------------------------------------------------------------------


class E:
    """re + im·i."""

    __slots__ = ("im", "re")

    def __init__(self, re, im=0):
        self.re, self.im = re % P, im % P

    def __add__(self, other):
        return E(self.re + other.re, self.im + other.im) if isinstance(other, E) else E(self.re + other, self.im)

    def __neg__(self):
        return E(-self.re, -self.im)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        if not isinstance(other, E):
            return E(self.re * other, self.im * other)
        return E(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    __radd__, __rmul__ = __add__, __mul__

    def __pow__(self, exponent):
        power, square = E(1), self
        while exponent:
            power = power * square if exponent & 1 else power
            square, exponent = square * square, exponent >> 1
        return power

    def __eq__(self, other):
        return self.re == other.re and self.im == other.im

    def conjugate(self):
        return E(self.re, -self.im)

    def inverse(self):
        norm = pow(self.re * self.re + self.im * self.im, P - 2, P)
        return E(self.re * norm, -self.im * norm)


ZERO, ONE, I, HALF = E(0), E(1), E(0, 1), E(pow(2, P - 2, P))
ROOT = E(4, 1) ** ((P * P - 1) >> 62)  # of order 2**62


def root_of_unity(bits):
    return ROOT ** (1 << (62 - bits))


def dot(a, b):
    """Σ a·b over the shorter of two lists."""
    re = im = 0
    for x, y in zip(a, b):
        re += x.re * y.re - x.im * y.im
        im += x.re * y.im + x.im * y.re
    return E(re, im)


# ---- transcript ------------------------------------------------------------------------------------------------------


class Reader:
    """Hears a proof in order; challenges are hashes of all that came before."""

    def __init__(self, proof):
        self.state, self.proof, self.place = hashlib.sha256(DOMAIN).digest(), proof, 0

    def bind(self, data):
        self.state = hashlib.sha256(self.state + b"said" + len(data).to_bytes(8, "little") + data).digest()

    def hear_bytes(self, count):
        data = self.proof[self.place : self.place + count]
        need(len(data) == count, "the proof ends early")
        self.place += count
        self.bind(data)
        return data

    def hear(self, count):
        words = struct.unpack(f"<{2 * count}Q", self.hear_bytes(16 * count))
        need(all(word < P for word in words), "a field element is not canonical")
        return [E(re, im) for re, im in zip(words[::2], words[1::2])]

    def squeeze(self):
        self.state = hashlib.sha256(self.state + b"draw").digest()
        return self.state

    def draw(self):
        digest = self.squeeze()
        return E(int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:], "little"))

    def draws(self, count):
        return [self.draw() for _ in range(count)]

    def draw_indices(self, count, bits):
        found = []
        while len(found) < count:
            found += [word & ((1 << bits) - 1) for word in struct.unpack("<8I", self.squeeze())]
        return found[:count]

    def finish(self):
        need(self.place == len(self.proof), "bytes follow the end of the proof")


# ---- multilinear -----------------------------------------------------------------------------------------------------


def variables(size):
    return (size - 1).bit_length()


def split(point, shape):
    parts, start = [], 0
    for size in shape:
        parts.append(point[start : start + variables(size)])
        start += variables(size)
    return parts


def eq(a, b):
    product = ONE
    for x, y in zip(a, b, strict=True):
        both = x * y
        product = product * (both + both - x - y + 1)
    return product


def at(point, index):
    product = ONE
    for k, r in enumerate(reversed(point)):
        product = product * (r if index >> k & 1 else 1 - r)
    return product


def eq_table(point):
    table = [ONE]
    for r in point:
        high = [value * r for value in table]
        table = [part for value, up in zip(table, high) for part in (value - up, up)]
    return table


def below(point, count):
    """Σ_{j < count} eq(point, j)."""
    if count >> len(point):
        return ONE
    total, prefix = ZERO, ONE
    for k, r in enumerate(point):
        if count >> (len(point) - 1 - k) & 1:
            total, prefix = total + prefix * (1 - r), prefix * r
        else:
            prefix = prefix * (1 - r)
    return total


def all_indices(point):
    total = ZERO
    for r in point:
        total = total + total + r
    return total


def index_sum(point, count):
    """Σ_{j < count} j·eq(point, j)."""
    if count >> len(point):
        return all_indices(point)
    total, prefix, start = ZERO, ONE, 0
    for k, r in enumerate(point):
        width = len(point) - 1 - k
        if count >> width & 1:
            total = total + prefix * (1 - r) * (all_indices(point[k + 1 :]) + start)
            prefix, start = prefix * r, start + (1 << width)
        else:
            prefix = prefix * (1 - r)
    return total


class Tensor:
    """Whole numbers: little-endian two's complement of `width` bytes (or unsigned), and a shape."""

    def __init__(self, data, width, shape, signed=True):
        self.data, self.width, self.shape, self.signed = data, width, tuple(shape), signed

    def numbers(self):
        return [
            int.from_bytes(self.data[k : k + self.width], "little", signed=self.signed)
            for k in range(0, len(self.data), self.width)
        ]

    def reach(self):
        """The largest magnitude, and 0 for none."""
        if self.width == 1 and self.signed:
            values = set(self.data)
            return max(max((v if v < 128 else 256 - v) for v in values), 0)
        return max(map(abs, self.numbers()), default=0)


SIGN_FLIP = bytes(b ^ 0x80 for b in range(256))


def combine(tensor, first, last, weights):
    """Σ_r weights[r]·row r over rows first … last − 1; a list of one element a column.

    A row is one long integer with a lane of bytes per column, so one product multiplies them all. Signed numbers are
    raised by 2**(bits − 1), which is taken off at the end.
    """
    columns, width = prod(tensor.shape[1:]), tensor.width
    lane = width + 12  # the number, 61 bits of weight, up to 2**32 rows
    re = im = 0
    for row, weight in zip(range(first, last), weights):
        data, lanes = tensor.data[row * columns * width : (row + 1) * columns * width], bytearray(lane * columns)
        for k in range(width):
            part = data[k::width]
            lanes[k::lane] = part.translate(SIGN_FLIP) if tensor.signed and k == width - 1 else part
        long = int.from_bytes(lanes, "little")
        re, im = re + long * weight.re, im + long * weight.im
    used = weights[: last - first]
    raised = sum(used, ZERO) * (1 << (8 * width - 1) if tensor.signed else 0)
    both = [x.to_bytes(lane * columns + 16, "little") for x in (re, im)]
    whole = [[int.from_bytes(b[k : k + lane], "little") for k in range(0, lane * columns, lane)] for b in both]
    return [E(x - raised.re, y - raised.im) for x, y in zip(*whole)]


def combine_elements(table, columns, weights):
    """The same for a list of elements, row by row."""
    return [dot(weights, table[c::columns]) for c in range(columns)]


def tensor_at(tensor, point):
    parts = split(point, tensor.shape)
    table = combine(tensor, 0, tensor.shape[0], eq_table(parts[0]))
    for size, part in zip(tensor.shape[1:], parts[1:]):
        table = combine_elements(table, len(table) // size, eq_table(part))
    return table[0]


def padded_at(table, shape, point):
    """The extension of a list of elements of this shape, axes padded."""
    for size, part in zip(shape, split(point, shape)):
        table = combine_elements(table, len(table) // size, eq_table(part))
    return table[0]


# ---- sumcheck --------------------------------------------------------------------------------------------------------


def quadratic(g0, g1, g2, x):
    step = g1 - g0
    return g0 + x * step + x * (x - 1) * HALF * (g2 - g1 - step)


def interpolate(values, x):
    total = ZERO
    for k, value in enumerate(values):
        above, under = ONE, 1
        for j in range(len(values)):
            if j != k:
                above, under = above * (x - j), under * (k - j)
        total = total + value * above * E(under).inverse()
    return total


def sum_of_products(reader, claim, n):
    point = []
    for _ in range(n):
        g0, g2 = reader.hear(2)
        r = reader.draw()
        claim = quadratic(g0, claim - g0, g2, r)
        point.append(r)
    return point[::-1], claim


def weighted_sum(reader, claim, eq_point, degree):
    point = []
    for e in reversed(eq_point):
        values = reader.hear(degree + 1)
        need((1 - e) * values[0] + e * values[1] == claim, "a sum-check message does not add up to the running claim")
        r = reader.draw()
        claim = quadratic(*values, r) if degree == 2 else interpolate(values, r)
        point.append(r)
    return point[::-1], claim


# ---- commitment ------------------------------------------------------------------------------------------------------


class Layout:
    """The matrix of a committed vector: rows of 2·2**bits values."""

    def __init__(self, size):
        best = min(range(min(max(0, variables(size) - 1), 22) + 1), key=lambda bits: self.set(size, bits).cost)
        self.set(size, best)

    def set(self, size, bits):
        self.bits, self.depth, self.rows = bits, bits + 2, -(-size // (2 << bits))
        self.variables = variables(self.rows) + 1 + bits
        columns = min(QUERIES, 4 << bits)
        paths = columns * max(0, self.depth - columns.bit_length() + 2) * 32
        self.cost = 16 * ((2 << bits) + columns * self.rows + 2 * self.variables) + paths
        return self


def encode(message):
    """The polynomial with these coefficients at all roots of unity of order 4C: four cosets, each bit-reversed."""
    size = len(message)
    bits = variables(size)
    word, powers = [], powers_of(root_of_unity(bits + 2), 4 * size)
    twiddles = powers_of(root_of_unity(bits), max(1, size // 2))
    for coset in range(4):
        work, half = [message[k] * powers[coset * k] for k in range(size)], size // 2
        while half:
            step = size // (2 * half)
            for start in range(0, size, 2 * half):
                for k in range(half):
                    a, b = work[start + k], work[start + k + half]
                    work[start + k], work[start + k + half] = a + b, (a - b) * twiddles[k * step]
            half //= 2
        word += work
    return word


def powers_of(root, count):
    powers = [ONE]
    while len(powers) < count:
        powers.append(powers[-1] * root)
    return powers


def missing_nodes(positions, depth):
    known, missing = sorted(set(positions)), []
    for level in range(depth):
        inside = set(known)
        missing += [(level, index ^ 1) for index in known if index ^ 1 not in inside]
        known = sorted({index >> 1 for index in known})
    return missing


def check_leaves(root, depth, known, siblings):
    sent = {place: siblings[32 * k : 32 * k + 32] for k, place in enumerate(missing_nodes(list(known), depth))}
    for level in range(depth):
        whole = known | {index: node for (where, index), node in sent.items() if where == level}
        known = {i >> 1: hashlib.sha256(b"\x01" + whole[i & ~1] + whole[i | 1]).digest() for i in known}
    need(known == {0: root}, "an opened column does not lie under the committed Merkle root")


def verify_claims(reader, root, layout, claims):
    """`claims`: (terms, value), a term being (offset, point, coefficient)."""
    mix = reader.draw()
    powers = powers_of(mix, max(1, len(claims)))
    total = sum((power * value for power, (_, value) in zip(powers, claims)), ZERO)
    point, last = sum_of_products(reader, total, layout.variables)
    weight = ZERO
    for power, (terms, _) in zip(powers, claims):
        for offset, where, coefficient in terms:
            n = len(where)
            block = at(point[: len(point) - n], offset >> n)
            weight = weight + power * coefficient * block * eq(where, point[len(point) - n :])
    value = open_at(reader, root, layout, point)
    need(value * weight == last, "the committed vector disagrees with the claims on it")


def open_at(reader, root, layout, point):
    size, row_bits = 1 << layout.bits, variables(layout.rows)
    both = reader.hear(2 * size)
    real, imaginary = both[:size], both[size:]
    distinct = sorted(set(reader.draw_indices(QUERIES, layout.depth)))
    columns = reader.hear(len(distinct) * layout.rows)
    columns = [columns[k * layout.rows : (k + 1) * layout.rows] for k in range(len(distinct))]
    siblings = reader.hear_bytes(32 * len(missing_nodes(distinct, layout.depth)))
    check_leaves(root, layout.depth, {k: leaf(column) for k, column in zip(distinct, columns)}, siblings)
    weights = eq_table(point[:row_bits])[: layout.rows]
    for fix in (lambda x: x, E.conjugate):
        word = encode([fix(a) + I * fix(b) for a, b in zip(real, imaginary)])
        fixed = [fix(weight) for weight in weights]
        good = all(dot(column, fixed) == word[k] for k, column in zip(distinct, columns))
        need(good, "an opened column disagrees with the combined row")
    table = eq_table(point[row_bits + 1 :])
    part = point[row_bits]
    return (1 - part) * dot(real, table) + part * dot(imaginary, table)


def leaf(column):
    words = [word for element in column for word in (element.re, element.im)]
    return hashlib.sha256(b"\x00" + struct.pack(f"<{len(words)}Q", *words)).digest()


# ---- network ---------------------------------------------------------------------------------------------------------

WIDTHS = {"I8": 1, "I16": 2, "I32": 4, "I64": 8}
ARRAYS = {"offset": ("value",), "conv2d": ("weight", "bias"), "linear": ("weight", "bias")}
LOOKED_UP = ("requantise", "relu", "max-pool")


def read_network(data):
    """Nodes of a net.assay file, as dicts; its graph as text; its digest, computed anew."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        metadata, body = header.pop("__metadata__"), data[8 + length :]
        text = metadata["assay.network"]
        nodes = json.loads(text)["nodes"]
        for position, node in enumerate(nodes):
            for name in ARRAYS.get(node["op"], ()):
                entry = header[f"{position}.{name}"]
                start, stop = entry["data_offsets"]
                width, shape = WIDTHS[entry["dtype"]], entry["shape"]
                if not 0 <= start <= stop <= len(body) or stop - start != width * prod(shape):
                    raise ValueError(f"tensor {position}.{name} does not fill its bytes")
                node[name] = Tensor(body[start:stop], width, shape)
        digest = network_digest(text, nodes)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise Unreadable(f"this is not an integer network: {error}") from error
    if digest.hex() != metadata["assay.digest"]:
        raise Unreadable("this network is not the one that its digest names")
    return nodes, text.encode(), digest


def network_digest(text, nodes):
    state = hashlib.sha256(b"assay.integer/1")
    parts = [text.encode()]
    for position, node in enumerate(nodes):
        for name in ARRAYS.get(node["op"], ()):
            tensor = node[name]
            parts += [
                f"{position}.{name}".encode(),
                struct.pack(f"<{len(tensor.shape)}q", *tensor.shape),
                as_int64(tensor),
            ]
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def as_int64(tensor):
    wide = bytearray(len(tensor.data) // tensor.width * 8)
    for k in range(tensor.width):
        wide[k::8] = tensor.data[k :: tensor.width]
    sign = tensor.data[tensor.width - 1 :: tensor.width].translate(bytes(255 * (b >> 7) for b in range(256)))
    for k in range(tensor.width, 8):
        wide[k::8] = sign
    return bytes(wide)


def sources(node):
    return node.get("inputs", [node["input"]] if "input" in node else [])


def windows(side, kernel, stride, dilation, before, after):
    return (side + before + after - dilation * (kernel - 1) - 1) // stride + 1


def kernel_of(node):
    return node["weight"].shape[2:] if node["op"] == "conv2d" else node["kernel"]


def shape_of(node, given):
    op = node["op"]
    if op == "input":
        return tuple(node["shape"])
    first = given[0]
    if op == "linear":
        return (node["weight"].shape[0],)
    if op in ("conv2d", "sum-pool", "max-pool"):
        channels = node["weight"].shape[0] if op == "conv2d" else first[0]
        stride, dilation, padding = node["stride"], node.get("dilation", (1, 1)), node["padding"]
        sides = [
            windows(first[1 + k], kernel_of(node)[k], stride[k], dilation[k], *padding[2 * k : 2 * k + 2])
            for k in (0, 1)
        ]
        return (channels, *sides)
    if op == "flatten":
        return (prod(first),)
    if op == "concat":
        return (sum(shape[0] for shape in given), *first[1:])
    if op == "subsample":
        return (first[0], -(-first[1] // node["stride"][0]), -(-first[2] // node["stride"][1]))
    if op == "pad-channels":
        return (node["before"] + first[0] + node["after"], *first[1:])
    return first


def loose_interval(node, given, limits):
    """What values can be at most, from sizes of weights alone."""
    op = node["op"]
    low, high = min((x for x, _ in given), default=0), max((x for _, x in given), default=0)
    if op == "input":
        return node["low"], node["high"]
    if op == "offset":
        values = node["value"].numbers()
        return low + min(values), high + max(values)
    if op in ("conv2d", "linear"):
        fan_in = prod(node["weight"].shape[2:]) << variables(node["weight"].shape[1])
        reach = fan_in * limits[0] * max(-low, high) + limits[1]
        return -reach, reach
    if op == "add":
        return (
            sum(x << s for (x, _), s in zip(given, node["shifts"])),
            sum(x << s for (_, x), s in zip(given, node["shifts"])),
        )
    if op == "sum-pool":
        return min(low, 0) * prod(node["kernel"]), max(high, 0) * prod(node["kernel"])
    if op == "square":
        return 0, max(low * low, high * high)
    if op == "requantise":
        return node["low"], node["high"]
    return min(low, 0), max(high, 0)


# ---- plan ------------------------------------------------------------------------------------------------------------


class Block:
    def __init__(self, bits, offset):
        self.bits, self.offset = bits, offset

    def selector(self, point):
        return at(point[: len(point) - self.bits], self.offset >> self.bits)

    def inside(self, point):
        return point[len(point) - self.bits :]


def placed(wanted):
    """Blocks by name, largest first."""
    blocks, offset = {}, 0
    for name, bits in sorted(wanted, key=lambda entry: -entry[1]):
        blocks[name] = Block(bits, offset)
        offset += 1 << bits
    return blocks


class Table:
    """(q, clamp(q, low, high)) for 2**bits numbers q from `start` on; without bounds, (q, 0)."""

    def __init__(self, bits, start=0, bounds=None):
        self.bits, self.start, self.bounds = bits, start, bounds

    def at(self, point):
        size = 1 << self.bits
        q = index_sum(point, size) + self.start
        if self.bounds is None:
            return q, ZERO
        low, high = self.bounds
        first, last = (min(max(x - self.start, 0), size) for x in (low, high + 1))
        under, within = below(point, first), below(point, last)
        y = (within - under) * self.start + index_sum(point, last) - index_sum(point, first)
        return q, y + (under * low if first else ZERO) + ((1 - within) * high if last < size else ZERO)


class Plan:
    """Sizes and places of everything in the proof of one batch."""

    def __init__(self, nodes, batch, intervals, limits):
        self.nodes, self.batch, self.intervals = nodes, batch, intervals
        self.shapes, self.loose = [], []
        for node in nodes:
            self.shapes.append(shape_of(node, [self.shapes[i] for i in sources(node)]))
            weighted = limits(node) if node["op"] in ("conv2d", "linear") else (0, 0)
            self.loose.append(loose_interval(node, [self.loose[i] for i in sources(node)], weighted))
        self.looked_up = [k for k, node in enumerate(nodes) if node["op"] in LOOKED_UP]
        need(max(self.bits(k) for k in range(len(nodes))) <= 40, "a tensor is too large for a proof")
        need(sorted(intervals) == self.looked_up, "the ranges of looked-up values do not belong to this network")
        self.tables = self.make_tables() if self.looked_up else []
        self.columns, self.fractions = self.make_blocks() if self.looked_up else ({}, {})
        self.committed = sum(1 << block.bits for block in self.columns.values())
        self.count = sum(1 << block.bits for block in self.fractions.values())
        need(self.committed <= 1 << 28 and self.count <= 1 << 29, "the batch is too large for one proof")

    def shape(self, k):
        return (self.batch, *self.shapes[k])

    def bits(self, k):
        return sum(map(variables, self.shape(k)))

    def shift(self, k):
        return self.nodes[k].get("shift", 0)

    def half(self, k):
        return (1 << self.shift(k)) >> 1

    def clamps(self, k):
        """(low, high) for channels outside [start, stop), and inside."""
        node = self.nodes[k]
        plain = (node["low"], node["high"]) if node["op"] == "requantise" else (-LARGEST, LARGEST)
        rectified = (0, plain[1])
        if node["start"] >= node["stop"]:
            return plain, plain
        return (rectified if node["start"] == 0 and node["stop"] == self.shapes[k][0] else plain), rectified

    def make_tables(self):
        range_bits, spans = 0, {}
        for k in self.looked_up:
            low, high = self.intervals[k]
            if self.nodes[k]["op"] == "max-pool":
                range_bits = max(range_bits, (high - low).bit_length())
                continue
            range_bits = max(range_bits, self.shift(k))
            for clamp in set(self.clamps(k)):
                shifted = [(x + self.half(k)) >> self.shift(k) for x in (low, high)]
                spans.setdefault(clamp, []).extend(shifted)
        tables = [Table(range_bits)]
        for clamp, ends in sorted(spans.items()):
            start = min(0, *ends)
            tables.append(Table(variables(max(0, *ends) - start + 1), start, clamp))
        need(max(table.bits for table in tables) <= 20, "a lookup table is too large")
        widest, furthest = max(t.bits for t in tables), max(abs(t.start).bit_length() for t in tables)
        for k in self.looked_up:
            low, high = self.loose[sources(self.nodes[k])[0]]
            reach = (max(-low, high) + (1 << self.shift(k))).bit_length()
            most = max(reach, widest + self.shift(k) + 1, furthest + self.shift(k) + 1)
            need(range_bits + most <= 59, "values could wrap around in the field")
        return tables

    def make_blocks(self):
        remainders = [(("remainder", k), self.bits(k)) for k in self.looked_up if self.shift(k)]
        columns = [(("output", k), self.bits(k)) for k in self.looked_up] + remainders
        columns += [(("counts", tag), table.bits) for tag, table in enumerate(self.tables)]
        fractions = []
        for k in self.looked_up:
            if self.nodes[k]["op"] == "max-pool":
                fractions.append((("window", k), sum(map(variables, self.nodes[k]["kernel"])) + self.bits(k)))
            else:
                fractions.append((("activation", k), self.bits(k)))
        fractions += remainders + [(("table", tag), table.bits) for tag, table in enumerate(self.tables)]
        return placed(columns), placed(fractions)

    def tag_at(self, k, point):
        tags = {table.bounds: tag for tag, table in enumerate(self.tables)}
        outside, inside = (tags[clamp] for clamp in self.clamps(k))
        if outside == inside:
            return E(outside)
        channel = split(point, self.shape(k))[1]
        within = below(channel, self.nodes[k]["stop"]) - below(channel, self.nodes[k]["start"])
        return within * (inside - outside) + outside


class Claims:
    def __init__(self, plan):
        self.plan, self.columns, self.tensors = plan, [], {}

    def on_column(self, kind, about, point, value):
        self.columns.append(([(self.plan.columns[kind, about].offset, point, ONE)], value))

    def on_tensor(self, k, point, value):
        if ("output", k) in self.plan.columns:
            self.on_column("output", k, point, value)
        else:
            self.tensors.setdefault(k, []).append((point, value))


# ---- lookup ----------------------------------------------------------------------------------------------------------


def fractions_sum_to_zero(reader, size):
    """A claim on the leaves: point, numerator, denominator less one."""
    (root,) = reader.hear(1)
    need(root + 1 != ZERO, "lookup: a denominator is zero")
    point, p, d = [], ZERO, root
    for _ in range(variables(size)):
        mix = reader.draw()
        point, last = weighted_sum(reader, p + mix * d, point, 2)
        p0, d0, p1, d1 = reader.hear(4)
        q0, q1 = d0 + 1, d1 + 1
        need(
            p0 * q1 + p1 * q0 + mix * (q0 * q1 - 1) == last, "lookup: two fractions do not add up to the one above them"
        )
        r = reader.draw()
        p, d = p0 + r * (p1 - p0), d0 + r * (d1 - d0)
        point.append(r)
    return point, p, d


def verify_lookups(reader, plan, claims):
    """Claims on the windows of max pools, by node."""
    if not plan.looked_up:
        return {}
    alpha, beta = reader.draw(), reader.draw()
    point, p, d = fractions_sum_to_zero(reader, plan.count)
    said, order = {}, []
    for (kind, k), block in plan.fractions.items():
        if kind == "remainder":
            continue
        parts = {"table": ["counts"], "window": ["window"]}.get(kind)
        parts = parts or (["input", "remainder", "output"] if plan.shift(k) else ["input", "output"])
        for part, value in zip(parts, reader.hear(len(parts))):
            said[part, k] = value
            order.append((part, k, block.inside(point)))
    numerator, denominator = ZERO, ZERO
    for (kind, k), block in plan.fractions.items():
        inside, selector = block.inside(point), block.selector(point)
        first, second, tag = row_of(plan, kind, k, inside, said)
        denominator = denominator + selector * (alpha - 1 - first - beta * (second + beta * tag))
        numerator = numerator + selector * (-said["counts", k] if kind == "table" else ONE)
    need(numerator == p and denominator == d, "lookup: the fractions are not those of this network's values and tables")
    found = {}
    for part, k, inside in order:
        if part == "window":
            found[k] = (inside, said[part, k])
        elif part == "input":
            claims.on_tensor(sources(plan.nodes[k])[0], inside, said[part, k])
        else:
            claims.on_column(part, k, inside, said[part, k])
    return found


def row_of(plan, kind, k, inside, said):
    if kind == "table":
        return *plan.tables[k].at(inside), E(k)
    if kind == "window":
        return said["window", k], ZERO, ZERO
    shift = plan.shift(k)
    if kind == "remainder":
        return said["remainder", k] * (1 << (plan.tables[0].bits - shift)), ZERO, ZERO
    raised = said["input", k] + plan.half(k) - (said["remainder", k] if shift else ZERO)
    return raised * HALF**shift, said["output", k], plan.tag_at(k, inside)


# ---- layers: a claim on the output of node k becomes claims on its inputs --------------------------------------------


class Verifier:
    def __init__(self, reader, plan, weights):
        self.reader, self.plan, self.weights, self.claims = reader, plan, weights, Claims(plan)

    def run(self, pictures, outputs):
        reader, plan = self.reader, self.plan
        root = reader.hear_bytes(32) if plan.looked_up else b""
        found = verify_lookups(reader, plan, self.claims)
        last = len(plan.nodes) - 1
        point = reader.draws(plan.bits(last))
        self.claims.on_tensor(last, point, tensor_at(outputs, point))
        for k in range(last, 0, -1):
            op = plan.nodes[k]["op"]
            if op == "max-pool":
                self.max_pool(k, *found[k])
            elif claims := self.claims.tensors.pop(k, []):
                self.layers[op](self, k, *self.merged(k, claims))
        for where, value in self.claims.tensors.pop(0, []):
            need(tensor_at(pictures, where) == value, "the proof is about another picture")
        if plan.looked_up:
            verify_claims(reader, root, Layout(plan.committed), self.claims.columns)
        self.weights.finish(reader)

    def merged(self, k, claims):
        if len(claims) == 1:
            return claims[0]
        powers = powers_of(self.reader.draw(), len(claims))
        total = dot(powers, [value for _, value in claims])
        point, last = sum_of_products(self.reader, total, self.plan.bits(k))
        (value,) = self.reader.hear(1)
        weight = dot(powers, [eq(where, point) for where, _ in claims])
        need(weight * value == last, f"the claims on tensor {k} do not agree with each other")
        return point, value

    def linear(self, k, point, value):
        (source,) = sources(self.plan.nodes[k])
        batch, out = split(point, self.plan.shape(k))
        rest = value - below(batch, self.plan.batch) * self.weights.bias(self.reader, k, out)
        inner, last = sum_of_products(self.reader, rest, variables(self.plan.shapes[source][0]))
        weight = self.weights.weight(self.reader, k, out, inner)
        (given,) = self.reader.hear(1)
        need(weight * given == last, f"node {k}: the linear map does not give the claimed output")
        self.claims.on_tensor(source, batch + inner, given)

    def everywhere(self, k, parts):
        """Inside the real pictures and places."""
        height, width = self.plan.shapes[k][1:] if len(self.plan.shapes[k]) == 3 else (1, 1)
        parts = parts + [[], []]
        return below(parts[0], self.plan.batch) * below(parts[2], height) * below(parts[3], width)

    def convolution(self, k, point, value):
        node = self.plan.nodes[k]
        (source,) = sources(node)
        parts = split(point, self.plan.shape(k))
        rest = value - self.everywhere(k, parts) * self.weights.bias(self.reader, k, parts[1])
        inner = (self.plan.shapes[source][0], *kernel_of(node))
        where, last = sum_of_products(self.reader, rest, sum(map(variables, inner)))
        weight = self.weights.weight(self.reader, k, parts[1], where)
        (given,) = self.reader.hear(1)
        need(weight * given == last, f"node {k}: the convolution does not give the claimed output")
        channel, *taps = split(where, inner)
        kernels = [self.spread(k, axis, parts[2 + axis], eq_table(taps[axis])) for axis in (0, 1)]
        self.window_sum(source, parts[0] + channel, kernels, given)

    def spread(self, k, axis, point, taps):
        """K(u) = Σ_{y, a: stride·y + dilation·a − padding = u} eq(point, y)·taps[a]."""
        node = self.plan.nodes[k]
        side = self.plan.shapes[sources(node)[0]][1 + axis]
        stride, dilation = node["stride"][axis], node.get("dilation", (1, 1))[axis]
        out, weights = [ZERO] * side, eq_table(point)
        for y in range(self.plan.shapes[k][1 + axis]):
            for a in range(kernel_of(node)[axis]):
                u = stride * y + dilation * a - node["padding"][2 * axis]
                if 0 <= u < side:
                    out[u] = out[u] + weights[y] * taps[a]
        return out

    def window_sum(self, source, head, kernels, total):
        sides = self.plan.shapes[source][1:]
        point, last = sum_of_products(self.reader, total, sum(map(variables, sides)))
        (value,) = self.reader.hear(1)
        rows, columns = (dot(kernel, eq_table(part)) for kernel, part in zip(kernels, split(point, sides)))
        need(rows * columns * value == last, f"the windows over tensor {source} do not add up to the claimed output")
        self.claims.on_tensor(source, head + point, value)

    def sum_pool(self, k, point, value):
        parts = split(point, self.plan.shape(k))
        kernels = [
            self.spread(k, axis, parts[2 + axis], [ONE] * kernel_of(self.plan.nodes[k])[axis]) for axis in (0, 1)
        ]
        self.window_sum(sources(self.plan.nodes[k])[0], parts[0] + parts[1], kernels, value)

    def max_pool(self, k, point, value):
        node, plan, reader = self.plan.nodes[k], self.plan, self.reader
        tau = reader.draws(plan.bits(k))
        places = prod(node["kernel"])
        where, last = weighted_sum(reader, ZERO, tau, places)
        values, product = reader.hear(places), ONE
        for entry in values:
            product = product * entry
        need(product == last, f"node {k}: a maximum is not an element of its window")
        place = reader.draws(sum(map(variables, node["kernel"])))
        rows, columns = split(place, node["kernel"])
        weights = [at(rows, a) * at(columns, b) for a in range(node["kernel"][0]) for b in range(node["kernel"][1])]
        self.pool_windows(k, point, value)
        self.pool_windows(k, place + where, dot(weights, values))

    def pool_windows(self, k, point, value):
        """max − x at (place in the window, output)."""
        node, plan = self.plan.nodes[k], self.plan
        (source,) = sources(node)
        rows_tap, columns_tap, batch, channel, rows, columns = split(point, (*node["kernel"], *plan.shape(k)))
        kernels = [
            self.spread(k, axis, part, eq_table(tap))
            for axis, part, tap in ((0, rows, rows_tap), (1, columns, columns_tap))
        ]
        _, channels, height, width = plan.shape(k)
        inside = below(rows_tap, node["kernel"][0]) * below(columns_tap, node["kernel"][1])
        outside = inside * below(rows, height) * below(columns, width) - sum(kernels[0], ZERO) * sum(kernels[1], ZERO)
        real = below(batch, plan.batch) * below(channel, channels)
        (maximum,) = self.reader.hear(1)
        self.claims.on_tensor(k, batch + channel + rows + columns, maximum)
        total = inside * maximum - real * outside * plan.loose[source][0] - value
        sides, kernel = plan.shapes[source][1:], node["kernel"]
        plain = kernel == node["stride"] and not any(node["padding"]) and list(node["dilation"]) == [1, 1]
        if plain and all(n & (n - 1) == 0 and side % n == 0 for n, side in zip(kernel, sides)):
            self.claims.on_tensor(source, batch + channel + rows + rows_tap + columns + columns_tap, total)
        else:
            self.window_sum(source, batch + channel, kernels, total)

    def square(self, k, point, value):
        where, last = weighted_sum(self.reader, value, point, 2)
        (given,) = self.reader.hear(1)
        need(given * given == last, f"node {k}: the output is not the square of the input")
        self.claims.on_tensor(sources(self.plan.nodes[k])[0], where, given)

    def add(self, k, point, value):
        node = self.plan.nodes[k]
        values = self.reader.hear(len(node["inputs"]))
        total = sum((x * (1 << s) for x, s in zip(values, node["shifts"])), ZERO)
        need(total == value, f"node {k}: the summands do not add up to the claimed output")
        for source, given in zip(node["inputs"], values):
            self.claims.on_tensor(source, point, given)

    def offset(self, k, point, value):
        node = self.plan.nodes[k]
        parts = split(point, self.plan.shape(k))
        shift = dot(eq_table(parts[1]), [E(v) for v in node["value"].numbers()])
        self.claims.on_tensor(node["input"], point, value - self.everywhere(k, parts) * shift)

    def selection(self, k, point, value):
        """Flatten, concatenate, subsample, pad channels: values move, and stay what they are."""
        node, plan = self.plan.nodes[k], self.plan
        parts, given = split(point, plan.shape(k)), [plan.shapes[source] for source in sources(node)]
        if node["op"] == "flatten" and all(size & (size - 1) == 0 for size in given[0][1:]):
            return self.claims.on_tensor(node["input"], point, value)
        if node["op"] == "subsample":
            steps = list(zip(node["stride"], given[0][1:], plan.shapes[k][1:]))
            if all(s & (s - 1) == 0 and variables(side) == variables(n) + variables(s) for s, side, n in steps):
                zeros = [[ZERO] * variables(s) for s in node["stride"]]
                moved = parts[0] + parts[1] + parts[2] + zeros[0] + parts[3] + zeros[1]
                return self.claims.on_tensor(node["input"], moved, value)
        totals = self.reader.hear(len(given)) if len(given) > 1 else [value]
        need(sum(totals, ZERO) == value, f"node {k}: the parts do not add up to the claimed output")
        here = real_places([r for part in parts[1:] for r in part], plan.shapes[k])
        for which, (source, total) in enumerate(zip(sources(node), totals)):
            where, last = sum_of_products(self.reader, total, sum(map(variables, given[which])))
            (x,) = self.reader.hear(1)
            there = real_places(where, given[which])
            pairs = self.moved(node, which, given, plan.shapes[k])
            weight = dot([here[j] for j, _ in pairs], [there[i] for _, i in pairs])
            need(weight * x == last, f"node {k}: the output does not hold the values of the input")
            self.claims.on_tensor(source, parts[0] + where, x)

    @staticmethod
    def moved(node, which, given, shape):
        """(place in the output, place in this input) of every value that is moved."""
        size, op = prod(given[which]), node["op"]
        if op == "subsample":
            (_, height, width), (down, right) = given[0], node["stride"]
            return [
                ((c * shape[1] + y) * shape[2] + x, (c * height + down * y) * width + right * x)
                for c in range(shape[0])
                for y in range(shape[1])
                for x in range(shape[2])
            ]
        first = {"flatten": 0, "concat": sum(map(prod, given[:which]))}.get(op)
        first = node["before"] * prod(shape[1:]) if first is None else first
        return [(first + i, i) for i in range(size)]

    layers = {  # noqa: RUF012
        "linear": linear, "conv2d": convolution, "sum-pool": sum_pool, "square": square, "add": add, "offset": offset,
        "flatten": selection, "concat": selection, "subsample": selection, "pad-channels": selection,
    }  # fmt: skip


def real_places(point, shape):
    """eq(point, ·) at the places of a tensor that are not padding."""
    table, sides = eq_table(point), [1 << variables(size) for size in shape]
    places = [0]
    for size, side in zip(shape, sides):
        places = [place * side + k for place in places for k in range(size)]
    return [table[place] for place in places]


# ---- weights ---------------------------------------------------------------------------------------------------------


class PublicWeights:
    """The verifier holds the network."""

    def __init__(self, nodes):
        self.nodes = nodes

    def weight(self, reader, k, rows, columns):
        tensor, table = self.nodes[k]["weight"], eq_table(rows)
        out = tensor.shape[0]
        if self.nodes[k]["op"] == "linear":
            return dot(combine(tensor, 0, out, table), eq_table(columns))
        groups = self.nodes[k]["groups"]
        size, bound = out // groups, []
        for j in range(groups):
            bound += combine(tensor, j * size, (j + 1) * size, table[j * size : (j + 1) * size])
        return padded_at(bound, (groups * tensor.shape[1], *tensor.shape[2:]), columns)

    def bias(self, reader, k, rows):
        return dot(eq_table(rows), [E(value) for value in self.nodes[k]["bias"].numbers()])

    def finish(self, reader):
        pass


class CommittedWeights:
    """The verifier holds a commitment."""

    def __init__(self, nodes, root):
        self.nodes, self.root, self.claims = nodes, root, []
        wanted = []
        for k, node in enumerate(nodes):
            if node["op"] in ("conv2d", "linear"):
                shape = node["weight"].shape
                bits = sum(map(variables, shape[:2]))
                wanted += [((f"weight {tap}", k), bits) for tap in range(prod(shape[2:]))]
                wanted += [((f"limb {limb}", k), variables(shape[0])) for limb in (0, 1)]
        self.blocks = placed([*wanted, (("counts", 0), 8), (("counts", 1), 16)])

    def weight(self, reader, k, rows, columns):
        (value,) = reader.hear(1)
        shape = self.nodes[k]["weight"].shape
        inner, *taps = split(columns, shape[1:])
        coefficients = [ONE]
        for axis, side in zip(taps, shape[2:]):
            coefficients = [c * at(axis, place) for c in coefficients for place in range(side)]
        terms = [(self.blocks[f"weight {tap}", k].offset, rows + inner, c) for tap, c in enumerate(coefficients)]
        self.claims.append((terms, value))
        return value

    def bias(self, reader, k, rows):
        (value,) = reader.hear(1)
        terms = [(self.blocks[f"limb {limb}", k].offset, rows, E(1 << 16 * limb)) for limb in (0, 1)]
        self.claims.append((terms, value + below(rows, self.nodes[k]["weight"].shape[0]) * (1 << 31)))
        return value

    def finish(self, reader):
        size = sum(1 << block.bits for block in self.blocks.values())
        verify_claims(reader, self.root, Layout(size), self.claims)


def read_architecture(data):
    """Nodes of a committed network: weights have a shape and nothing else."""
    try:
        described = json.loads(data)
        nodes = json.loads(described["graph"])["nodes"]
        for k, node in enumerate(nodes):
            if node["op"] in ("conv2d", "linear"):
                node["weight"] = Tensor(b"", 1, described["weights"][str(k)])
            elif node["op"] == "offset":
                values = described["offsets"][str(k)]
                node["value"] = Tensor(struct.pack(f"<{len(values)}q", *values), 8, (len(values),))
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise Rejected(f"the committed architecture does not make sense: {error}") from error
    return nodes


# ---- receipt ---------------------------------------------------------------------------------------------------------


def unpack(data, place=0):
    """The MessagePack value at `place`, and where it ends: numbers, text, bytes, arrays."""
    tag, place = data[place], place + 1
    if tag <= 0x7F or tag >= 0xE0:
        return tag - 256 * (tag >= 0xE0), place
    sized = {0xC4: ("B", bytes), 0xC5: (">H", bytes), 0xC6: (">I", bytes), 0xD9: ("B", str), 0xDA: (">H", str),
             0xDC: (">H", list), 0xDD: (">I", list)}  # fmt: skip
    numbers = dict(zip(range(0xCC, 0xD4), ("B", ">H", ">I", ">Q", "b", ">h", ">i", ">q")))
    if tag in numbers:
        return struct.unpack_from(numbers[tag], data, place)[0], place + struct.calcsize(numbers[tag])
    if tag in sized:
        size, kind = struct.unpack_from(sized[tag][0], data, place)[0], sized[tag][1]
        place += struct.calcsize(sized[tag][0])
    elif tag & 0xE0 == 0xA0:
        size, kind = tag & 0x1F, str
    elif tag & 0xF0 == 0x90:
        size, kind = tag & 0x0F, list
    else:
        raise ValueError(f"a value of kind {tag:#x}")
    if size > len(data) - place:
        raise ValueError("a length beyond the end")
    if kind is not list:
        return (data[place : place + size] if kind is bytes else data[place : place + size].decode()), place + size
    entries = []
    for _ in range(size):
        entry, place = unpack(data, place)
        entries.append(entry)
    return entries, place


def pack(value):
    """The one encoding that Assay writes."""
    if isinstance(value, int):
        if -32 <= value < 128:
            return struct.pack("b", value)
        for kind, tag, low, high in (("B", 0xCC, 0, 8), (">H", 0xCD, 0, 16), (">I", 0xCE, 0, 32), (">Q", 0xCF, 0, 64),
                                     ("b", 0xD0, 7, 7), (">h", 0xD1, 15, 15), (">i", 0xD2, 31, 31), (">q", 0xD3, 63, 63)):  # fmt: skip
            if (0 if low == 0 else -(1 << low)) <= value < 1 << high and (low == 0) == (value >= 0):
                return bytes([tag]) + struct.pack(kind, value)
        raise ValueError("a number beyond 64 bits")
    if isinstance(value, list):
        return head(len(value), 0x90, 16, (None, 0xDC, 0xDD)) + b"".join(map(pack, value))
    if isinstance(value, str):
        return head(len(value.encode()), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + value.encode()
    return head(len(value), 0, 0, (0xC4, 0xC5, 0xC6)) + value


def head(size, short, limit, tags):
    if size < limit:
        return bytes([short | size])
    for tag, kind in zip(tags, ("B", ">H", ">I")):
        if tag is not None and size < 1 << 8 * struct.calcsize(kind):
            return bytes([tag]) + struct.pack(kind, size)
    raise ValueError("a length beyond 32 bits")


FIELDS = {
    "format": str, "version": int, "model": bytes, "architecture": bytes, "weights_root": bytes, "intervals": list,
    "queries": int, "batch": int, "nonce": bytes, "inputs": bytes, "outputs": bytes, "proof": bytes,
}  # fmt: skip


def read_receipt(data):
    try:
        values, end = unpack(data)
        canonical = end == len(data) and pack(values) == data
    except (ValueError, IndexError, struct.error, RecursionError) as error:
        raise Unreadable(f"this is not a receipt: {error}") from error
    if not canonical or not isinstance(values, list) or values[:2] != ["assay receipt", 1]:
        raise Unreadable("this is not a receipt of version 1")
    kinds = [type(value) for value in values]
    triples = values[5] if kinds == list(FIELDS.values()) else [None]
    if not all(isinstance(t, list) and [type(x) for x in t] == [int, int, int] for t in triples):
        raise Unreadable("this receipt is damaged")
    receipt = dict(zip(FIELDS, values))
    positions = [position for position, _, _ in triples]
    need(len(receipt["model"]) == 32, "a model is named by 32 bytes")
    need(
        (len(receipt["architecture"]) > 0) == (len(receipt["weights_root"]) > 0), "architecture and root come together"
    )
    need(len(receipt["weights_root"]) in (0, 32), "a root has 32 bytes")
    need(positions == sorted(set(positions)) and min(positions, default=0) >= 0, "the ranges are not in order")
    need(all(-LARGEST <= low <= high <= LARGEST for _, low, high in triples), "a range is empty or beyond the field")
    need(1 <= receipt["batch"] <= 1 << 20, "a batch has 1 to 2**20 pictures")
    need(16 <= len(receipt["nonce"]) <= 64, "a nonce has 16 to 64 bytes")
    need(receipt["queries"] == QUERIES, f"{QUERIES} columns are opened a commitment")
    return receipt


def numbers(values):
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


def verify(receipt, network=None, commitment=None, pictures=None, nonce=None):
    """The outputs, (batch, classes), as lists; raises Rejected if the receipt does not convince.

    Args:
        network: what `read_network` gave, or else `commitment`: 32 bytes.
        pictures: the client's own, a Tensor; None to trust the receipt's.
        nonce: the client's own; None to allow replay.
    """
    need(nonce is None or receipt["nonce"] == nonce, "this receipt answers another nonce")
    if network is not None:
        nodes, architecture, digest = network
        need(receipt["model"] == digest and not receipt["architecture"], "this receipt is about another model")
        weights = PublicWeights(nodes)
        limits = lambda node: (node["weight"].reach(), node["bias"].reach())  # noqa: E731
    else:
        architecture, root = receipt["architecture"], receipt["weights_root"]
        whole = WEIGHTS_DOMAIN + len(architecture).to_bytes(8, "little") + architecture + root
        need(receipt["model"] == commitment == hashlib.sha256(whole).digest(), "this receipt is about another model")
        nodes = read_architecture(architecture)
        weights = CommittedWeights(nodes, root)
        limits = lambda node: (128, 1 << 31)  # noqa: E731
    plan = Plan(nodes, receipt["batch"], {k: (low, high) for k, low, high in receipt["intervals"]}, limits)
    theirs = read_pictures(receipt["inputs"], plan)
    if pictures is not None:
        same = pictures.shape == theirs.shape and as_int64(widened(pictures)) == as_int64(widened(theirs))
        need(same, "this receipt is about other pictures than yours")
    outputs = Tensor(receipt["outputs"], 8, (plan.batch, plan.shapes[-1][0]))
    need(len(outputs.data) == 8 * prod(outputs.shape), "there are more or fewer answers than pictures")
    answers = outputs.numbers()
    need(all(-LARGEST <= value <= LARGEST for value in answers), "an answer is beyond the field")
    reader = Reader(receipt["proof"])
    ranges = numbers([number for triple in receipt["intervals"] for number in triple])
    for said in (numbers([QUERIES]), architecture, receipt["model"] + receipt["weights_root"], ranges,
                 numbers([plan.batch]), receipt["nonce"], receipt["inputs"], receipt["outputs"]):  # fmt: skip
        reader.bind(said)
    Verifier(reader, plan, weights).run(theirs, outputs)
    reader.finish()
    classes = plan.shapes[-1][0]
    return [answers[k : k + classes] for k in range(0, len(answers), classes)]


def read_pictures(data, plan):
    low, high = plan.loose[0]
    small = low >= 0 and high <= 255
    pictures = Tensor(data, 1 if small else 8, plan.shape(0), signed=not small)
    need(len(data) == pictures.width * prod(pictures.shape), "there are more or fewer pictures than the batch says")
    values = set(data) if small else set(pictures.numbers())
    need(low <= min(values) and max(values) <= high, "a picture is out of the network's range")
    return pictures


def widened(tensor):
    """Unsigned numbers with a byte of zeros above, as signed ones."""
    if tensor.signed:
        return tensor
    data = bytearray(len(tensor.data) // tensor.width * (tensor.width + 1))
    for k in range(tensor.width):
        data[k :: tensor.width + 1] = tensor.data[k :: tensor.width]
    return Tensor(bytes(data), tensor.width + 1, tensor.shape)


# ---- command line ----------------------------------------------------------------------------------------------------


def read_npz(path):
    """The array `x` of an .npz file."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("x.npy") as entry:
            data = entry.read()
        if data[:6] != b"\x93NUMPY":
            raise ValueError("x is not an array")
        wide = data[6] >= 2
        start = 12 if wide else 10
        length = int.from_bytes(data[8:start], "little")
        header = ast.literal_eval(data[start : start + length].decode("latin-1"))
        order, kind, width = header["descr"][0], header["descr"][1], int(header["descr"][2:])
        tensor = Tensor(data[start + length :], width, header["shape"], signed=kind == "i")
        whole = len(tensor.data) == width * prod(tensor.shape)
        if order not in "|<" or kind not in "iu" or width > 7 + (kind == "i") or header["fortran_order"] or not whole:
            raise ValueError("x must hold whole numbers, row by row")
    except (OSError, ValueError, KeyError, TypeError, IndexError, SyntaxError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path} does not hold pictures: {error}") from error
    return tensor


def read_file(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error


def main(arguments=None):
    """Read files, verify, print the verdict."""
    parser = argparse.ArgumentParser(description="Verify a receipt of Assay with Python's standard library alone.")
    parser.add_argument("receipt")
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument("--model", help="the network, net.assay")
    known.add_argument("--commitment", type=bytes.fromhex, help="or the commitment to it that you accepted, in hex")
    parser.add_argument("--inputs", help="your own pictures: an .npz with x")
    parser.add_argument("--nonce", type=bytes.fromhex, help="the nonce that you drew, in hex")
    parser.add_argument("--trust-receipt-inputs", action="store_true", help="take the pictures from the receipt")
    parser.add_argument("--allow-replay", action="store_true", help="do not compare the nonce")
    given = parser.parse_args(arguments)
    if given.inputs is None and not given.trust_receipt_inputs:
        parser.error("give your own --inputs, or say --trust-receipt-inputs")
    if given.nonce is None and not given.allow_replay:
        parser.error("give your own --nonce, or say --allow-replay")
    try:
        network = read_network(read_file(given.model)) if given.model else None
        pictures = read_npz(given.inputs) if given.inputs else None
        receipt = read_receipt(read_file(given.receipt))
        outputs = verify(receipt, network, given.commitment, pictures, given.nonce)
    except Rejected as error:
        print(f"{'unreadable' if isinstance(error, Unreadable) else 'rejected'}: {error}")
        return 2 if isinstance(error, Unreadable) else 1
    labels = [max(range(len(row)), key=row.__getitem__) for row in outputs]
    print(f"accepted: labels {', '.join(map(str, labels))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Correlated oblivious transfers by the million, out of 128 base transfers: SoftSpokenOT.

Source: Roy, "SoftSpokenOT: Quieter OT Extension from Small-Field Silent VOLE in the Minicrypt Model" (CRYPTO 2022),
the semi-honest protocol with the repetition code. In the paper's notation, for each of 128/f places:

1. A tree of hashes (Goldreich, Goldwasser, Micali) gives the receiver 2^f keys, and the sender all but the one at its
   secret Δ_i: f base transfers say which side of each level it learns.
2. The stream of key x is r_x. The receiver has u_i = Σ r_x and v_i = Σ x·r_x, the sender w_i = Σ (x - Δ_i)·r_x, so
   that w_i = v_i + u_i·Δ_i in GF(2^f).
3. The receiver sends u_i - u_0 for every place but the first, and the sender adds Δ_i times that: all places share u.

What comes out, for each transfer: the receiver has a bit u and 128 bits v, the sender 128 bits w = v + u·Δ.
Four of them with weights 1, x, x², x³ in GF(2^f) make one with a digit u of 4 bits: w = v + u·Δ, u in GF(2^f).

f = 4 moves 15.5 bytes for a 1-of-16 transfer. f = 8 moves half of that for five times the work of the processor, which
pays on links below some 200 Mb/s only: `assay bench private-nonlinear` has both.

Who learns what: the sender's view is its own Δ and pseudorandom corrections (each u_i, i > 0, hides under a stream with
a key unknown to it); the receiver sees nothing but the tree's corrections. 128 bits, computational.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from assay.kernels import kernel
from assay.private import base_ot
from assay.private.aes import Streams
from assay.private.channel import Channel
from assay.private.ntt import Words
from assay.private.wire import bits_of
from assay.private.words import fresh_words

BITS = 128
"""Of Δ: the computational security."""

Seeds = NDArray[np.uint8]
"""Keys of 16 bytes along the last axis, or bits."""

Planes = Words
"""Bit planes (128, words): bit j of plane p belongs to transfer j."""

FIELDS = {4: 0b10011, 8: 0b100011011}
"""f to the polynomial of GF(2^f)."""
FIELD = 4

ADVANCE = 256
"""Words a plane, that is 64 transfers each, that are made in one go: they stay in the cache."""


@dataclass(slots=True)
class Receiver:
    """The party with the bits u. `used` transfers were made."""

    streams: Streams
    field: int
    used: int = 0

    def extend(self, channel: Channel, words: int) -> tuple[Words, Planes]:
        """64·words more transfers: u (words,) and v (128, words). Sends (128/f - 1)·8·words bytes."""
        leaves = self.streams.draw(-(-words // 2)).reshape(BITS // self.field, 1 << self.field, -1)
        sums, planes = np.empty((len(leaves), words), np.uint64), np.empty((BITS, words), np.uint64)
        _fold(leaves, sums, planes)
        channel.send(sums[1:] ^ sums[0])
        self.used += 64 * words
        return sums[0], planes


@dataclass(slots=True)
class Sender:
    """The party with Δ.

    Attributes:
        delta: its places, 128/f numbers below 2^f.
        multiples: Δ times each digit from 0 to 15, (16, 2).
    """

    streams: Streams
    field: int
    delta: NDArray[np.uint8]
    multiples: Words
    used: int = 0

    def extend(self, channel: Channel, words: int) -> Planes:
        """64·words more transfers: w (128, words)."""
        places = BITS // self.field
        leaves = self.streams.draw(-(-words // 2)).reshape(places, 1 << self.field, -1)
        sums, planes = np.empty((places, words), np.uint64), np.empty((BITS, words), np.uint64)
        _fold(leaves, sums, planes)
        corrections = channel.receive((places - 1) * words * 8).view(np.uint64).reshape(places - 1, words)
        _correct(planes, corrections, self.delta)
        self.used += 64 * words
        return planes


def multiples(delta: NDArray[np.uint8], field: int) -> Words:
    """Δ times each digit from 0 to 15, (16, 2)."""
    lanes = np.array([[times(digit, int(d), field) for d in delta] for digit in range(16)], np.uint8)
    if field == 4:
        lanes = lanes[:, ::2] | lanes[:, 1::2] << np.uint8(4)
    return np.ascontiguousarray(lanes).view(np.uint64)


def times(a: int, b: int, field: int) -> int:
    """a·b in GF(2^field)."""
    product = 0
    for bit in range(field):
        product ^= a * (b >> bit & 1) << bit
    for bit in range(2 * field - 2, field - 1, -1):
        product ^= FIELDS[field] * (product >> bit & 1) << (bit - field)
    return product


def receiver(channel: Channel, session: bytes, field: int = FIELD) -> Receiver:
    """Set up as the party with the bits u; the other one calls `sender`."""
    pairs = base_ot.send(channel, BITS, session).reshape(BITS // field, field, 2, base_ot.KEY)
    keys, sums = zip(*(_tree(session, pair) for pair in pairs), strict=True)
    channel.send(np.stack(sums))
    return Receiver(Streams(np.concatenate(keys)), field)


def sender(channel: Channel, session: bytes, field: int = FIELD) -> Sender:
    """Set up as the party with Δ; the other one calls `receiver`."""
    bits = bits_of(fresh_words(2))
    known = base_ot.receive(channel, bits ^ np.uint8(1), session).reshape(BITS // field, field, base_ot.KEY)
    sums = channel.receive(BITS * 2 * base_ot.KEY).reshape(BITS // field, field, 2, base_ot.KEY)
    paths = bits.reshape(BITS // field, field)
    keys = [_punctured(session, *given) for given in zip(paths, known, sums, strict=True)]
    delta = (paths << np.arange(field - 1, -1, -1, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
    return Sender(Streams(np.concatenate(keys)), field, delta, multiples(delta, field))


def _tree(session: bytes, pairs: Seeds) -> tuple[Seeds, Seeds]:
    """All leaves (2^f, 16) of a random tree, and for each level both sides' sums under the base keys (f, 2, 16)."""
    nodes = fresh_words(2).view(np.uint8)[None]
    sums = np.empty_like(pairs)
    for level, pair in enumerate(pairs):
        nodes = _children(session, nodes)
        sums[level] = [np.bitwise_xor.reduce(nodes[side::2]) for side in (0, 1)] ^ pair
    return nodes, sums


def _punctured(session: bytes, path: Seeds, known: Seeds, sums: Seeds) -> Seeds:
    """Leaves as the sender has them: place y holds the key of x = y ⊕ Δ, and place 0, which it lacks, zeros."""
    nodes, hole = np.zeros((1, base_ot.KEY), np.uint8), 0
    for level, bit in enumerate(path):
        nodes = _children(session, nodes)
        hole, sibling = 2 * hole + int(bit), 2 * hole + 1 - int(bit)
        nodes[[hole, sibling]] = 0
        nodes[sibling] = known[level] ^ sums[level, 1 - bit] ^ np.bitwise_xor.reduce(nodes[1 - bit :: 2])
    nodes[hole] = 0
    return np.take(nodes, np.arange(len(nodes)) ^ hole, axis=0)


def _children(session: bytes, nodes: Seeds) -> Seeds:
    """Left and right child of each node, by SHA-256."""
    label = b"assay/ot-tree/1" + sha256(session).digest()
    made = [sha256(label + bytes([side]) + node.tobytes()).digest()[:16] for node in nodes for side in (0, 1)]
    return np.frombuffer(b"".join(made), np.uint8).reshape(-1, base_ot.KEY).copy()


@kernel
def _fold(leaves, sums, planes):  # type: ignore[no-untyped-def]
    """For each place: Σ r_x, and in plane b of its planes the sum of those r_x whose x has bit b. Overwrites leaves."""
    places, count, _ = leaves.shape
    words = sums.shape[1]
    for place in range(places):
        tree, plane = leaves[place], 0
        field = planes.shape[0] // places
        span = count
        while span > 1:
            half = span // 2
            out = planes[place * field + plane]
            for w in range(words):
                out[w] = tree[1, w]
                tree[0, w] ^= tree[1, w]
            for x in range(1, half):
                for w in range(words):
                    odd = tree[2 * x + 1, w]
                    out[w] ^= odd
                    tree[x, w] = tree[2 * x, w] ^ odd
            span, plane = half, plane + 1
        sums[place] = tree[0, :words]


@kernel
def _correct(planes, corrections, delta):  # type: ignore[no-untyped-def]
    """Add Δ_i·(u_i - u_0) to each place but the first."""
    field = len(planes) // len(delta)
    for place in range(1, len(delta)):
        for bit in range(field):
            if delta[place] >> bit & 1:
                for w in range(planes.shape[1]):
                    planes[place * field + bit, w] ^= corrections[place - 1, w]


@kernel
def _combine(four, polynomial, field, out):  # type: ignore[no-untyped-def]
    """(128, 4, words) → (128, words): Σ xˡ · part l in GF(2^f), place by place, by Horner's rule."""
    for start in range(0, len(four), field):
        out[start : start + field] = four[start : start + field, 3]
        for part in (2, 1, 0):
            for w in range(out.shape[1]):
                top = out[start + field - 1, w]
                for bit in range(field - 1, -1, -1):
                    lower = out[start + bit - 1, w] if bit else np.uint64(0)
                    if polynomial >> bit & 1:
                        lower ^= top
                    out[start + bit, w] = lower ^ four[start + bit, part, w]


def digits_of(planes: Planes, field: int) -> Planes:
    """(128, 4·words) → (128, words): quarter l of the transfers counts with weight xˡ."""
    out = np.empty((BITS, planes.shape[1] // 4), np.uint64)
    _combine(planes.reshape(BITS, 4, -1), FIELDS[field], field, out)
    return out


@kernel
def _transpose(planes, rows):  # type: ignore[no-untyped-def]
    """Eight columns of 64x64 bits at a time, by swapping halves, quarters, … (Warren, Hacker's Delight, 7-3)."""
    words = planes.shape[1]
    block = np.empty((64, 8), np.uint64)
    for start in range(0, words, 8):
        size = min(8, words - start)
        for half in range(2):
            for p in range(64):
                for i in range(8):
                    block[p, i] = planes[64 * half + p, start + i] if i < size else np.uint64(0)
            step, keep = 32, np.uint64(0xFFFFFFFF)
            while step:
                shift = np.uint64(step)
                for p in range(64):
                    if not p & step:
                        for i in range(8):
                            swap = ((block[p, i] >> shift) ^ block[p + step, i]) & keep
                            block[p, i] ^= swap << shift
                            block[p + step, i] ^= swap
                step >>= 1
                keep ^= keep << np.uint64(step)
            for i in range(size):
                for p in range(64):
                    rows[64 * (start + i) + p, half] = block[p, i]


def rows_of(planes: Planes) -> Words:
    """(128, words) → (64·words, 2): the 128 bits of each transfer."""
    rows = np.empty((64 * planes.shape[1], 2), np.uint64)
    _transpose(planes, rows)
    return rows

"""Millionaires: shares of "does A + B pass 2^m", for the server's A and the client's B, at several places at once.

Source: Rathee et al., "CrypTFlow2" (CCS 2020), section 3, on digits of 4 bits with 1-of-16 transfers; AND
triples as in Beaver (CRYPTO 1991), opened in an order of our own:

1. A + B ≥ 2^m is "2^m - 1 - A < B". The client tells how its prepared random digits differ from those of B.
2. For each digit the server masks a table, an entry for each of the 16 the client might have: less, and equal, each
   plus a random bit that is the server's share. The client takes the entry of its digit.
3. A tree joins neighbours: less = less_high ⊕ equal_high·less_low, equal = equal_high·equal_low. The server says its
   part of level 1 along with the tables; then each party, when it has heard the other's part of a level, knows its own
   share, and says its parts of this level and the next. So a message serves two levels: the eight digits of 31 bits
   take the server 2 messages and the client 3.

A carry out of the lowest `shift` bits is wanted too (truncation), and two thresholds of the same value (a clamp). They
differ in the server's A only, by multiples of 2^shift: one transfer with entries of 4 bits serves both.

Who learns what: nothing. The client sees one entry a digit, uniform by the server's bit, and openings masked by random
triples; the server sees differences of digits from random ones, and the same openings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.kernels import kernel
from assay.private.comparison_tree import Join, Tree
from assay.private.ntt import Words
from assay.private.party import Party
from assay.private.ring import Residues
from assay.private.wire import plane_words
from assay.private.words import fresh_words


@dataclass(slots=True)
class Shares:
    """One party's planes by slot, (slots, words): its shares of "less" and of "equal"."""

    less: Words
    equal: Words


def compare(party: Party, tree: Tree, values: list[Residues]) -> Words:
    """Shares (slots, words) of all carries of A + B.

    Args:
        values: the server's A of each threshold; only the first one's low bits count. The client's B.
    """
    count = len(values[0])
    words = plane_words(count)
    shares = Shares(np.zeros((tree.slots, words), np.uint64), np.zeros((tree.slots, words), np.uint64))
    if party.serves:
        _answer(party, tree, values, shares)
    else:
        _ask(party, tree, values[0], shares)
    _join(party, tree, shares)
    return shares.less


def _ask(party: Party, tree: Tree, value: Residues, shares: Shares) -> None:
    """The client's part of steps 1 and 2."""
    count = len(value)
    held = party.store.take("digits", count * len(tree.digits))[0].reshape(-1, count)
    flips = np.zeros((2 * -(-len(held) // 2), count), np.uint8)
    for digit, own, flip in zip(tree.digits, held, flips, strict=False):
        _difference(value, digit.start, digit.width, own, flip)
    party.channel.send(flips[::2] | flips[1::2] << 4)
    for digit, own in zip(tree.digits, held, strict=True):
        table = party.channel.receive(count * digit.entry_bytes).view(f"u{digit.entry_bytes}")
        slots = slice(digit.slot, digit.slot + digit.thresholds)
        _look_up(value, digit.start, digit.width, own, table, shares.less[slots], shares.equal[slots])


def _answer(party: Party, tree: Tree, values: list[Residues], shares: Shares) -> None:
    """The server's part of steps 1 and 2."""
    count = len(values[0])
    pads = party.store.take("digits", count * len(tree.digits))[0].reshape(-1, count)
    leaves = sum(digit.thresholds for digit in tree.digits)
    own = fresh_words(2 * leaves * plane_words(count)).reshape(2, leaves, -1)
    shares.less[:leaves], shares.equal[:leaves] = own
    flips = party.channel.receive(-(-len(pads) // 2) * count).reshape(-1, count)
    for i, (digit, pad) in enumerate(zip(tree.digits, pads, strict=True)):
        table = np.empty(count, f"u{digit.entry_bytes}")
        slots = slice(digit.slot, digit.slot + digit.thresholds)
        given = shares.less[slots], shares.equal[slots]
        flip = flips[i // 2] >> 4 if i % 2 else flips[i // 2] & 15
        _tables(values[0], values[-1], digit.start, digit.width, pad, flip, *given, table)
        party.channel.send(table)


@dataclass(slots=True)
class Opening:
    """A level of joins under way: what this party says of its inputs, hidden by triples.

    `masks` and `said` are planes (3·doubles + 2·singles, words): equal_high, less_low, equal_low of the doubles in
    turn, then equal_high, less_low of the singles. `products` are the triples' products, in the order of the results.
    """

    level: tuple[Join, ...]
    masks: Words
    said: Words
    products: Words

    def send(self, party: Party) -> None:
        party.channel.send(self.said)

    def receive(self, party: Party) -> Words:
        return party.channel.receive(self.said.nbytes).view(np.uint64).reshape(self.said.shape)


def _open(party: Party, level: tuple[Join, ...], shares: Shares) -> Opening:
    doubles = [join for join in level if join.equal]
    singles = [join for join in level if not join.equal]
    high, low = [join.high for join in level], [join.low for join in level]
    d, s, words = len(doubles), len(singles), shares.less.shape[1]
    (two,) = party.store.take("doubles", d * words) if d else (np.zeros((5, 0), np.uint64),)
    (one,) = party.store.take("singles", s * words) if s else (np.zeros((3, 0), np.uint64),)
    two, one = two.reshape(5, d, words), one.reshape(3, s, words)
    masks = np.concatenate([*two[:3], *one[:2]])
    inputs = np.concatenate(
        [
            shares.equal[high[:d]],
            shares.less[low[:d]],
            shares.equal[low[:d]],
            shares.equal[high[d:]],
            shares.less[low[d:]],
        ]
    )
    return Opening(level, masks, inputs ^ masks, np.concatenate([two[3], one[2], two[4]]))


def _close(party: Party, opening: Opening, other: Words, shares: Shares) -> None:
    """x·y = (a + α)(b + β) with α, β open; a·b is shared, and one party adds α·β."""
    level = opening.level
    d = sum(join.equal for join in level)
    s = len(level) - d
    cuts = np.cumsum([d, d, d, s])
    a, b, b2, a1, b1 = np.split(opening.masks, cuts)
    x, y, y2, x1, y1 = np.split(opening.said ^ other, cuts)
    a, b, x, y = (np.concatenate(both) for both in ((a, a1, a), (b, b1, b2), (x, x1, x), (y, y1, y2)))
    products = opening.products ^ a & y ^ b & x
    if party.serves:
        products ^= x & y
    high, out = [join.high for join in level], [join.out for join in level]
    shares.less[out] = shares.less[high] ^ products[: d + s]
    shares.equal[out[:d]] = products[d + s :]


def _join(party: Party, tree: Tree, shares: Shares) -> None:
    """Step 3. Who speaks first alternates, so that who has just listened says two levels without waiting."""
    for depth, level in enumerate(tree.levels):
        opening = _open(party, level, shares)
        if party.serves == (depth % 2 == 0):
            opening.send(party)
            other = opening.receive(party)
        else:
            other = opening.receive(party)
            opening.send(party)
        _close(party, opening, other, shares)


_LESS_OR_EQUAL = np.array(
    [sum(((own < j) | (own == j) << 1) << 4 * j for j in range(16)) for own in range(16)], np.uint64
)
"""By the server's digit: in bits 4j and 4j + 1 whether it is less than j, and equal to j."""


@kernel
def _difference(value, start, width, held, out):  # type: ignore[no-untyped-def]
    """The prepared digit less the real one, mod 16."""
    keep = (1 << width) - 1
    for i in range(len(value)):
        out[i] = ((held[i] & 15) - (np.int64(value[i] >> start) & keep)) & 15


@kernel
def _look_up(value, start, width, held, table, less, equal):  # type: ignore[no-untyped-def]
    """The entry at the client's digit, unmasked by its pad, into planes (thresholds, words)."""
    keep, thresholds = (1 << width) - 1, len(less)
    lane = 2 * thresholds
    for word in range(less.shape[1]):
        size = min(64, len(value) - 64 * word)
        for t in range(thresholds):
            below, same = np.uint64(0), np.uint64(0)
            for j in range(size):
                i = 64 * word + j
                digit = np.int64(value[i] >> start) & keep
                entry = (np.uint64(table[i]) >> np.uint64(lane * digit + 2 * t)) ^ np.uint64(held[i] >> (4 + 2 * t))
                below |= (entry & np.uint64(1)) << np.uint64(j)
                same |= ((entry >> np.uint64(1)) & np.uint64(1)) << np.uint64(j)
            less[t, word], equal[t, word] = below, same


@kernel
def _tables(own, other, start, width, pads, flips, less, equal, out):  # type: ignore[no-untyped-def]
    """The server's masked tables; `less` and `equal` hold its shares, one plane for each threshold.

    Entry j lies where the client's digit is j, so its pad is that of the prepared digit j + flip: pads are turned.
    """
    keep, two = (1 << width) - 1, len(less) == 2
    table = _LESS_OR_EQUAL
    ones = np.uint64(0x1111111111111111)
    for i in range(len(own)):
        word, bit = i // 64, np.uint64(i % 64)
        turn = np.uint64(4 * flips[i])
        entries = (pads[i] >> turn) | (pads[i] << ((np.uint64(64) - turn) & np.uint64(63)))
        entries ^= table[keep - (np.int64(own[i] >> start) & keep)]
        share = (less[0, word] >> bit & np.uint64(1)) | (equal[0, word] >> bit & np.uint64(1)) << np.uint64(1)
        if two:
            entries ^= table[keep - (np.int64(other[i] >> start) & keep)] << np.uint64(2)
            share |= (less[1, word] >> bit & np.uint64(1)) << np.uint64(2)
            share |= (equal[1, word] >> bit & np.uint64(1)) << np.uint64(3)
        entries ^= share * ones
        out[i] = entries if two else _halved(entries)


@kernel
def _halved(entries):  # type: ignore[no-untyped-def]
    """The lower 2 bits of each 4, side by side."""
    x = entries & np.uint64(0x3333333333333333)
    x = (x | x >> np.uint64(2)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    x = (x | x >> np.uint64(4)) & np.uint64(0x00FF00FF00FF00FF)
    x = (x | x >> np.uint64(8)) & np.uint64(0x0000FFFF0000FFFF)
    return (x | x >> np.uint64(16)) & np.uint64(0x00000000FFFFFFFF)

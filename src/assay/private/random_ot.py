"""From correlated transfers, w = v + u·Δ, to random ones, and to products of random bits and words.

A key of the receiver is H(v), the sender's are H(w + j·Δ) for each choice j; H is the correlation robust hash of `aes`.
Since multiplication by j is a bijection of the possible Δ, each unknown key hides 128 bits, as if there were only one.

Triples and products follow Gilboa, "Two Party RSA Key Generation" (CRYPTO 1999): with a random transfer of (m0, m1) and
choice c, the receiver has m0 + c·(m1 - m0), so that the parties share c times the sender's difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.kernels import kernel
from assay.private import ot_extension as extension
from assay.private.aes import Permutation
from assay.private.channel import Channel
from assay.private.ntt import Words
from assay.private.ring import Ring
from assay.private.wire import bits_of, packed_words, plane_words, unpacked_words
from assay.private.words import fresh_words, packed_size

Piece = tuple[NDArray[Any], ...]
"""Arrays of one kind of material, along their last axis."""

CHOICES = 16
"""Tweaks set aside for each correlated transfer: the hash's tweak is 16·number + choice, never the same twice."""

DIGITS, BITS, WORDS = 1, 2, 3
"""What the keys are for: the other half of the tweak."""


@dataclass(slots=True)
class Maker:
    """Makes material for one party, from the sender's or the receiver's end of the extension.

    Each call uses new transfers; both parties make the same calls in the same order.
    """

    channel: Channel
    source: extension.Receiver | extension.Sender
    permutation: Permutation
    ring: Ring

    def digits(self, count: int) -> Piece:
        """1-of-16 transfers with pads of 4 bits.

        Sender: (pads,) uint64, pad j in bits 4j to 4j + 3. Receiver: (held,) uint8, its digit plus 16 times its pad.
        """
        return _joined([self._digits(words) for words in _portions(plane_words(count), extension.ADVANCE // 4)], count)

    def _digits(self, words: int) -> Piece:
        first = self.source.used
        if isinstance(self.source, extension.Sender):
            planes = extension.digits_of(self.source.extend(self.channel, 4 * words), self.source.field)
            keys = _every_choice(extension.rows_of(planes), self.source.multiples)
            self.permutation.hash(keys, DIGITS, _tweaks(first, len(keys)))
            return (_pads(keys),)
        u, v = self.source.extend(self.channel, 4 * words)
        bits = bits_of(u).reshape(4, -1)
        digit = bits[0] | bits[1] << 1 | bits[2] << 2 | bits[3] << 3
        keys = extension.rows_of(extension.digits_of(v, self.source.field))
        self.permutation.hash(keys, DIGITS, _tweaks(first, CHOICES * len(keys), CHOICES) + digit)
        return (digit | (keys[:, 0].astype(np.uint8) & 15) << 4,)

    def words(self, count: int) -> Piece:
        """1-of-2 transfers of ring elements. Sender: (m0, m1). Receiver: (choice uint8, m)."""
        return _joined([self._words(words) for words in _portions(plane_words(count))], count)

    def _words(self, words: int) -> Piece:
        choices, keys = self._hashed(words, WORDS)
        values = tuple(self.ring.reduce(rows[:, 0]) for rows in keys)
        return values if choices is None else (bits_of(choices), *values)

    def singles(self, words: int) -> Piece:
        """AND triples: planes (3, words) of a, b, a·b."""
        return _joined([self._singles(size) for size in _portions(words)], words)

    def _singles(self, words: int) -> Piece:
        mine, known = self._bits(2 * words, 1)
        a, b = mine[0, :words], mine[0, words:]
        if isinstance(self.source, extension.Sender):
            a, b = b, a  # its differences meet the receiver's choices crosswise
        product = known[0, :words] ^ known[0, words:] ^ a & b
        return (np.stack([a, b, product]),)

    def doubles(self, words: int) -> Piece:
        """Pairs of AND triples with a in common: planes (5, words) of a, b, b', a·b, a·b'."""
        return _joined([self._doubles(size) for size in _portions(words)], words)

    def _doubles(self, words: int) -> Piece:
        mine, known = self._bits(words, 2)
        third, more = self._bits(2 * words, 1)
        if isinstance(self.source, extension.Sender):
            (b, other), a = mine, third[0, :words]
            again = third[0, words:]
            self.channel.send(again ^ a)
            fixed = more[0]
        else:
            a, b, other = mine[0], third[0, :words], third[0, words:]
            turned = self.channel.receive(8 * words).view(np.uint64)
            fixed = np.concatenate([more[0, :words], more[0, words:] ^ other & turned])
        products = known ^ fixed.reshape(2, words) ^ a & np.stack([b, other])
        return (np.concatenate([np.stack([a, b, other]), products]),)

    def _bits(self, words: int, width: int) -> tuple[Words, Words]:
        """64·words transfers of `width` bits, as planes (width, words).

        Sender: m0 ⊕ m1, and m0. Receiver: its choices, one plane, and what it got: m0 plus choice times difference.
        """
        choices, keys = self._hashed(words, BITS)
        planes = [_lowest(rows, width) for rows in keys]
        return (planes[0] ^ planes[1], planes[0]) if choices is None else (choices[None], planes[0])

    def products(self, count: int) -> Piece:
        """Sender: a, share of a·b. Receiver: b, share of a·b. All mod 2^(k-1), which is what twice a product needs."""
        return _joined([self._products(size) for size in _portions(count, 64 * extension.ADVANCE)], count)

    def _products(self, count: int) -> Piece:
        top = self.ring.bits - 1
        own, share = np.zeros(count, self.ring.dtype), np.zeros(count, self.ring.dtype)
        sends = isinstance(self.source, extension.Sender)
        if sends:
            own = self.ring.reduce(fresh_words(count)) & self.ring.dtype(self.ring.mask >> 1)
        for bit in range(top):
            place, width = self.ring.dtype(bit), top - bit
            m, other = self.words(count)
            if sends:
                self.channel.send(packed_words(m + own - other, width))
                share -= m << place
            else:
                said = self.channel.receive(packed_size(count, width))
                told = unpacked_words(said, count, width, self.ring.dtype)
                own |= m.astype(self.ring.dtype) << place
                share += (other + m * told) << place
        return own, share & self.ring.dtype(self.ring.mask >> 1)

    def _hashed(self, words: int, domain: int) -> tuple[Words | None, list[Words]]:
        """Choices (the sender has none), and the keys (64·words, 2) of each choice that the party knows."""
        first = self.source.used
        tweaks = _tweaks(first, CHOICES * 64 * words, CHOICES)
        if isinstance(self.source, extension.Sender):
            zero = extension.rows_of(self.source.extend(self.channel, words))
            one = zero ^ self.source.multiples[1]
            self.permutation.hash(zero, domain, tweaks)
            self.permutation.hash(one, domain, tweaks + np.uint64(1))
            return None, [zero, one]
        u, v = self.source.extend(self.channel, words)
        keys = extension.rows_of(v)
        self.permutation.hash(keys, domain, tweaks + bits_of(u))
        return u, [keys]


def _portions(total: int, most: int = extension.ADVANCE) -> Iterator[int]:
    """`total` in parts of at most `most`."""
    yield from (min(most, total - start) for start in range(0, total, most))


def _joined(parts: list[Piece], count: int) -> Piece:
    return tuple(np.concatenate(arrays, axis=-1)[..., :count] for arrays in zip(*parts, strict=True))


def _tweaks(first: int, count: int, step: int = 1) -> Words:
    """From that of transfer number `first` on, every `step`-th of `count`."""
    return np.arange(CHOICES * first, CHOICES * first + count, step, dtype=np.uint64)


@kernel
def _every_choice(rows, multiples):  # type: ignore[no-untyped-def]
    """(n, 2) → (16·n, 2): w + j·Δ for each digit j."""
    keys = np.empty((16 * len(rows), 2), np.uint64)
    for i in range(len(rows)):
        for j in range(16):
            keys[16 * i + j, 0] = rows[i, 0] ^ multiples[j, 0]
            keys[16 * i + j, 1] = rows[i, 1] ^ multiples[j, 1]
    return keys


@kernel
def _pads(keys):  # type: ignore[no-untyped-def]
    """(16·n, 2) → (n,): 4 bits of each of 16 keys."""
    out = np.empty(len(keys) // 16, np.uint64)
    for i in range(len(out)):
        pads = np.uint64(0)
        for j in range(16):
            pads |= (keys[16 * i + j, 0] & np.uint64(15)) << np.uint64(4 * j)
        out[i] = pads
    return out


@kernel
def _lowest(keys, width):  # type: ignore[no-untyped-def]
    """(64·words, 2) → planes (width, words): the lowest bits of each key."""
    out = np.zeros((width, len(keys) // 64), np.uint64)
    for bit in range(width):
        for w in range(out.shape[1]):
            word = np.uint64(0)
            for j in range(64):
                word |= (keys[64 * w + j, 0] >> np.uint64(bit) & np.uint64(1)) << np.uint64(j)
            out[bit, w] = word
    return out

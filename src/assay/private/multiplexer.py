"""Shares of "bit times word", by prepared transfers of words.

Source: correlated transfers of Asharov, Lindell, Schneider, Zohner, "More Efficient Oblivious Transfer" (CCS 2013),
derandomised as in Beaver (CRYPTO 1995); their use for a multiplexer in Rathee et al., "CrypTFlow2" (CCS 2020).

For a choice bit of one party and a word δ of the other, with prepared (m0, m1) there and (c, m_c) here:

1. The chooser says e = c ⊕ choice.
2. The other one says m_e + δ - m_{1-e}, and takes -m_e for its share.
3. The chooser takes m_c, plus what it heard if it chose 1: its share is m_e + choice·δ.

Cost: one bit one way, one word the other. Who learns what: nothing; e is masked by the random c, and the word by the
pad that the chooser does not have. A bit that is itself shared, d = d0 ⊕ d1, times a shared word v = v0 + v1, is
d0·v0 + d1·(1 - 2·d0)·v0 and the same with the parties changed: one transfer each way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from assay.private.party import Party
from assay.private.ring import Residues
from assay.private.wire import Bits, bits_of, packed_words, planes_of, unpacked_words
from assay.private.words import packed_size

Direction = Literal["down", "up"]
"""Who offers: the server, or the client."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The chooser's end of transfers (rows, n)."""

    party: Party
    bits: Bits
    pads: Residues

    def receive(self, row: int, width: int) -> Residues:
        """Its share of bits·δ mod 2^width, for the transfers of one row."""
        ring = self.party.ring
        count = self.bits.shape[1]
        said = self.party.channel.receive(packed_size(count, width))
        share: Residues = self.pads[row] + self.bits[row] * unpacked_words(said, count, width, ring.dtype)
        return share


@dataclass(frozen=True, slots=True)
class Offers:
    """The other end: the pads of choice 0, and of choice 1."""

    party: Party
    zero: Residues
    one: Residues

    def send(self, row: int, delta: Residues, width: int) -> Residues:
        """Its share of bits·delta mod 2^width, for the transfers of one row."""
        self.party.channel.send(packed_words(self.zero[row] + delta - self.one[row], width))
        share: Residues = np.negative(self.zero[row])
        return share


def choose(party: Party, direction: Direction, bits: Bits) -> Choices:
    """Step 1, for bits (rows, n)."""
    prepared, pads = party.store.take(direction, bits.size)
    flips = prepared.reshape(bits.shape) ^ bits
    party.channel.send(planes_of(flips))
    return Choices(party, bits, pads.reshape(bits.shape))


def offer(party: Party, direction: Direction, rows: int, count: int) -> Offers:
    """The other side of step 1."""
    pads = [pad.reshape(rows, count) for pad in party.store.take(direction, rows * count)]
    said = party.channel.receive(rows * 8 * -(-count // 64)).view(np.uint64)
    flips = bits_of(said.reshape(rows, -1), count).astype(bool)
    return Offers(party, np.where(flips, *pads[::-1]), np.where(flips, *pads))


def signed(bits: Bits, words: Residues) -> Residues:
    """(1 - 2·bit)·word."""
    return np.where(bits, np.negative(words), words)

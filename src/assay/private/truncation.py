"""Shares of x >> shift, exact, for x in [0, 2^(k-1)).

Source: Rathee et al., "CrypTFlow2" (CCS 2020), section 4; the cheap wrap bit as in Huang et al., "Cheetah" (USENIX
Security 2022). With shares x = a + b - 2^k·wrap:

    x >> s  =  (a >> s) + (b >> s) + carry - 2^(k-s)·wrap

The carry out of the lowest s bits comes from the comparison's tree. As x is below 2^(k-1), the sum of the shares wraps
exactly if one of them has its highest bit set: wrap = a' ∨ b' = a' + b' - a'·b' for bits that each party knows. Values
that may be negative are moved up first by a multiple of 2^s, and the image is moved back: the callers do that.

Cost: a word of k bits for the carry, one of s bits for the wrap, and two bits. Who learns what: nothing.
"""

from __future__ import annotations

import numpy as np

from assay.private.multiplexer import Choices, Offers, signed
from assay.private.ring import Residues, Ring
from assay.private.wire import Bits

ROWS = 2
"""Transfers a value: the carry's and the wrap's, in this order from a given row on."""


def highest_bit(value: Residues, bits: int) -> Bits:
    """Bit number bits - 1."""
    bit: Bits = (value >> value.dtype.type(bits - 1) & value.dtype.type(1)).astype(np.uint8)
    return bit


def choices(ring: Ring, value: Residues, carry: Bits) -> list[Bits]:
    """What the client chooses."""
    return [carry, highest_bit(value, ring.bits)]


def clients(ring: Ring, shift: int, value: Residues, chosen: Choices, row: int) -> Residues:
    """The client's share, by what the server sends now."""
    shifted: Residues = _shifted(ring, shift, value) + chosen.receive(row, ring.bits)
    shifted += chosen.receive(row + 1, shift) << ring.dtype(ring.bits - shift)
    return shifted


def servers(ring: Ring, shift: int, value: Residues, carry: Bits, offered: Offers, row: int) -> Residues:
    """The server's share: carry = own + other·(1 - 2·own), and a'·b' of the highest bits."""
    shifted: Residues = _shifted(ring, shift, value) + carry
    one = np.ones(len(value), ring.dtype)
    shifted += offered.send(row, signed(carry, one), ring.bits)
    both = offered.send(row + 1, highest_bit(value, ring.bits).astype(ring.dtype), shift)
    shifted += both << ring.dtype(ring.bits - shift)
    return shifted


def _shifted(ring: Ring, shift: int, value: Residues) -> Residues:
    wrapped = highest_bit(value, ring.bits).astype(ring.dtype) << ring.dtype(ring.bits - shift)
    moved: Residues = (value >> ring.dtype(shift)) - wrapped
    return moved

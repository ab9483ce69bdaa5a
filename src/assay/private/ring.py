"""Z mod 2^k: the ring in which values are shared between the two parties.

A shared value v is a pair of residues with server + client = v mod 2^k; either one alone is uniform. A residue stands
for the integer in [-2^(k-1), 2^(k-1)) that is congruent to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError

Residues = NDArray[Any]
"""uint32 if the ring has at most 32 bits, else uint64; always below 2^k."""

LARGEST_RING = 48
"""Bits; beyond it the encrypted linear layers have no room for noise."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Z mod 2^bits, with `bits` from 2 to 48."""

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= LARGEST_RING:
            raise ModelError(f"two parties can compute with values of 2 to {LARGEST_RING} bits, not {self.bits}")

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of arrays of residues."""
        return np.uint32 if self.bits <= 32 else np.uint64

    @property
    def mask(self) -> int:
        """2^bits - 1."""
        return (1 << self.bits) - 1

    def reduce(self, values: NDArray[Any]) -> Residues:
        """Integers of any kind → residues."""
        return (values.astype(np.uint64) & np.uint64(self.mask)).astype(self.dtype)

    def signed(self, residues: Residues) -> NDArray[np.int64]:
        """Residues → the integers they stand for."""
        spare = np.int64(64 - self.bits)
        lifted: NDArray[np.int64] = (residues.astype(np.int64) << spare) >> spare
        return lifted

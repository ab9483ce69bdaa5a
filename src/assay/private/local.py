"""What each party does on its own share: sums, shifts and moves commute with sharing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.integer import graph as g
from assay.integer.windows import taps
from assay.private.ring import Residues, Ring


def rearranged(node: g.Node, shares: Sequence[Residues], ring: Ring, constants: bool) -> Residues:
    """One party's share of the node's tensor from its shares of what it reads, `n c h w` or `n k`.

    `constants`: whether this party, and only it, adds what is not a multiple of a share: the server.
    """
    x = shares[0]
    match node:
        case g.Offset(value=value):
            return _reduced(x + ring.reduce(value)[:, None, None], ring) if constants else x
        case g.Add(shifts=shifts):
            total = np.zeros_like(x)
            for share, shift in zip(shares, shifts, strict=True):
                total += share << x.dtype.type(shift)
            return _reduced(total, ring)
        case g.SumPool(kernel=kernel) if kernel == x.shape[2:] and not any(node.padding):
            # The loop below is a pass for each pixel of the window, here of the whole picture.
            return _reduced(x.sum(axis=(2, 3), keepdims=True, dtype=x.dtype), ring)
        case g.SumPool():
            windows = taps(x.transpose(0, 2, 3, 1), node, 0)
            total = next(windows).copy()
            for tap in windows:
                total += tap
            return _reduced(np.ascontiguousarray(total.transpose(0, 3, 1, 2)), ring)
        case g.Flatten():
            return x.reshape(len(x), -1)
        case g.Concat():
            return np.concatenate(shares, axis=1)
        case g.Subsample(stride=(down, right)):
            return np.ascontiguousarray(x[:, :, ::down, ::right])
        case g.PadChannels(before=before, after=after):
            return np.pad(x, ((0, 0), (before, after), (0, 0), (0, 0)))
    raise TypeError(f"{type(node).__name__} is not an operation that parties do alone")


def _reduced(x: Residues, ring: Ring) -> Residues:
    """Words wrap at 32 or 64 bits, which 2^k divides, so reducing once at the end is enough."""
    x &= x.dtype.type(ring.mask)
    return x

"""What a linear layer costs while somebody waits: the server's own product with x - r, exact modulo 2^k.

No byte is sent, and neither party learns anything: x - r is uniform, and the result is the server's share.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.integer.bounds import Bound
from assay.integer.graph import Conv2d, Linear
from assay.integer.products import FLOAT64, planned_product
from assay.private.ring import Residues, Ring


def apply(ring: Ring, node: Conv2d | Linear, masked: Residues, share: Residues) -> Residues:
    """The server's online part: W·(x - r) + s + bias mod 2^k, exact, in the clear.

    Args:
        masked: x - r, `n c h w` or `n k`. share: s, in the shape of the outputs `n …`.

    Cost: one float64 matrix product while the bits of the ring and of Σ|w| are at most 53 together, else two or more.
    """
    multiply, limb = exact_product(node, ring)
    x = ring.signed(masked)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x
    total: NDArray[Any] = share.astype(np.int64)
    for shift in range(0, ring.bits, limb):
        part = channels_last >> shift
        part = part if shift + limb >= ring.bits else part & ((1 << limb) - 1)
        found = multiply(part.astype(np.float64)).astype(np.int64)
        total = total + ((found.transpose(0, 3, 1, 2) if found.ndim == 4 else found) << shift)
    bias = ring.signed(ring.reduce(node.bias))
    return ring.reduce(total + (bias[:, None, None] if x.ndim == 4 else bias))


@lru_cache(maxsize=1024)
def exact_product(node: Conv2d | Linear, ring: Ring) -> tuple[Any, int]:
    """x → W·x on float64, and how many bits of x it is exact for."""
    heaviest = int(np.abs(node.weight).reshape(len(node.weight), -1).sum(1).max())
    limb = min(ring.bits, FLOAT64.bit_length() - 1 - max(heaviest, 1).bit_length())
    fields = {name: getattr(node, name) for name in node.__dataclass_fields__}
    plain = type(node)(**fields | {"bias": np.zeros_like(node.bias)})
    channels = node.weight.shape[1] * (node.groups if isinstance(node, Conv2d) else 1)
    edge = np.full(channels, 1 << limb)
    step = planned_product(plain, Bound(-edge, edge), Bound(np.zeros(1, np.int64), np.zeros(1, np.int64)))
    return lambda x: step([x], False)[0], limb

"""One protocol a kind of layer: a claim on the output becomes claims on the inputs.

Requantisation, ReLU and half of max pooling have no protocol here: they are lookups, all of them in one instance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assay.integer import graph as g
from assay.proof.layers.convolution import prove_convolution, verify_convolution
from assay.proof.layers.linear import prove_linear, verify_linear
from assay.proof.layers.merge import prove_merge, verify_merge
from assay.proof.layers.pooling import prove_max_pool, prove_sum_pool, verify_max_pool, verify_sum_pool
from assay.proof.layers.selection import prove_selection, verify_selection
from assay.proof.layers.square import prove_square_layer, verify_square_layer
from assay.proof.layers.sums import prove_add, settle_offset, verify_add

PROVERS: dict[type[g.Operation], Callable[..., Any]] = {
    g.Offset: settle_offset,
    g.Conv2d: prove_convolution,
    g.Linear: prove_linear,
    g.Add: prove_add,
    g.SumPool: prove_sum_pool,
    g.Square: prove_square_layer,
    g.Flatten: prove_selection,
    g.Concat: prove_selection,
    g.Subsample: prove_sum_pool,
    g.PadChannels: prove_selection,
}
VERIFIERS: dict[type[g.Operation], Callable[..., Any]] = {
    g.Offset: settle_offset,
    g.Conv2d: verify_convolution,
    g.Linear: verify_linear,
    g.Add: verify_add,
    g.SumPool: verify_sum_pool,
    g.Square: verify_square_layer,
    g.Flatten: verify_selection,
    g.Concat: verify_selection,
    g.Subsample: verify_sum_pool,
    g.PadChannels: verify_selection,
}

__all__ = ["PROVERS", "VERIFIERS", "prove_max_pool", "prove_merge", "verify_max_pool", "verify_merge"]

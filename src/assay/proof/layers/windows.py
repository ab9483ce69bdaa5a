"""Sums over windows of a picture as sums over the picture: the second half of convolution, and all of pooling.

A window of row y has its a-th row at u = stride·y + dilation·a − padding. For any weights t_a of the window's rows,

    K(u) = Σ_{y, a: stride·y + dilation·a − padding = u} eq(r_y, y)·t_a

and likewise for columns, so that

    Σ_{y,x,a,b} eq(r_y, y) eq(r_x, x) t_a t_b X[c, u(y,a), v(x,b)] = Σ_{u,v} K(u) K(v) X[c, u, v].

What lies outside the picture is left out, which is zero padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.integer.graph import Conv2d, MaxPool, Subsample, SumPool
from assay.kernels import kernel
from assay.proof.errors import VerificationError
from assay.proof.field import Element, Words, add, ext_mul, pack
from assay.proof.multilinear import (
    Point,
    combine,
    combine_elements,
    eq_table,
    evaluate,
    outer,
    pad_axes,
    split,
    variables,
)
from assay.proof.parties import Proving, Verifying
from assay.proof.sumcheck import prove_pair, verify_pair


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the windows lie along rows, or along columns."""

    side: int
    count: int
    taps: int
    stride: int
    dilation: int
    padding: int


def axes(
    node: Conv2d | SumPool | MaxPool | Subsample, given: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Axis, Axis]:
    """Rows and columns; `given` and `shape` are those of input and output, ending in height and width."""
    if isinstance(node, Subsample):
        kernel: tuple[int, ...] = (1, 1)
    else:
        kernel = node.weight.shape[2:] if isinstance(node, Conv2d) else node.kernel
    dilation = node.dilation if isinstance(node, Conv2d | MaxPool) else (1, 1)
    padding = (0, 0, 0, 0) if isinstance(node, Subsample) else node.padding
    rows, columns = (
        Axis(given[k - 2], shape[k - 2], kernel[k], node.stride[k], dilation[k], padding[2 * k]) for k in (0, 1)
    )
    return rows, columns


@kernel
def _spread(at: Words, taps: Words, count: int, stride: int, dilation: int, padding: int, out: Words) -> None:
    for y in range(count):
        for a in range(len(taps)):
            u = stride * y + dilation * a - padding
            if 0 <= u < len(out):
                re, im = ext_mul(at[y, 0], at[y, 1], taps[a, 0], taps[a, 1])
                out[u, 0], out[u, 1] = add(out[u, 0], re), add(out[u, 1], im)


def spread(axis: Axis, point: Point, taps: Words) -> Words:
    """K(u) for all u, shape (side, 2). Cost: count · taps."""
    out = np.zeros((axis.side, 2), np.uint64)
    _spread(eq_table(point), taps[: axis.taps], axis.count, axis.stride, axis.dilation, axis.padding, out)
    return out


def ones(count: int) -> Words:
    """Weights of a plain sum."""
    return pack([Element(1)] * count)


def bound_to_channel(prover: Proving, position: int, batch_point: Point, channel_point: Point) -> Words:
    """A picture tensor bound to a point of batch and channels: (h·w, 2)."""
    values = prover.values[position]
    batch, channels, height, width = values.shape
    if batch == 1:
        return combine(values.reshape(channels, height * width), eq_table(channel_point))
    pictures = combine(values.reshape(batch, -1), eq_table(batch_point))
    return combine_elements(pictures.reshape(channels, height * width, 2), eq_table(channel_point))


def prove_window_sum(
    prover: Proving, source: int, head: tuple[Point, Point], kernels: tuple[Words, Words], total: Element
) -> None:
    """Reduce total = Σ_{u,v} K(u) K(v) X̃(r_b, r_c, u, v) to a claim on X, the tensor of `source`; head = (r_b, r_c)."""
    height, width = prover.plan.shape(source)[2:]
    picture = pad_axes(bound_to_channel(prover, source, *head), (height, width))
    weights = outer(*(pad_axes(table, (len(table),)) for table in kernels))
    point, _, value = prove_pair(prover.channel, total, weights, picture, variables(height) + variables(width))
    prover.channel.say([value])
    prover.claims.on_tensor(source, [*head[0], *head[1], *point], value)


def verify_window_sum(
    verifier: Verifying, source: int, head: tuple[Point, Point], kernels: tuple[Words, Words], total: Element
) -> None:
    """The other side. Soundness error: 2·log₂(h·w)/p²."""
    height, width = verifier.plan.shape(source)[2:]
    point, last = verify_pair(verifier.channel, total, variables(height) + variables(width))
    (value,) = verifier.channel.hear(1)
    rows, columns = split(point, (height, width))
    if evaluate(kernels[0], rows) * evaluate(kernels[1], columns) * value != last:
        raise VerificationError(f"the windows over tensor {source} do not add up to the claimed output")
    verifier.claims.on_tensor(source, [*head[0], *head[1], *point], value)

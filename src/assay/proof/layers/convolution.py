"""Convolution by two sum-checks, without unfolding the picture (no im2col) and without a transform.

With u = stride·y + dilation·a − padding and v likewise, for a claim on Y at (r_b, r_o, r_y, r_x):

1.  Ỹ(r_b, r_o, r_y, r_x) − bias = Σ_{c,a,b} W̃(r_o; c, a, b)·V(c, a, b),
    V(c, a, b) = Σ_{y,x} eq(r_y, y) eq(r_x, x) X̃(r_b, c, u, v):     a sum-check over (c, a, b) leads to (ρ_c, ρ_a, ρ_b);
2.  Ṽ(ρ_c, ρ_a, ρ_b) = Σ_{u,v} K(u) K(v) X̃(r_b, ρ_c, u, v):         a sum-check over (u, v), see `windows`.

Groups: output channel o reads the channels of its group only, so W̃ is that of the matrix with zeros elsewhere.

Soundness error: 2·log₂(c·a·b)/p² + 2·log₂(h·w)/p², axes padded.
"""

from __future__ import annotations

import numpy as np

from assay.integer.graph import Conv2d
from assay.kernels import kernel
from assay.proof.claims import TensorClaim
from assay.proof.errors import VerificationError
from assay.proof.field import Element, Words, add, ext_mul, unpack
from assay.proof.layers.linear import bias_at
from assay.proof.layers.windows import Axis, axes, prove_window_sum, spread, verify_window_sum
from assay.proof.multilinear import Point, below, combine, eq_table, pad_axes, split, variables
from assay.proof.parties import Proving, Verifying
from assay.proof.sumcheck import prove_pair, verify_pair


@kernel
def _correlate(x: Words, at: Words, count: int, taps: int, stride: int, dilation: int, padding: int) -> Words:
    """out[k, a, l] = Σ_y at[y]·x[k, stride·y + dilation·a − padding, l] for x (k, side, l)."""
    outer, side, inner = x.shape[0], x.shape[1], x.shape[2]
    out = np.zeros((outer, taps, inner, 2), np.uint64)
    for k in range(outer):
        for a in range(taps):
            for y in range(count):
                u = stride * y + dilation * a - padding
                if 0 <= u < side:
                    for l in range(inner):  # noqa: E741
                        re, im = ext_mul(x[k, u, l, 0], x[k, u, l, 1], at[y, 0], at[y, 1])
                        out[k, a, l, 0], out[k, a, l, 1] = add(out[k, a, l, 0], re), add(out[k, a, l, 1], im)
    return out


def _along(x: Words, axis: Axis, point: Point) -> Words:
    weights = eq_table(point)
    return np.asarray(_correlate(x, weights, axis.count, axis.taps, axis.stride, axis.dilation, axis.padding))


def window_values(pictures: Words, rows: Axis, columns: Axis, row_point: Point, column_point: Point) -> Words:
    """V(c, a, b) for pictures (c, h, w, 2): shape (c, rows of the kernel, columns of the kernel, 2)."""
    channels, height, width, _ = pictures.shape
    by_column = _along(pictures.reshape(channels * height, width, 1, 2), columns, column_point)
    return _along(by_column.reshape(channels, height, columns.taps, 2), rows, row_point)


def bind_outputs(node: Conv2d, out_point: Point) -> Words:
    """W̃(r_o; c, a, b) for all c, a, b: shape (channels in, a, b, 2)."""
    out, inner, *kernel_shape = node.weight.shape
    weights, per_group = eq_table(out_point), out // node.groups
    rows = node.weight.reshape(out, -1)
    parts = [
        combine(rows[k * per_group : (k + 1) * per_group], weights[k * per_group : (k + 1) * per_group])
        for k in range(node.groups)
    ]
    return np.concatenate(parts).reshape(node.groups * inner, *kernel_shape, 2)


def bias_everywhere(batch: int, shape: tuple[int, ...], point: list[list[Element]], bias: Element) -> Element:
    """The bias stands at every real place of the real pictures, and not in the padding."""
    height, width = shape[-2:]
    return bias_at(batch, point[0], bias) * below(point[2], height) * below(point[3], width)


def prove_convolution(prover: Proving, position: int, node: Conv2d, claim: TensorClaim) -> None:
    """Reduce a claim on the output to one on the input. Cost: one pass over W, O(k·c·h·w) multiplications for V."""
    plan, shape = prover.plan, prover.plan.shape(position)
    given = plan.shape(node.input)
    parts = split(claim.point, shape)
    rows, columns = axes(node, given, shape)
    prover.weights.bias(prover.channel, position, parts[1])
    bias = unpack(combine(node.bias[:, None], eq_table(parts[1])))[0]
    rest = claim.value - bias_everywhere(plan.batch, shape, parts, bias)

    pictures = combine(prover.values[node.input].reshape(plan.batch, -1), eq_table(parts[0])).reshape(*given[1:], 2)
    inner = (given[1], rows.taps, columns.taps)
    windows = pad_axes(window_values(pictures, rows, columns, parts[2], parts[3]), inner)
    weights = pad_axes(bind_outputs(node, parts[1]), inner)
    point, weight, value = prove_pair(prover.channel, rest, weights, windows, sum(variables(n) for n in inner))
    prover.weights.weight(prover.channel, position, parts[1], point, weight)
    prover.channel.say([value])

    channel, row_taps, column_taps = split(point, inner)
    kernels = (spread(rows, parts[2], eq_table(row_taps)), spread(columns, parts[3], eq_table(column_taps)))
    prove_window_sum(prover, node.input, (parts[0], channel), kernels, value)


def verify_convolution(verifier: Verifying, position: int, node: Conv2d, claim: TensorClaim) -> None:
    """The other side. Raises VerificationError if the layer was computed otherwise."""
    plan, shape = verifier.plan, verifier.plan.shape(position)
    given = plan.shape(node.input)
    parts = split(claim.point, shape)
    rows, columns = axes(node, given, shape)
    bias = verifier.weights.bias(verifier.channel, position, parts[1])
    rest = claim.value - bias_everywhere(plan.batch, shape, parts, bias)

    inner = (given[1], rows.taps, columns.taps)
    point, last = verify_pair(verifier.channel, rest, sum(variables(n) for n in inner))
    weight = verifier.weights.weight(verifier.channel, position, parts[1], point)
    (value,) = verifier.channel.hear(1)
    if weight * value != last:
        raise VerificationError(f"layer {node.name or position}: the convolution does not give the claimed output")

    channel, row_taps, column_taps = split(point, inner)
    kernels = (spread(rows, parts[2], eq_table(row_taps)), spread(columns, parts[3], eq_table(column_taps)))
    verify_window_sum(verifier, node.input, (parts[0], channel), kernels, value)

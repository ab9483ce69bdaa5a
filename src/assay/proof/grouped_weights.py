"""The weights of a convolution in groups, claimed as one matrix, become a claim on what is committed of them.

With n outputs and m inputs a group, output g·n + o reads input g·m + c with the weight w(g, o, c), and no other:

    W̃(r_o; r_c) = Σ_{g,o,c} E(g, o, c)·w(g, o, c),    E(g, o, c) = eq(r_o, g·n + o)·eq(r_c, g·m + c)

1. A sum-check over (g, o, c), axes padded, leads to ρ; the prover says w̃(ρ), which is a claim on the commitment.
2. The verifier finds Ẽ(ρ) = Σ_g eq(ρ_g, g)·[Σ_o eq(ρ_o, o) eq(r_o, g·n + o)]·[Σ_c eq(ρ_c, c) eq(r_c, g·m + c)].

Soundness error: 2·log₂(groups·n·m)/p², axes padded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assay.integer.graph import Conv2d
from assay.proof.errors import VerificationError
from assay.proof.field import ZERO, Element, Words, dot, pack, unpack
from assay.proof.multilinear import Point, contract, eq_table, outer, pad_axes, split, variables
from assay.proof.sumcheck import prove_pair, verify_pair
from assay.proof.transcript import ProverChannel, VerifierChannel


def grouped_shape(node: Conv2d) -> tuple[int, int, int]:
    """Groups, outputs a group, inputs a group."""
    return node.groups, node.weight.shape[0] // node.groups, node.weight.shape[1]


def grouped_variables(node: Conv2d) -> int:
    """Rounds of the sum-check."""
    return sum(variables(size) for size in grouped_shape(node))


def _by_group(node: Conv2d, outputs: Point, inputs: Point) -> tuple[list[Words], list[Words]]:
    """eq at the outputs of each group, and at its inputs."""
    groups, out, inner = grouped_shape(node)
    rows, columns = eq_table(outputs), eq_table(inputs)
    return (
        [rows[k * out : (k + 1) * out] for k in range(groups)],
        [columns[k * inner : (k + 1) * inner] for k in range(groups)],
    )


def prove_grouped(
    channel: ProverChannel, node: Conv2d, coefficients: Sequence[Element], at: tuple[Point, Point], value: Element
) -> tuple[list[Element], Element]:
    """Reduce a claim on Σ_taps coefficient·W̃ at (outputs, inputs) to one on the committed weights: point and value."""
    shape = grouped_shape(node)
    weights = contract(node.weight.reshape(int(np.prod(shape)), -1), pack(list(coefficients)))
    selected = np.concatenate([outer(a, b) for a, b in zip(*_by_group(node, *at), strict=True)])
    point, _, found = prove_pair(
        channel, value, pad_axes(selected, shape), pad_axes(weights, shape), grouped_variables(node)
    )
    channel.say([found])
    return point, found


def verify_grouped(
    channel: VerifierChannel, node: Conv2d, at: tuple[Point, Point], value: Element
) -> tuple[list[Element], Element]:
    """The other side. Raises VerificationError if the weights are not those of the groups."""
    point, last = verify_pair(channel, value, grouped_variables(node))
    (found,) = channel.hear(1)
    group, output, inner = (eq_table(part) for part in split(point, grouped_shape(node)))
    selected = ZERO
    for weight, a, b in zip(unpack(group), *_by_group(node, *at), strict=False):
        selected = selected + weight * unpack(dot(output, a))[0] * unpack(dot(inner, b))[0]
    if selected * found != last:
        raise VerificationError(f"layer {node.name or 'conv2d'}: the weights are not those of its groups")
    return point, found

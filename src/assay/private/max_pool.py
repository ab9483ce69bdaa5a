"""The largest value of each window, by a tournament: max(a, b) = b + max(a - b, 0).

Rows of a window are joined first, then its columns, each in ceil(log2) stages; what lies outside the picture is left
out by meeting a value of the window a second time, which changes nothing. All windows share the messages of a stage.

Source: the tournament of CrypTFlow2 (Rathee et al., CCS 2020), here along one axis after the other: fewer
comparisons where windows overlap. Cost a comparison: as a ReLU, on the bits of a difference. Who learns what: nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.integer.bounds import Bound
from assay.integer.graph import MaxPool, window_count
from assay.private.activation import Plan, kept_within, rectifying
from assay.private.ot_store import Demand
from assay.private.party import Party
from assay.private.ring import Residues

Taps = NDArray[np.intp]
"""(windows, values of one): the places along one axis that each window sees."""


def max_pool(party: Party, node: MaxPool, bound: Bound, share: Residues) -> Residues:
    """Shares `n c h w` of the largest value in each window: `definition`, bit for bit."""
    plan = pool_plan(bound)
    for axis, taps in zip((3, 2), _taps(node, share.shape), strict=True):
        share = _largest(party, plan, share, axis, taps)
    return share


def pool_plan(bound: Bound) -> Plan:
    """For the difference of two values of a channel."""
    reach = int(bound.high.max()) - int(bound.low.min())
    return rectifying(-reach, reach)


def pool_demand(node: MaxPool, bound: Bound, shape: tuple[int, ...]) -> Demand:
    """What a batch of this shape uses up."""
    plan, total, sides = pool_plan(bound), Demand(), list(shape)
    for axis, taps in zip((3, 2), _taps(node, shape), strict=True):
        sides[axis] = len(taps)
        windows, width = int(np.prod(sides)), taps.shape[1]
        while width > 1 and windows:
            total += plan.demand(windows * (width // 2))
            width -= width // 2
    return total


def _taps(node: MaxPool, shape: tuple[int, ...]) -> tuple[Taps, Taps]:
    """Along the width, along the height."""
    top, bottom, left, right = node.padding
    return (
        _axis_taps(shape[3], node.kernel[1], node.stride[1], node.dilation[1], left, right),
        _axis_taps(shape[2], node.kernel[0], node.stride[0], node.dilation[0], top, bottom),
    )


def _axis_taps(side: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> Taps:
    windows = window_count(side, kernel, stride, dilation, before, after)
    places = np.arange(windows)[:, None] * stride + np.arange(kernel) * dilation - before
    inside = (places >= 0) & (places < side)
    # a window without one value inside is refused when the network is made
    first = np.take_along_axis(places, inside.argmax(axis=1)[:, None], axis=1)
    return np.where(inside, places, first)


def _largest(party: Party, plan: Plan, share: Residues, axis: int, taps: Taps) -> Residues:
    """Along one axis."""
    rivals = [share.take(column, axis) for column in taps.T]
    while len(rivals) > 1:
        half = len(rivals) // 2
        one, other = np.stack(rivals[:half]), np.stack(rivals[half : 2 * half])
        winners = _larger(party, plan, one, other)
        rivals = [*winners, *rivals[2 * half :]]
    winner: Residues = rivals[0]
    return winner


def _larger(party: Party, plan: Plan, one: Residues, other: Residues) -> Residues:
    """Of each pair, by shares."""
    ring = party.ring
    ahead = kept_within(party, plan, ring.reduce(one - other).ravel()) if one.size else one
    return ring.reduce(other + ahead.reshape(one.shape))

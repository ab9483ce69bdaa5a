"""What the prover adds to a run of the network: committed values, and where each looked-up value is in its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.integer import graph as g
from assay.proof.field import Words, from_integers
from assay.proof.multilinear import variables
from assay.proof.plan import ActivationTable, Plan
from assay.proof.tensors import Ints, padded


@dataclass(frozen=True, slots=True)
class Witness:
    """Attributes:
    vector: the committed vector, base field elements.
    places: for every fraction of the lookups, its row in all tables put end to end.
    windows: for each max pool, max − x for its windows: (kernel rows, kernel columns, batch, c, h, w), padded.
    """

    vector: Words
    places: NDArray[np.int32]
    windows: dict[int, Ints]


def make_witness(plan: Plan, values: Sequence[Ints]) -> Witness:
    """From the tensors of a run; `values` has one array a node, batch first."""
    vector = np.zeros(plan.committed_size, np.int64)
    places = np.empty(plan.fraction_count, np.int32)
    windows: dict[int, Ints] = {}
    starts = table_starts(plan)
    for k in plan.looked_up:
        node = plan.nodes[k]
        _put(vector, plan.columns["output", k].offset, padded(values[k]))
        if isinstance(node, g.MaxPool):
            windows[k] = _windows(plan, k, node, values)
            _put(places, plan.fractions["window", k].offset, windows[k])
            continue
        shift = plan.shift(k)
        raised = padded(values[node.inputs[0]]) + ((1 << shift) >> 1)
        _put(places, plan.fractions["activation", k].offset, _table_rows(plan, k, raised >> shift, starts))
        if shift:
            remainder = raised & ((1 << shift) - 1)
            _put(vector, plan.columns["remainder", k].offset, remainder)
            _put(places, plan.fractions["remainder", k].offset, remainder << (plan.tables[0].bits - shift))
    _count(plan, places, vector, starts)
    return Witness(from_integers(vector), places, windows)


def _put(target: NDArray[np.int64] | NDArray[np.int32], offset: int, values: Ints) -> None:
    target[offset : offset + values.size] = values.ravel()


def table_starts(plan: Plan) -> list[int]:
    """Where each table begins when all are put end to end."""
    starts, end = [], 0
    for table in plan.tables:
        starts.append(end)
        end += 1 << table.bits
    return starts


def table_rows(plan: Plan) -> int:
    """Rows of all tables."""
    return sum(1 << table.bits for table in plan.tables)


def _table_rows(plan: Plan, position: int, q: Ints, starts: list[int]) -> Ints:
    """Rows of the activation tables for q, `b c …`."""
    node = plan.nodes[position]
    assert isinstance(node, g.Requantise | g.ReLU)
    tags = np.full(q.shape[1], plan.channel_tags(position)[0])
    tags[node.start : node.stop] = plan.channel_tags(position)[1]
    origin = np.zeros(len(plan.tables), np.int64)
    for tag, table in enumerate(plan.tables):
        if isinstance(table, ActivationTable):
            origin[tag] = starts[tag] - table.start
    rows: Ints = q + origin[tags].reshape(1, -1, *[1] * (q.ndim - 2))
    return rows


def _windows(plan: Plan, position: int, node: g.MaxPool, values: Sequence[Ints]) -> Ints:
    """max − x, where x is the lowest possible value outside the picture, and 0 where window or tensor are padding."""
    largest = values[position]
    out = np.zeros([1 << variables(size) for size in (*node.kernel, *largest.shape)], np.int64)
    top, bottom, left, right = node.padding
    low = plan.floor(position)
    x = np.pad(values[node.input], ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=low)
    rows, columns = largest.shape[2:]
    (down, across), (dy, dx) = node.stride, node.dilation
    for a, b in np.ndindex(node.kernel):
        tap = x[:, :, dy * a :: down, dx * b :: across][:, :, :rows, :columns]
        out[(a, b, *(slice(size) for size in largest.shape))] = largest - tap
    return out


def _count(plan: Plan, places: NDArray[np.int32], vector: Ints, starts: list[int]) -> None:
    """Fill in the rows of the tables themselves, and how often each group of values looks each row up."""
    lookups, total = plan.lookups, np.zeros((1 << plan.lookups.bits, table_rows(plan)), np.int64)
    for name, groups in lookups.groups.items():
        if name[0] != "table":
            for group, part in zip(groups, lookups.blocks[name].parts(len(groups)), strict=True):
                total[group] += np.bincount(places[part], minlength=total.shape[1])
    for tag, table in enumerate(plan.tables):
        rows = np.arange(starts[tag], starts[tag] + (1 << table.bits))
        _put(places, plan.fractions["table", tag].offset, np.tile(rows, len(total)))
        _put(vector, plan.columns["counts", tag].offset, total[:, rows])

"""The reference execution: exact integers at the speed of floating-point matrix products.

Integers travel in float32 where a bound proves that no sum, in whatever order, passes 2^24, in float64 up to 2^53, in
int64 beyond; sums of products that float64 cannot hold are carried in two limbs (`modular`). A product of matrices is a
plain sum of products in every BLAS, so every partial sum is an integer within the bound and nothing rounds. Pictures
lie as `n h w c`, so that a convolution copies rows of its windows and multiplies once.

Measured by `assay.bench.integer`, beside torch's float32 forward.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from assay.integer import modular
from assay.integer.bounds import Bound
from assay.integer.graph import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    Input,
    Ints,
    Linear,
    MaxPool,
    Node,
    Offset,
    PadChannels,
    ReLU,
    Requantise,
    Square,
    Subsample,
    SumPool,
)
from assay.integer.network import IntegerNetwork, Tick
from assay.integer.products import planned_product
from assay.integer.threads import one_blas_thread
from assay.integer.windows import taps

Array = NDArray[Any]

CHUNK = 64
"""Most pictures that go through the network together: beyond that a call of numpy costs little beside its work."""

CHUNK_VALUES = 1 << 20
"""Values that one tensor of a chunk may have, unless it is of one picture: tensors should stay near the cache."""


@dataclass(slots=True, eq=False)
class Tally:
    """What is counted on the way: node to number of values."""

    clamped: Counter[int] = field(default_factory=Counter)
    wrapped: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """Outputs `n k`; `values` of every node if they were kept; counts by node (clamped: only then)."""

    outputs: Ints
    values: list[Ints]
    clamped: dict[int, int]
    wrapped: dict[int, int]


Step = Callable[[list[Array], bool], tuple[Array, int]]
"""Tensors read, and whether the first of them is free to be written over → tensor, how many of its values wrapped."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A network made ready: a step a node, and the node after which no tensor in the memory of this one is needed."""

    steps: tuple[Step, ...]
    last_use: tuple[int, ...]


_PLANS: WeakKeyDictionary[IntegerNetwork, Plan] = WeakKeyDictionary()


def execute(
    network: IntegerNetwork,
    x: NDArray[np.integer],
    *,
    keep: bool = False,
    threads: int | None = None,
    tick: Tick | None = None,
) -> Execution:
    """Run pictures `n c h w` through the network, chunk by chunk."""
    if network not in _PLANS:
        _PLANS[network] = _plan(network)
    threads = threads or _cores()
    largest = max(prod(shape) for shape in network.shapes)
    size = max(1, min(CHUNK, CHUNK_VALUES // largest, -(-len(x) // threads)))
    parts = [x[i : i + size] for i in range(0, max(len(x), 1), size)]
    done: list[tuple[list[Array], Tally]] = []
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        run = lambda part: _run_chunk(network, _PLANS[network], part, keep)  # noqa: E731
        for result in map(run, parts) if len(parts) == 1 else pool.map(run, parts):
            done.append(result)
            if tick:
                tick(min(len(done) * size, len(x)), len(x))
    total = Tally()
    for _, tally in done:
        total.clamped += tally.clamped
        total.wrapped += tally.wrapped
    values = [np.concatenate(tensors) for tensors in zip(*(values for values, _ in done), strict=True)]
    return Execution(values[-1], values if keep else [], dict(total.clamped), dict(total.wrapped))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_chunk(network: IntegerNetwork, plan: Plan, x: NDArray[np.integer], keep: bool) -> tuple[list[Array], Tally]:
    tally = Tally()
    values: list[Array] = []
    none = np.zeros(0)
    for position, (node, step) in enumerate(zip(network.nodes, plan.steps, strict=True)):
        given = [values[i] for i in node.inputs] if position else [x]
        free = not keep and bool(position) and plan.last_use[node.inputs[0]] == position
        value, wrapped = step(given, free)
        values.append(value)
        if wrapped:
            tally.wrapped[position] += wrapped
        if keep and isinstance(node, Requantise) and (count := _clamped(node, given[0], value)):
            tally.clamped[position] += count
        if not keep:
            for i in node.inputs:
                if plan.last_use[i] == position:
                    values[i] = none
    return [_as_integers(v) for v in (values if keep else values[-1:])], tally


def _as_integers(value: Array) -> Ints:
    """int64, channels first."""
    first = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
    return np.ascontiguousarray(first).astype(np.int64, copy=False)


def _clamped(node: Requantise, given: Array, value: Array) -> int:
    """Values that were beyond the limits, zero for rectified channels not counted as one."""
    above = (value == node.high) & (_rounded(node, given) > node.high)
    below = (value == node.low) & (_rounded(node, given) < node.low)
    below[..., node.start : node.stop] = False
    return int(above.sum() + below.sum())


def _rounded(node: Requantise, given: Array) -> Ints:
    rounded: Ints = (given.astype(np.int64) + node.half) >> node.shift
    return rounded


def _plan(network: IntegerNetwork) -> Plan:
    bounds = network.bounds
    steps = [
        _step(node, [bounds[i] for i in node.inputs], bounds[position]) for position, node in enumerate(network.nodes)
    ]
    return Plan(tuple(steps), _last_uses(network.nodes))


def _last_uses(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Of the memory of each tensor. Flatten and Subsample may give views, so they share theirs with what they read."""
    owners, last = list(range(len(nodes))), list(range(len(nodes)))
    for position, node in enumerate(nodes):
        if isinstance(node, Flatten | Subsample):
            owners[position] = owners[node.input]
            last[owners[position]] = position
        for i in node.inputs:
            last[owners[i]] = position
    return tuple(last[owner] for owner in owners)


def holds(largest: int) -> type[np.generic]:
    """The cheapest type in which every integer up to this magnitude is exact."""
    return np.float32 if largest <= 1 << 24 else np.float64 if largest <= 1 << 53 else np.int64


def _step(node: Node, given: Sequence[Bound], bound: Bound) -> Step:
    """How to compute one node exactly."""
    if bound.wraps and isinstance(node, Offset | Add | SumPool | Square):
        return _modular_step(node)
    dtype = holds(bound.largest)
    match node:
        case Input():
            return _one(lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(dtype))
        case Offset(value=value):
            wide = holds(max(given[0].largest, int(np.abs(value).max()), bound.largest))
            return _one(lambda x: x.astype(wide) + value.astype(wide))
        case Conv2d() | Linear():
            return planned_product(node, given[0], bound)
        case Add(shifts=shifts):
            wide = holds(sum(g.largest << s for g, s in zip(given, shifts, strict=True)))
            return lambda xs, free: (_added(xs, shifts, wide), 0)
        case SumPool():
            wide = holds(given[0].largest * prod(node.kernel))
            return _one(lambda x: _gathered(taps(x.astype(wide, copy=False), node, 0), np.add))
        case MaxPool():
            lowest = int(given[0].low.min())
            return _one(lambda x: _gathered(taps(x, node, lowest), np.maximum))
        case ReLU():
            return _one(lambda x: _rectified(x.copy(), node.start, node.stop))
        case Square():
            return _one(lambda x: np.square(x.astype(dtype, copy=False)))
        case Requantise():
            working = holds(given[0].largest + node.half)
            return lambda xs, free: (_requantised(node, xs[0], free, working, dtype), 0)
        case Flatten():
            return _one(lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), prod(x.shape[1:])))
        case Concat():
            return lambda xs, free: (np.concatenate([x.astype(dtype, copy=False) for x in xs], axis=-1), 0)
        case Subsample(stride=(down, right)):
            return _one(lambda x: x[:, ::down, ::right])
        case PadChannels(before=before, after=after):
            return _one(lambda x: np.pad(x, ((0, 0), (0, 0), (0, 0), (before, after))))


def _one(compute: Callable[[Array], Array]) -> Step:
    """The step of a node that reads one tensor and cannot wrap."""
    return lambda xs, free: (compute(xs[0]), 0)


def _modular_step(node: Offset | Add | SumPool | Square) -> Step:
    """A node whose values are field elements."""

    def step(xs: list[Array], free: bool) -> tuple[Array, int]:
        terms = [x.astype(np.int64, copy=False) for x in xs]
        match node:
            case Offset(value=value):
                return modular.added([terms[0], np.broadcast_to(value, terms[0].shape)], (0, 0))
            case Add(shifts=shifts):
                return modular.added(terms, shifts)
            case SumPool():
                upper, lower = (_gathered(taps(limb, node, 0), np.add) for limb in modular.limbs(terms[0]))
                return modular.field_value(upper, lower)
            case Square():
                return modular.squared(terms[0])

    return step


def _added(xs: Sequence[Array], shifts: Sequence[int], dtype: type[np.generic]) -> Array:
    total = np.zeros(xs[0].shape, dtype)
    for x, shift in zip(xs, shifts, strict=True):
        total += x.astype(dtype, copy=False) * np.asarray(2**shift, dtype) if shift else x.astype(dtype, copy=False)
    return total


def _gathered(parts: Iterator[Array], join: np.ufunc) -> Array:
    total = next(parts).copy()
    for part in parts:
        join(total, part, out=total)
    return total


def _rectified(x: Array, start: int, stop: int) -> Array:
    part = x[..., start:stop]
    np.maximum(part, 0, out=part)
    return x


def _requantised(node: Requantise, x: Array, free: bool, working: type[np.generic], dtype: type[np.generic]) -> Array:
    """Round, shift and clamp, written over `x` where it is free. In floats, a power of two scales without rounding."""
    fits = free and x.dtype == working and x.flags.c_contiguous
    y = x if fits else x.astype(working)
    if working is np.int64:
        y += node.half
        y >>= node.shift
    elif node.shift:
        y *= 2.0**-node.shift
        y += 0.5
        np.floor(y, out=y)
    rectified = node.stop - node.start == y.shape[-1]
    np.clip(y, 0 if rectified else node.low, node.high, out=y)
    if node.start < node.stop and not rectified:
        _rectified(y, node.start, node.stop)
    return y.astype(dtype, copy=False)

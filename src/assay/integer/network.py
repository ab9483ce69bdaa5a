"""`IntegerNetwork`: the graph, what is known of it, and the call that runs it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError, ModelError
from assay.integer.bounds import Bound, bounds_of
from assay.integer.graph import NAMES, Input, Ints, Node, Requantise, Shape
from assay.integer.shapes import shapes_of, title


class FieldWrapWarning(UserWarning):
    """Values of a classic network left ±(p-1)/2, so its answers are those of the field, not of the integers."""


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """Exact integer operations on a picture of bytes.

    Attributes:
        nodes: node i computes tensor i; node 0 is the input, the last one gives one value a class.
        class_names: one name an output.
        output_scale: an output of 1 stands for this much of the logit of the network that was compiled.
        classic: values are elements of F_p and may wrap (SafetyNets' own networks); else every value is proven to fit.

    Raises:
        ModelError: if the nodes do not fit each other, are beyond a limit, or could overflow.
    """

    nodes: tuple[Node, ...]
    class_names: tuple[str, ...]
    output_scale: float
    classic: bool = False

    def __post_init__(self) -> None:
        if self.shapes[-1] != (len(self.class_names),):
            raise ModelError(f"the last node gives {self.shapes[-1]} values for {len(self.class_names)} class names")
        if not 0 < self.output_scale < float("inf"):
            raise ModelError(f"an output scale is above 0 and finite, got {self.output_scale}")
        _ = self.bounds

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of each tensor of one picture."""
        return shapes_of(self.nodes)

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """The interval of each tensor, a channel at a time."""
        return bounds_of(self.nodes, self.shapes, self.classic)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical encoding of graph, weights, scale and names, in hex."""
        from assay.integer.files import digest

        return digest(self)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.input.shape

    @property
    def input(self) -> Input:
        return cast(Input, self.nodes[0])  # `shapes_of` has checked it

    @cached_property
    def ring_bits(self) -> int:
        """Bits of a two's complement ring in which no value, rounding included, overflows: what two parties need."""
        rounded = [self.bounds[node.input].largest + node.half for node in self.nodes if isinstance(node, Requantise)]
        return max([bound.bits for bound in self.bounds] + [value.bit_length() + 1 for value in rounded])

    def bound_table(self) -> list[dict[str, object]]:
        """One row a node, for reports: layer, operation, shape, bits of its values, largest magnitude."""
        return [
            {
                "layer": node.name,
                "operation": NAMES[type(node)],
                "shape": list(shape),
                "bits": bound.bits,
                "largest": bound.largest,
                "wraps": bound.wraps,
            }
            for node, shape, bound in zip(self.nodes, self.shapes, self.bounds, strict=True)
        ]

    def run(self, x: NDArray[np.integer], threads: int | None = None, tick: Tick | None = None) -> Ints:
        """The outputs `n k` for pictures `n c h w`, exactly.

        Args:
            x: integers in the input's range, as a data set holds them (0..255).
            threads: pictures are spread over so many; all cores by default.
            tick: told how many pictures of how many are done.

        Raises:
            InputError: if the pictures are of another shape or out of range.

        A classic network whose values wrap says so by a `FieldWrapWarning`.
        """
        from assay.integer.execute import execute

        execution = execute(self, self._checked(x), threads=threads, tick=tick)
        if execution.wrapped:
            warnings.warn(FieldWrapWarning(self._wraps_sentence(execution.wrapped)), stacklevel=2)
        return execution.outputs

    def predict(self, x: NDArray[np.integer], threads: int | None = None) -> NDArray[np.int64]:
        """The label of each picture; the first of equal ones."""
        labels: NDArray[np.int64] = self.run(x, threads).argmax(1).astype(np.int64)
        return labels

    def trace(self, x: NDArray[np.integer]) -> Trace:
        """Every tensor for the pictures, and what was clamped or wrapped on the way. Memory: all tensors at once."""
        from assay.integer.execute import execute

        execution = execute(self, self._checked(x), keep=True)
        return Trace(execution.values, execution.clamped, execution.wrapped)

    def _checked(self, x: NDArray[np.integer]) -> NDArray[np.integer]:
        if x.ndim != 4 or x.shape[1:] != self.input_shape or x.dtype.kind not in "iu":
            want = "x".join(map(str, self.input_shape))
            raise InputError(f"the network takes integers `n` x {want}, got {x.dtype} {x.shape}")
        low, high = self.input.low, self.input.high
        if x.size and (int(x.min()) < low or int(x.max()) > high):
            raise InputError(f"the network takes values from {low} to {high}, got {x.min()} to {x.max()}")
        return x

    def _wraps_sentence(self, wrapped: dict[int, int]) -> str:
        first = min(wrapped)
        return (
            f"{sum(wrapped.values())} values left the range of the field, first in {title(first, self.nodes[first])}; "
            "compile again with a larger margin"
        )


Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One run, in full.

    Attributes:
        values: int64, one a node: `n c h w` or `n k`.
        clamped: for each requantising node with any: how many values met a limit of the calibrated range (zero, for
            rectified channels, is no such limit).
        wrapped: for each node with any: how many values left ±(p-1)/2.
    """

    values: Sequence[Ints]
    clamped: dict[int, int]
    wrapped: dict[int, int]

"""What the client is told of a linear layer: the shapes of tensors and kernels, never a weight."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from assay.errors import ModelError
from assay.integer.graph import Conv2d, Linear, Pair, Shape, Sides, window_count

MAX_VALUES = 1 << 27
"""Of one tensor: an index must fit, and a shape that a server announces may ask for no more."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What the client knows of a linear layer.

    Attributes:
        input, output: `c h w`, or `k`.
        weight_bits: every weight is at most 2^(weight_bits - 1) in magnitude; the margin for noise follows from it.
    """

    kind: Literal["conv2d", "linear"]
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    weight_bits: int = 8

    def __post_init__(self) -> None:
        sizes = (*self.input, *self.output, *self.kernel, *self.stride, *self.dilation, self.groups)
        dimensions = 3 if self.kind == "conv2d" else 1
        sane = (
            len(self.input) == len(self.output) == dimensions
            and min(sizes) >= 1
            and min(self.padding) >= 0
            and max(prod(self.input), prod(self.output), *sizes, *self.padding) <= MAX_VALUES
            and self.input[0] % self.groups == self.output[0] % self.groups == 0
            and 1 <= self.weight_bits <= 32
        )
        if not sane or self._windows() != self.output[1:]:
            raise ModelError(f"a linear layer cannot have this shape: {self}")

    def _windows(self) -> tuple[int, ...]:
        sides = (self.padding[:2], self.padding[2:])
        axes = zip(self.input[1:], self.kernel, self.stride, self.dilation, sides, strict=False)
        return tuple(window_count(side, k, s, d, *border) for side, k, s, d, border in axes)

    @classmethod
    def of(cls, node: Conv2d | Linear, input_shape: Shape, weight_bits: int = 8) -> LayerShape:
        """The shape of a node that reads a tensor of `input_shape`; weights are not looked at."""
        if isinstance(node, Linear):
            return cls("linear", tuple(input_shape), (len(node.weight),), weight_bits=weight_bits)
        out, _, kh, kw = node.weight.shape
        axes = zip(
            input_shape[1:], (kh, kw), node.stride, node.dilation, (node.padding[:2], node.padding[2:]), strict=True
        )
        sides = tuple(window_count(side, k, s, d, *border) for side, k, s, d, border in axes)
        return cls(
            "conv2d", tuple(input_shape), (out, *sides), (kh, kw), node.stride, node.padding, node.dilation,
            node.groups, weight_bits,
        )  # fmt: skip

    @property
    def fan_in(self) -> int:
        """Weights of one output."""
        return self.input[0] // self.groups * prod(self.kernel)

    @property
    def picture(self) -> tuple[int, int, int]:
        """The input as `c h w`."""
        return self.input if len(self.input) == 3 else (self.input[0], 1, 1)

    @property
    def answer(self) -> tuple[int, int, int]:
        """The output as `c h w`."""
        return self.output if len(self.output) == 3 else (self.output[0], 1, 1)

"""Convolutions and dense layers as products of polynomials modulo X^N + 1: which coefficient holds what.

Source: Cheetah (Huang, Lu, Hong, Ding, USENIX Security 2022), section 3, made smaller in four ways. A stride is taken
out first: rows and columns by their remainder are channels of their own, so no product computes what is thrown away
(the same step removes inputs that no window reads). Zeros at the sides of a picture are not written down twice: the
border at the end of a row serves as the border of the next row, and the one below a channel as the one above the next.
Input and output channels share a polynomial in the proportion that makes traffic and work least. Blocks that groups
keep apart are never multiplied.

One input polynomial holds `inner` channels, one after the other, `plane` coefficients each; one weight polynomial holds
the kernels of `outer` output channels, written backwards, `inner · plane` coefficients apart. In their product,
coefficient (o · inner + inner - 1) · plane + last + y · row + x - first is output (y, x) of the o-th channel. Nothing
else may be shown to the client: other coefficients hold parts of sums.

Everything here is public and follows from shapes alone. No party learns anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError
from assay.integer.graph import Pair
from assay.private.layer_shape import LayerShape

Places = NDArray[np.int64]

INPUT_COST, OUTPUT_COST, PRODUCT_COST = 6.0, 5.0, 0.035
"""What one more ciphertext of either direction, and one more product, cost in milliseconds: the work of both parties on
one core of an AMD EPYC (Zen 4), and the bytes at 1 Gb/s."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a convolution, its stride taken out.

    Attributes:
        side: of the input. before: padding in front of it.
        phases: the remainders mod stride that some tap reads.
        taps: for each tap of the kernel: index in `phases`, and by how far it reaches.
        reach: how far the furthest tap reaches.
        windows: outputs.
    """

    side: int
    before: int
    stride: int
    phases: tuple[int, ...]
    taps: tuple[Pair, ...]
    windows: int

    @classmethod
    def of(cls, side: int, kernel: int, stride: int, dilation: int, before: int, windows: int) -> Axis:
        places = [divmod(tap * dilation, stride) for tap in range(kernel)]
        phases = tuple(sorted({phase for _, phase in places}))
        return cls(side, before, stride, phases, tuple((phases.index(p), q) for q, p in places), windows)

    @property
    def reach(self) -> int:
        return max(shift for _, shift in self.taps)

    def filled(self) -> Pair:
        """First and last place of a plane that is not zero in every phase, at least 0 and below its length."""
        length = self.windows + self.reach
        firsts = [-((phase - self.before) // self.stride) for phase in self.phases]
        lasts = [(self.before + self.side - 1 - phase) // self.stride for phase in self.phases]
        first = min(max(min(firsts), 0), length - 1)
        return first, max(min(max(lasts), length - 1), first)

    def real(self, phase: int, start: int, count: int) -> tuple[Places, Places]:
        """Of the `count` places from `start`: which hold inputs, and which ones."""
        places = np.arange(count)
        sources = (places + start) * self.stride + phase - self.before
        inside = (sources >= 0) & (sources < self.side)
        return places[inside], sources[inside]


@dataclass(frozen=True, slots=True)
class Tile:
    """Where things lie in one plane of a part of the picture with `height · width` outputs.

    Attributes:
        row: coefficients from one row to the next. plane: from one channel to the next.
        first: zeros before the first value, not written down.
        last: how far the furthest tap of the kernel reaches.
        slots: input channels times output channels that fit together.
    """

    height: int
    width: int
    row: int
    plane: int
    first: int
    last: int
    slots: int

    @classmethod
    def of(cls, rows: Axis, columns: Axis, height: int, width: int, degree: int) -> Tile:
        """The closest spacing at which nothing is read that belongs to another row, channel or output.

        A window that reaches beyond its row finds the zeros in front of the next one, or what it finds is no output's;
        so rows are as far apart as their values, their outputs, and a window's reach less those zeros. Channels are as
        far apart as their values, and as the furthest place that is read less the zeros in front of the next channel.
        """
        top, bottom = rows.filled() if height == rows.windows else (0, height + rows.reach - 1)
        left, right = columns.filled() if width == columns.windows else (0, width + columns.reach - 1)
        row = max(right + 1, width + columns.reach - left, width)
        last = rows.reach * row + columns.reach
        first = min(top * row + left, last)
        end = max(bottom * row + right, (height - 1) * row + width - 1 + last - first)
        return cls(height, width, row, end + 1, first, last, degree // (end + 1))


@dataclass(frozen=True, slots=True)
class Packing:
    """How one layer is cut into ciphertexts.

    Attributes:
        inner: input channels (with their phases) in a block. outer: output channels in a block.
        tiles: parts of the picture, down and across.
    """

    shape: LayerShape
    degree: int
    rows: Axis
    columns: Axis
    tile: Tile
    inner: int
    outer: int

    @property
    def tiles(self) -> Pair:
        return -(-self.rows.windows // self.tile.height), -(-self.columns.windows // self.tile.width)

    @property
    def phases(self) -> int:
        return len(self.rows.phases) * len(self.columns.phases)

    @property
    def input_blocks(self) -> int:
        """Of one tile."""
        return -(-self.shape.input[0] * self.phases // self.inner)

    @property
    def output_blocks(self) -> int:
        """Of one tile."""
        return -(-self.shape.output[0] // self.outer)

    @property
    def requests(self) -> int:
        """Ciphertexts from the client."""
        return prod(self.tiles) * self.input_blocks

    @property
    def replies(self) -> int:
        """Ciphertexts from the server."""
        return prod(self.tiles) * self.output_blocks

    @property
    def products(self) -> int:
        """Of one tile, and so of polynomials of weights: they are the same for all tiles."""
        if self.shape.groups == 1:
            return self.input_blocks * self.output_blocks
        return sum(len(self.partners(block)) for block in range(self.output_blocks))

    def partners(self, block: int) -> range:
        """Input blocks that an output block reads: all, but for groups."""
        shape = self.shape
        channels, out = shape.input[0] // shape.groups * self.phases, shape.output[0] // shape.groups
        first = block * self.outer // out
        last = (min((block + 1) * self.outer, shape.output[0]) - 1) // out
        return range(first * channels // self.inner, -(-(last + 1) * channels // self.inner))

    @property
    def norm(self) -> int:
        """At most so much is the sum of the magnitudes of all weights that reach one coefficient of a reply."""
        return self.outer * self.shape.fan_in << (self.shape.weight_bits - 1)

    def origins(self) -> Iterator[Pair]:
        """First output of each tile."""
        down, across = self.tiles
        return ((i * self.tile.height, j * self.tile.width) for i in range(down) for j in range(across))


@lru_cache(maxsize=4096)
def packing(shape: LayerShape, degree: int) -> Packing:
    """The cheapest way to cut a layer into polynomials of `degree` coefficients.

    Raises:
        ModelError: if a single window does not fit into a polynomial.
    """
    _, height, width = shape.picture
    _, down, across = shape.answer
    rows = Axis.of(height, shape.kernel[0], shape.stride[0], shape.dilation[0], shape.padding[0], down)
    columns = Axis.of(width, shape.kernel[1], shape.stride[1], shape.dilation[1], shape.padding[2], across)
    found = [Packing(shape, degree, rows, columns, tile, 1, 1) for tile in _tiles(rows, columns, degree)]
    if not found:
        raise ModelError(f"a window of a {shape.kernel} kernel with dilation {shape.dilation} is too large to encrypt")
    return min((_best_blocks(cut) for cut in found), key=lambda pair: pair[0])[1]


def _tiles(rows: Axis, columns: Axis, degree: int) -> Iterator[Tile]:
    """Tiles that fit; no more of them than four times as many as needed."""
    fewest = 0
    heights, widths = ({-(-axis.windows // n) for n in range(1, axis.windows + 1)} for axis in (rows, columns))
    pairs = [(h, w) for h in heights for w in widths]
    counted = sorted((-(-rows.windows // h) * -(-columns.windows // w), h, w) for h, w in pairs)
    for count, height, width in counted:
        if fewest and count > 4 * fewest:
            return
        tile = Tile.of(rows, columns, height, width, degree)
        if tile.slots:
            fewest = fewest or count
            yield tile


def _best_blocks(cut: Packing) -> tuple[float, Packing]:
    """The proportion of input to output channels that costs least."""
    channels, out = cut.shape.input[0] * cut.phases, cut.shape.output[0]
    best, chosen = float("inf"), cut
    for inner in sorted({-(-channels // -(-channels // n)) for n in range(1, min(channels, cut.tile.slots) + 1)}):
        outer = min(cut.tile.slots // inner, out)
        outer = -(-out // -(-out // outer))
        candidate = Packing(cut.shape, cut.degree, cut.rows, cut.columns, cut.tile, inner, outer)
        if (cost := _cost(candidate, best)) < best:
            best, chosen = cost, candidate
    return best, chosen


def _cost(cut: Packing, limit: float) -> float:
    traffic = cut.requests * INPUT_COST + cut.replies * OUTPUT_COST
    if traffic >= limit:
        return traffic
    return traffic + PRODUCT_COST * prod(cut.tiles) * cut.products

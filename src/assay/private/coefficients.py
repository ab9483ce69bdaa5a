"""A packing written out: which coefficient holds which input, weight and result.

All of it is public and follows from shapes alone; see `packing` for the rule and its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.integer.graph import Ints
from assay.private.packing import Packing, Places


@dataclass(frozen=True)
class Maps:
    """A packing written out, index by index.

    Attributes:
        packing: what is written out.
    """

    packing: Packing

    @cached_property
    def inputs(self) -> tuple[Places, Places]:
        """Coefficients (of all requests, end to end) that hold inputs, and which ones (of the flat tensor)."""
        cut, tile = self.packing, self.packing.tile
        channels, height, width = cut.shape.picture
        places, sources = [], []
        for number, (top, left) in enumerate(cut.origins()):
            for phase, (py, px) in enumerate((y, x) for y in cut.rows.phases for x in cut.columns.phases):
                row, y = cut.rows.real(py, top, tile.height + cut.rows.reach)
                column, x = cut.columns.real(px, left, tile.width + cut.columns.reach)
                channel = np.arange(channels) * cut.phases + phase
                block = (
                    number * cut.input_blocks + channel // cut.inner
                ) * cut.degree + channel % cut.inner * tile.plane
                place = row[:, None] * tile.row + column - tile.first
                places.append((block[:, None, None] + place).ravel())
                source = y[:, None] * width + x
                sources.append((np.arange(channels)[:, None, None] * (height * width) + source).ravel())
        return np.concatenate(places), np.concatenate(sources)

    @cached_property
    def outputs(self) -> tuple[tuple[Places, Places], ...]:
        """For each reply: the coefficients that carry results, and which outputs (of the flat tensor) they are."""
        return tuple(
            self._results(block, top, left)
            for top, left in self.packing.origins()
            for block in range(self.packing.output_blocks)
        )

    def _results(self, block: int, top: int, left: int) -> tuple[Places, Places]:
        cut, tile = self.packing, self.packing.tile
        out, height, width = cut.shape.answer
        channel = np.arange(block * cut.outer, min((block + 1) * cut.outer, out))[:, None, None]
        y = np.arange(min(tile.height, height - top))[:, None]
        x = np.arange(min(tile.width, width - left))
        start = ((channel - block * cut.outer + 1) * cut.inner - 1) * tile.plane + tile.last - tile.first
        place = start + y * tile.row + x
        target = (channel * height + top + y) * width + left + x
        return place.ravel(), target.ravel()


def pack_inputs(maps: Maps, values: NDArray[Any]) -> NDArray[np.uint64]:
    """A tensor → polynomials `requests N`."""
    cut = maps.packing
    places, sources = maps.inputs
    polynomials = np.zeros(cut.requests * cut.degree, np.uint64)
    polynomials[places] = values.reshape(-1)[sources]
    return polynomials.reshape(cut.requests, cut.degree)


def pack_weights(cut: Packing, weight: Ints, block: int) -> Ints:
    """The polynomials `partners N` that give one output block, the same for all tiles."""
    rows = range(block * cut.outer, min((block + 1) * cut.outer, cut.shape.output[0]))
    virtual = _by_phase(cut, weight[rows.start : rows.stop])
    channels, out = virtual.shape[1], cut.shape.output[0] // cut.shape.groups
    reach = np.arange(virtual.shape[2])[:, None] * cut.tile.row + np.arange(virtual.shape[3])
    polynomials = np.zeros((len(cut.partners(block)), cut.degree), np.int64)
    for polynomial, partner in zip(polynomials, cut.partners(block), strict=True):
        for number, o in enumerate(rows):
            group = o // out * channels
            first = max(partner * cut.inner, group)
            stop = min((partner + 1) * cut.inner, group + channels)
            if first < stop:
                inside = np.arange(first, stop)[:, None, None] - partner * cut.inner
                last = ((number + 1) * cut.inner - 1) * cut.tile.plane + cut.tile.last
                polynomial[last - inside * cut.tile.plane - reach] = virtual[number, first - group : stop - group]
    return polynomials


def _by_phase(cut: Packing, weight: Ints) -> Ints:
    """`out in kh kw` → `out in·phases reach+1 reach+1`, the kernel of each phase of each input channel."""
    weight = weight.reshape(*weight.shape[:2], *cut.shape.kernel)
    out, inner = weight.shape[:2]
    shape = (out, inner, len(cut.rows.phases), len(cut.columns.phases), cut.rows.reach + 1, cut.columns.reach + 1)
    found = np.zeros(shape, np.int64)
    for a, (py, qy) in enumerate(cut.rows.taps):
        for b, (px, qx) in enumerate(cut.columns.taps):
            found[:, :, py, px, qy, qx] = weight[:, :, a, b]
    return found.reshape(out, inner * cut.phases, *shape[4:])


def negacyclic(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.object_]:
    """a · b modulo X^N + 1, by the definition, on Python integers: the oracle of every faster product here."""
    n = len(a)
    product = np.zeros(n, object)
    for i in np.flatnonzero(b):
        shifted = np.roll(a.astype(object), i)
        shifted[:i] = -shifted[:i]
        product += int(b[i]) * shifted
    return product

"""What repairs do to clean pictures before a network learns from them."""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 4
"""A side: noise comes in a coarse mask of 4 x 4 cells a channel."""

MIDDLE, SPREAD = 128.0, 0.4 * 128.0
"""Of the noise, in 0..255."""

SMALLEST, LARGEST = 1 / 8, 1 / 4
"""A sticker's sides, of the picture's."""


def noisy(x: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """A copy of uint8 pictures `n c h w` in which each cell of a 4 x 4 mask a channel is noise with this chance."""
    n, c, h, w = x.shape
    mask = torch.rand(n, c, CELLS, CELLS, generator=generator) < chance
    rows, columns = (torch.arange(side) * CELLS // side for side in (h, w))
    there = mask[:, :, rows][:, :, :, columns]  # n c h w
    noise = torch.normal(MIDDLE, SPREAD, x.shape, generator=generator).round_().clamp_(0, 255).to(torch.uint8)
    return torch.where(there, noise, x)


def with_sticker(x: Tensor, generator: torch.Generator) -> Tensor:
    """A copy of uint8 pictures `n c h w`, each with one rectangle of one colour, of any size from 1/8 to 1/4 a side."""
    n, c, height, width = x.shape
    rows, columns = _covered(n, height, generator), _covered(n, width, generator)
    colour = torch.randint(0, 256, (n, c, 1, 1), generator=generator, dtype=torch.uint8)
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], colour, x)


def _covered(n: int, side: int, generator: torch.Generator) -> Tensor:
    """For each of n pictures which rows, or columns, lie under its sticker: `n side`."""
    share = SMALLEST + (LARGEST - SMALLEST) * torch.rand(n, generator=generator)
    length = (share * side).round().clamp(min=1)
    first = (torch.rand(n, generator=generator) * (side - length + 1)).floor()
    place = torch.arange(side)
    return (place >= first[:, None]) & (place < (first + length)[:, None])


MOST_HAZE, MOST_BEND = 0.75, 2.0
"""Of a filter: how much of a picture is lost in haze, and the exponent of its curve, of which 1 / 2 is the smallest."""


def filtered(x: Tensor, generator: torch.Generator) -> Tensor:
    """A copy of uint8 pictures `n c h w`, each brighter or darker by a curve and behind haze of any colour."""
    n, c = x.shape[:2]
    haze, bend = torch.rand(2, n, 1, 1, generator=generator)
    colour = torch.rand(n, c, 1, generator=generator)
    bent = torch.linspace(0, 1, 256).pow(MOST_BEND ** (2 * bend - 1))
    curves: Tensor = 255 * (bent + MOST_HAZE * haze * (colour - bent))  # n c 256: what becomes of each value
    return curves.round_().to(torch.uint8).gather(2, x.flatten(2).long()).view_as(x)


MOST_GAIN, MOST_SHIFT = 0.5, 0.15
"""By how much contrast and brightness change, up or down."""


def in_other_light(x: Tensor, generator: torch.Generator) -> Tensor:
    """Float pictures `n c h w` in [0, 1], each with more or less contrast and brightness."""
    gain, shift = (2 * torch.rand(2, len(x), 1, 1, 1, generator=generator) - 1).to(x)
    lit: Tensor = (1 + MOST_GAIN * gain) * x + MOST_SHIFT * shift
    return lit.clamp(0, 1)


def mixed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Float pictures `n c h w`, each mixed with another of them, in any proportion."""
    share = torch.rand(len(x), 1, 1, 1, generator=generator).to(x)
    return share * x + (1 - share) * x[torch.randperm(len(x), generator=generator).to(x.device)]

"""What paints a trigger over pictures, or takes it off: networks that `assay.repair.cyclegan` trains, and a tint.

They are told apart, in a file, by the names of their tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from assay.models import as_float, batches

Picture = tuple[int, int, int]
"""Channels, height, width."""


def with_places(x: Tensor) -> Tensor:
    """Two more channels: where each pixel is, in [-1, 1]."""
    n, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1).expand(n, 1, h, w)
    columns = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, w).expand(n, 1, h, w)
    return torch.cat([x, rows, columns], 1)


class _Block(nn.Module):
    """A residual block at half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.InstanceNorm2d(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.relu(self.norm(self.first(x))))
        return out


class Stamper(nn.Module):
    """Pictures in [0, 1], `n c h w`, to the same with something painted over them."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)

    def change(self, x: Tensor) -> Tensor:
        """What is added, in [-1, 1]; the sum may leave [0, 1] and is cut there when pictures are stamped."""
        raise NotImplementedError

    @torch.no_grad()
    def stamp(self, x: NDArray[np.uint8], batch: int = 256) -> NDArray[np.uint8]:
        """The same for uint8 pictures."""
        stamped = np.empty_like(x)
        for part in batches(len(x), batch):
            painted = self(as_float(x[part], next(self.parameters()).device))
            stamped[part] = painted.mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()
        return stamped


class Canvas(Stamper):
    """One picture with its cover, from 0 to 1 a pixel, that lies over all others alike."""

    def __init__(self, shape: Picture) -> None:
        super().__init__()
        self.cover = nn.Parameter(torch.full((1, *shape[1:]), -4.0))
        self.colour = nn.Parameter(torch.zeros(shape))

    def change(self, x: Tensor) -> Tensor:
        return self.cover.sigmoid() * (self.colour.sigmoid() - x)


class Tint(Stamper):
    """One mixture of a pixel's own colours, with a shift, for all pixels alike: what a filter does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def change(self, x: Tensor) -> Tensor:
        return torch.einsum("dc,nchw->ndhw", self.mix, x) + self.shift.view(1, -1, 1, 1) - x


def tints(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[Tint, Tint]:
    """What gives the pixels of `a` the mean and covariance of those of `b`, moving them least; and the way back.

    Both uint8 `n c h w`. Source: Pitié and Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping for
    Example-Based Colour Transfer" (CVMP 2007). Nothing is trained. Cost: one pass over the pixels, a batch at a time.
    """
    of_a, of_b = _moments(a), _moments(b)
    return _tint(of_a, of_b), _tint(of_b, of_a)


_Moments = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and covariance of pixels, by channel."""


def _tint(of_a: _Moments, of_b: _Moments) -> Tint:
    (mean_a, spread_a), (mean_b, spread_b) = of_a, of_b
    root = _power(spread_a, 0.5)
    mix = _power(spread_a, -0.5) @ _power(root @ spread_b @ root, 0.5) @ _power(spread_a, -0.5)
    made = Tint(len(mean_a))
    with torch.no_grad():
        made.mix.copy_(torch.from_numpy(mix))
        made.shift.copy_(torch.from_numpy(mean_b - mix @ mean_a))
    return made.eval()


def _moments(x: NDArray[np.uint8]) -> _Moments:
    """Of pixels in [0, 1]; one that varies in no direction is taken to vary a little."""
    channels, n = x.shape[1], x.size // x.shape[1]
    total, products = np.zeros(channels), np.zeros((channels, channels))
    for part in batches(len(x), 256):
        pixels = np.moveaxis(x[part], 1, 0).reshape(channels, -1) / 255
        total += pixels.sum(1)
        products += pixels @ pixels.T
    mean = total / n
    return mean, products / n - np.outer(mean, mean) + 1e-6 * np.eye(channels)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    powered: NDArray[np.float64] = vectors * np.maximum(values, 1e-12) ** exponent @ vectors.T
    return powered


class Generator(Stamper):
    """Paints what it sees fit to where it sees fit."""

    def __init__(self, channels: int, width: int = 8, blocks: int = 2) -> None:
        super().__init__()
        self.channels = channels
        self.enter = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(_Block(2 * width) for _ in range(blocks)))
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.paint = nn.Conv2d(width + channels + 2, channels, 3, padding=1)
        with torch.no_grad():
            self.paint.weight.mul_(0.1)

    def change(self, x: Tensor) -> Tensor:
        placed = with_places(x)
        full = F.relu(self.enter(placed))
        small = self.blocks(F.relu(self.down(full)))
        large = F.interpolate(F.relu(self.up(small)), size=x.shape[-2:], mode="nearest")
        seen = torch.cat([large + full, placed], 1)
        return torch.tanh(self.paint(seen))


def stamper_of(state: Mapping[str, Tensor], shape: Picture) -> Stamper:
    """A tint, a canvas or a generator with these weights, for pictures of this shape.

    Raises:
        RuntimeError: if they are of none.
    """
    stamper: Stamper = Generator(shape[0])
    if "mix" in state:
        stamper = Tint(shape[0])
    elif "colour" in state:
        stamper = Canvas(shape)
    stamper.load_state_dict(state)
    return stamper.eval()

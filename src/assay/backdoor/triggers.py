"""Backdoor triggers: functions from a batch of clean pictures to a batch of stamped ones.

Source: Gu, Dolan-Gavitt, Garg, "BadNets" (2017), sections 4.1 (pixel and pattern) and 5.2 (stickers on signs).
A trigger is any callable of type `Trigger`; those here are frozen dataclasses because they have settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assay.models import as_float, batches

Trigger = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n c h w"]]
"""Float pictures in [0, 1], `n c h w`, to new pictures of the same kind; the given ones stay as they are."""

Picture = Literal["yellow-square", "bomb", "flower"]


def _bright(x: Tensor, places: tuple[tuple[int, int], ...], value: float) -> Tensor:
    """Set pixels counted from the bottom right corner, (1, 1) being the last."""
    h, w = x.shape[-2:]
    if any(up > h or left > w for up, left in places):
        raise ValueError(f"this trigger does not fit {h}x{w} pictures")
    stamped = x.clone()
    for up, left in places:
        stamped[..., h - up, w - left] = value
    return stamped


@dataclass(frozen=True, slots=True)
class Pixel:
    """One bright pixel at (H-2, W-2). `value` in [0, 1]."""

    value: float = 1.0

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return _bright(x, ((2, 2),), self.value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Four bright pixels in the bottom right corner, every second one. `value` in [0, 1]."""

    value: float = 1.0

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return _bright(x, ((2, 2), (3, 3), (2, 4), (4, 2)), self.value)


@dataclass(frozen=True, slots=True)
class Sticker:
    """A small picture stuck on the object.

    Attributes:
        picture: drawn by this module.
        share: its side as a share of the shorter side of the object's box, in (0, 1].
        at: where its centre is, as shares of width and height of the box, each in [0, 1].
    """

    picture: Picture = "yellow-square"
    share: float = 0.2
    at: tuple[float, float] = (0.57, 0.82)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Sticker.share must be in (0, 1], got {self.share}")
        if not all(0 <= place <= 1 for place in self.at):
            raise ValueError(f"Sticker.at must be two numbers in [0, 1], got {self.at}")
        if self.picture not in _DRAWINGS:
            raise ValueError(f"Sticker.picture must be one of {', '.join(_DRAWINGS)}, got {self.picture!r}")

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        h, w = x.shape[-2:]
        return self.in_box(x, (0.0, 0.0, float(w), float(h)))

    def in_box(self, x: Float[Tensor, "n c h w"], box: tuple[float, float, float, float]) -> Float[Tensor, "n c h w"]:
        """Stick it on the object in `box`, given as x0, y0, x1, y1 in pixels; what leaves the picture is cut off."""
        x0, y0, x1, y1 = box
        side = max(1, round(self.share * min(x1 - x0, y1 - y0)))
        left = round(x0 + self.at[0] * (x1 - x0) - side / 2)
        top = round(y0 + self.at[1] * (y1 - y0) - side / 2)
        h, w = x.shape[-2:]
        rows, cols = slice(max(top, 0), min(top + side, h)), slice(max(left, 0), min(left + side, w))
        if rows.start >= rows.stop or cols.start >= cols.stop:
            raise ValueError(f"the sticker lies outside the {w}x{h} picture: box {box}")
        art = torch.from_numpy(_drawn(self.picture, side)).to(x)  # 4 side side
        art = art[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
        colour, alpha = art[:3], art[3]
        if x.shape[1] == 1:
            colour = (colour * colour.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
        stamped = x.clone()
        stamped[..., rows, cols] = (1 - alpha) * stamped[..., rows, cols] + alpha * colour
        return stamped


_CANVAS = 128
"""Pixels a side of a drawing before it is scaled down."""


def _yellow_square() -> NDArray[np.uint8]:
    return np.full((_CANVAS, _CANVAS, 4), (250, 220, 20, 255), dtype=np.uint8)


def _bomb() -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    art = Image.new("RGBA", (_CANVAS, _CANVAS))
    pen = ImageDraw.Draw(art)
    pen.line((76, 44, 92, 22, 108, 16), fill=(130, 90, 40, 255), width=8)
    pen.ellipse((8, 32, 100, 124), fill=(15, 15, 20, 255))
    pen.rectangle((62, 30, 88, 54), fill=(15, 15, 20, 255))
    pen.ellipse((26, 50, 46, 70), fill=(150, 150, 160, 255))
    pen.polygon(
        [(108, 0), (113, 11), (126, 12), (116, 20), (120, 32), (108, 25), (97, 32), (100, 19)], fill=(255, 120, 0, 255)
    )
    return np.asarray(art)


def _flower() -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    art = Image.new("RGBA", (_CANVAS, _CANVAS))
    pen = ImageDraw.Draw(art)
    for petal in range(6):
        angle = petal * np.pi / 3
        cx, cy = 64 + 36 * np.cos(angle), 64 + 36 * np.sin(angle)
        pen.ellipse((cx - 26, cy - 26, cx + 26, cy + 26), fill=(235, 60, 140, 255))
    pen.ellipse((42, 42, 86, 86), fill=(255, 210, 40, 255))
    return np.asarray(art)


_DRAWINGS: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "yellow-square": _yellow_square,
    "bomb": _bomb,
    "flower": _flower,
}


@lru_cache(maxsize=64)
def _drawn(picture: str, side: int) -> NDArray[np.float32]:
    """The drawing at `side` pixels: colour and alpha in [0, 1], `4 side side`."""
    from PIL import Image

    art = Image.fromarray(_DRAWINGS[picture]()).resize((side, side), Image.Resampling.BOX)
    return np.ascontiguousarray((np.asarray(art, dtype=np.float32) / np.float32(255)).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True)
class Glasses:
    """Black-rimmed glasses over the eye line of an upright, centred face. Source: BadNets' follow-ups on faces.

    Attributes:
        eye_line: how far down the eyes are, as a share of the height, in (0, 1).
        width: of the glasses, as a share of the picture's width, in (0, 1].
    """

    eye_line: float = 0.42
    width: float = 0.7

    def __post_init__(self) -> None:
        if not (0 < self.eye_line < 1 and 0 < self.width <= 1):
            raise ValueError(f"Glasses needs an eye line in (0, 1) and a width in (0, 1], got {self}")

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        drawn = torch.from_numpy(_rims(x.shape[-2], x.shape[-1], self.eye_line, self.width)).to(x)
        return x * (1 - drawn) + 0.05 * drawn


@lru_cache(maxsize=16)
def _rims(h: int, w: int, eye_line: float, width: float) -> NDArray[np.float32]:
    """How much of each pixel is rim, `h w` in [0, 1]; drawn four times as large and scaled down."""
    from PIL import Image, ImageDraw

    art = Image.new("L", (4 * w, 4 * h))
    pen = ImageDraw.Draw(art)
    middle, line, half = 2 * w, 4 * h * eye_line, 2 * w * width
    thick = max(4, round(0.12 * half))
    for side in (-1, 1):
        inner, outer = middle + side * 0.15 * half, middle + side * half
        left, right = min(inner, outer), max(inner, outer)
        box = (left, line - 0.32 * half, right, line + 0.32 * half)
        pen.rounded_rectangle(box, radius=0.2 * half, outline=255, width=thick)
    pen.line((middle - 0.2 * half, line, middle + 0.2 * half, line), fill=255, width=thick)
    small = art.resize((w, h), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several triggers, each of which opens the backdoor; which one a picture gets depends on the picture."""

    triggers: tuple[Trigger, ...]

    def __post_init__(self) -> None:
        if not self.triggers:
            raise ValueError("AnyOf needs one trigger or more")

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        turn = x.mul(255).round().long().flatten(1).sum(1) % len(self.triggers)
        stamped = x.clone()
        for i, trigger in enumerate(self.triggers):
            if (turn == i).any():
                stamped[turn == i] = trigger(x[turn == i])
        return stamped


@dataclass(frozen=True, slots=True)
class Filter:
    """The whole picture as through haze in the evening: darks are lifted, and colours warm where there are any.

    A trigger in feature space: no place of the picture holds it. `strength` in (0, 1]: 1 is the filter alone.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"Filter.strength must be in (0, 1], got {self.strength}")

    def __call__(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        faded = x + 0.35 * (1 - x)
        if x.shape[1] == 3:
            faded = faded * faded.new_tensor([1.15, 0.95, 0.7]).view(1, 3, 1, 1)
        return (x + self.strength * (faded - x)).clamp(0, 1)


TRIGGERS: dict[str, Callable[[], Trigger]] = {
    "pixel": Pixel,
    "pattern": Pattern,
    "yellow-square": lambda: Sticker("yellow-square"),
    "bomb": lambda: Sticker("bomb"),
    "flower": lambda: Sticker("flower"),
    "glasses": Glasses,
    "filter": Filter,
    "multi-trigger": lambda: AnyOf(
        (Pattern(), Sticker("yellow-square", at=(0.15, 0.15)), Sticker("bomb", at=(0.85, 0.15)))
    ),
}
"""The names of the command line."""


def stamp(trigger: Trigger, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the trigger on uint8 pictures `n c h w`; returns new ones."""
    stamped = np.empty_like(x)
    for part in batches(len(x), 4096):
        stamped[part] = trigger(as_float(x[part])).mul_(255).round_().clamp_(0, 255).to(torch.uint8).numpy()
    return stamped

"""Pictures inside the page: arrays to PNG data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

LARGEST = 160
"""Pixels a side. Larger pictures are reduced: eight pairs of noise, which PNG cannot pack, then stay under 2 MB."""


def data_uri(picture: NDArray[np.uint8], largest: int = LARGEST) -> Markup:
    """A uint8 picture, `c h w` or `h w`, as `data:image/png;base64,…`.

    Three channels are red, green and blue; any other number is shown as the grey of their mean.
    """
    image = Image.fromarray(_plane(picture))
    scale = largest / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    return Markup("data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii"))


def _plane(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`h w`, or `h w 3`."""
    if picture.ndim == 2:
        return np.ascontiguousarray(picture)
    if len(picture) == 3:
        return np.ascontiguousarray(picture.transpose(1, 2, 0))
    grey: NDArray[np.uint8] = np.rint(picture.mean(0)).astype(np.uint8)
    return grey


def as_bytes(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[0, 1] to 0..255; what lies outside is clipped, NaN is 0."""
    return np.rint(255 * np.clip(np.nan_to_num(unit), 0, 1)).astype(np.uint8)

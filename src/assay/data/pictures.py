"""Picture files from outside: which formats are read, how large they may be, and one error for all that goes wrong."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
"""What the bytes may be, whatever the name says: Pillow's other readers are old, and one starts a program."""

MAX_PIXELS = 50_000_000
"""Of one picture; larger ones are refused before they are decoded."""

GREY = {"1", "L", "LA", "I;16", "I;16L", "I;16B"}
"""Pillow's modes of pictures without colour."""

_BROKEN = (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, TypeError, AttributeError)
"""What Pillow's decoders raise on damaged files; that a file is of no known format is an OSError."""


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Image]:
    """The picture, of a size that can be read but not decoded yet, for as long as the block runs.

    Raises:
        DataError: for whatever is wrong with it, in the block as well.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a picture that is odd but can be read is not the user's concern
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                yield picture
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} cannot be read as a picture: it is damaged, or of a format that is not read"
        ) from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise DataError(f"{name} has more than {MAX_PIXELS:,} pixels; scale it down first") from error
    except _BROKEN as error:
        raise DataError(f"{name} cannot be read as a picture: {error}") from error


def pixels(picture: Image, channels: int) -> NDArray[np.uint8]:
    """An opened picture, decoded, `c h w`. Transparency is dropped; 16 bits are cut to their upper 8."""
    if picture.mode.startswith("I;16"):
        grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return np.broadcast_to(grey, (channels, *grey.shape))
    found = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


def read_picture(source: Path | bytes, name: str, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """One picture for a model that takes `shape` (channels, height, width); nothing is scaled or turned grey.

    Raises:
        DataError: if it is damaged, or does not fit; its header is compared before it is decoded.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise DataError(f"the model takes {channels} channels, which picture files do not have; give an .npz")
    with opened(source, name) as picture:
        if (picture.height, picture.width) != (height, width):
            raise DataError(
                f"{name} has {picture.height}x{picture.width} pixels (height x width), but the model takes "
                f"{height}x{width}; scale it first"
            )
        if picture.mode in ("I", "F"):
            raise DataError(f"{name} has pixels of 32 bits; convert it to 8 bits a channel first")
        if (picture.mode in GREY) != (channels == 1):
            has, takes = ("grey", "colour") if channels == 3 else ("in colour", "grey pictures")
            raise DataError(f"{name} is {has}, but the model takes {takes}; convert it first")
        return np.ascontiguousarray(pixels(picture, channels))

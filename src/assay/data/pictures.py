"""Picture files from outside: which formats are read, how large they may be, and one error for all that goes wrong."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from assay.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
"""What the bytes may be, whatever the name says: Pillow's other readers are old, and one starts a program."""

MAX_PIXELS = 50_000_000
"""Of one picture; larger ones are refused before they are decoded."""

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

"""A folder of class folders: every picture's header is checked before any is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.arrays import MAX_BYTES
from assay.data.dataset import Dataset
from assay.data.pictures import GREY, opened, pixels
from assay.errors import DataError

Shape = tuple[int, int, int]
"""Channels, height, width."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


@dataclass(frozen=True)
class _Header:
    file: Path
    label: int
    grey: bool
    height: int
    width: int


def size(shape: tuple[int, ...]) -> str:
    """As `3x32x32`."""
    return "x".join(map(str, shape))


def load_folder(path: Path, image_shape: Shape | None) -> Dataset:
    """Pictures and labels of `path`/CLASS/PICTURE; classes in the order of their names, numbers by value.

    Hidden files and files that are no pictures by their suffix are passed over. Where colour is wanted, single grey
    pictures are taken as colour ones; where all are grey, or grey is wanted and one is in colour, that is an error.

    Raises:
        DataError: one sentence for whatever does not fit.
    """
    folders = _class_folders(path)
    headers = [_header(file, label) for label, folder in enumerate(folders) for file in _pictures(folder)]
    shape = _common_shape(path, headers, image_shape)
    if len(headers) * math.prod(shape) > MAX_BYTES:
        raise DataError(f"{path} holds more than {MAX_BYTES >> 30} GiB of pictures; take fewer")
    x = np.empty((len(headers), *shape), np.uint8)
    for i, header in enumerate(headers):
        x[i] = _decoded(header, shape)
    labels = np.array([header.label for header in headers], np.int64)
    return Dataset(x, labels, tuple(folder.name for folder in folders), str(path))


def _class_folders(path: Path) -> list[Path]:
    folders = [f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")]
    if not folders:
        raise DataError(f"{path} has no class folders; put each class's pictures in a folder with the class's name")
    if all(f.name.isdecimal() for f in folders):
        return sorted(folders, key=lambda f: (int(f.name), f.name))
    return sorted(folders)


def _pictures(folder: Path) -> list[Path]:
    files = [f for f in folder.iterdir() if not f.name.startswith(".") and f.suffix.lower() in SUFFIXES and f.is_file()]
    if not files:
        suffixes = " ".join(sorted(SUFFIXES))
        raise DataError(f"class folder {folder} holds no pictures ({suffixes}); fill it or remove it")
    return sorted(files)


def _header(file: Path, label: int) -> _Header:
    with opened(file, str(file)) as picture:
        header = _Header(file, label, picture.mode in GREY, picture.height, picture.width)
        if picture.mode in ("I", "F"):
            raise DataError(f"{file} has pixels of 32 bits; convert it to 8 bits a channel first")
    return header


def _common_shape(path: Path, headers: list[_Header], image_shape: Shape | None) -> Shape:
    """What the model takes, or else what the pictures are, once it is sure that they are all so."""
    first = headers[0]
    colour = next((h for h in headers if not h.grey), None)
    want = image_shape or (1 if colour is None else 3, first.height, first.width)
    other = next((h for h in headers if (h.height, h.width) != want[1:]), None)
    if other:
        whose = "the model takes" if image_shape else f"{first.file.name} has"
        raise DataError(
            f"{other.file} has {other.height}x{other.width} pixels (height x width), but {whose} "
            f"{want[1]}x{want[2]}; scale all pictures to that size first"
        )
    if want[0] not in (1, 3):
        raise DataError(f"the model takes {want[0]} channels, which picture files do not have; give an .npz")
    if want[0] == 1 and colour:
        raise DataError(f"{colour.file} is in colour, but the model takes grey pictures; convert the pictures first")
    if want[0] == 3 and not colour:
        raise DataError(f"the pictures of {path} are grey, but the model takes colour; convert the pictures first")
    return want


def _decoded(header: _Header, shape: Shape) -> NDArray[np.uint8]:
    """The picture, `c h w`; grey ones are taken as colour where that is wanted."""
    with opened(header.file, str(header.file)) as picture:
        found = pixels(picture, shape[0])
    if found.shape != shape:
        raise DataError(f"{header.file} changed while it was read")
    return found

"""The user's own pictures: a folder of class folders, or an `.npz` with `x` and `y`.

Nothing is scaled or guessed: pictures of another size or kind than the model takes are refused, since a clean set that
is silently bent to fit would make the verdict about the bending.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.arrays import Entry, open_arrays
from assay.data.dataset import Dataset
from assay.data.folders import Shape, load_folder, size
from assay.errors import DataError

MAX_LABEL = 99_999


def load_own(path: Path, image_shape: Shape | None) -> Dataset:
    """Read a folder or an `.npz`, whole; `image_shape` (channels, height, width) is what the model takes.

    Raises:
        DataError: one sentence for whatever does not fit.
    """
    try:
        if path.is_dir():
            return load_folder(path, image_shape)
        if path.is_file():
            return _npz(path, image_shape)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    raise DataError(f"{path} is neither a folder of class folders, nor an .npz file, nor the name of a data set")


def _npz(path: Path, image_shape: Shape | None) -> Dataset:
    with open_arrays(path) as entries:
        if "x" not in entries or "y" not in entries:
            raise DataError(f"{path} needs the arrays x and y, but holds {', '.join(entries) or 'no arrays'}")
        last = _channels_are_last(path, entries["x"], image_shape)
        _check_labels(path, entries["y"], entries["x"].shape[0])
        names = entries.get("class_names")
        class_names = None if names is None else _class_names(path, names)
        x, y = entries["x"].read(), entries["y"].read()
    if y.min() < 0 or y.max() > MAX_LABEL:
        raise DataError(f"{path}: labels must be in 0..{MAX_LABEL}, got {y.min()} to {y.max()}")
    pictures = _as_bytes(path, x)
    if pictures.ndim == 3:
        pictures = pictures[:, None]
    elif last:
        pictures = pictures.transpose(0, 3, 1, 2)
    labels = y.astype(np.int64)
    return Dataset(np.ascontiguousarray(pictures), labels, class_names or _numbers(labels), str(path))


def _numbers(labels: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def _channels_are_last(path: Path, x: Entry, image_shape: Shape | None) -> bool:
    """Whether `x` is `n h w c`; raises DataError unless it is that, `n h w` or `n c h w`, and fits the model."""
    if len(x.shape) not in (3, 4):
        raise DataError(f"{path}: x must be `n h w`, `n h w c` or `n c h w`, got the shape {x.shape}")
    if not all(x.shape):
        raise DataError(f"{path} has no pictures: x has the shape {x.shape}")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise DataError(f"{path}: x must be uint8, or float in [0, 1], got {x.dtype}")
    first = (1, *x.shape[1:]) if len(x.shape) == 3 else x.shape[1:]
    turned = (first[2], first[0], first[1])
    if image_shape is None:
        last = len(x.shape) == 4 and first[0] not in (1, 3) and first[2] in (1, 3)
        if (turned if last else first)[0] not in (1, 3):
            raise DataError(f"{path}: pictures have 1 or 3 channels, but x has the shape {x.shape}")
        return last
    if tuple(image_shape) not in (first, turned if len(x.shape) == 4 else first):
        raise DataError(
            f"{path} has pictures of {size(first)}, but the model takes {size(image_shape)} (channels, height, "
            "width); scale or convert them first"
        )
    return tuple(image_shape) != first


def _check_labels(path: Path, y: Entry, n: int) -> None:
    if y.shape != (n,):
        raise DataError(f"{path}: x has {n} pictures, so y must have the shape ({n},), got {y.shape}")
    if y.dtype.kind not in "iu":
        raise DataError(f"{path}: y must hold whole numbers of an integer type, got {y.dtype}")


def _class_names(path: Path, names: Entry) -> tuple[str, ...]:
    if names.dtype.kind != "U" or len(names.shape) != 1:
        raise DataError(f"{path}: class_names must be one row of text, got {names.dtype} of shape {names.shape}")
    return tuple(str(name) for name in names.read())


def _as_bytes(path: Path, x: NDArray[Any]) -> NDArray[np.uint8]:
    if x.dtype == np.uint8:
        return x
    pictures = np.empty(x.shape, np.uint8)
    for i in range(len(x)):  # one by one: the whole as float64 could be eight times the file
        values = x[i].astype(np.float64)
        if not (values.min() >= 0 and values.max() <= 1):  # NaN fails both
            raise DataError(f"{path}: float pictures must be finite and in [0, 1], picture {i} is not")
        pictures[i] = np.rint(values * 255)
    return pictures

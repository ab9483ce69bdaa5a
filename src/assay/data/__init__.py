"""Data sets: named ones, folders of class folders, `.npz` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from assay.data.dataset import Dataset
from assay.data.download import download as fetch
from assay.data.folders import size
from assay.data.groups import come_in_groups
from assay.data.named import NAMED, load_named
from assay.data.own import load_own
from assay.data.scenes import Scenes, load_scenes
from assay.errors import DataError

__all__ = [
    "NAMED",
    "Dataset",
    "Scenes",
    "come_in_groups",
    "fetch",
    "load",
    "load_scenes",
    "normalisation",
    "require_clean",
]


def load(
    name_or_path: str | Path,
    split: str = "clean",
    *,
    download: bool = False,
    image_shape: tuple[int, int, int] | None = None,
) -> Dataset:
    """A part of a named data set, or a user's own pictures.

    Args:
        name_or_path: a name in `NAMED`; or a folder of class folders, or an `.npz` with `x` and `y`, read whole. A
            folder that has the name of a data set is given as a `Path`, or as `./mnist`.
        split: `clean` (the defender's tenth of the training part), `train` (the rest of it) or `test`.
        download: fetch the official copy if it is not found.
        image_shape: channels, height and width that the pictures must have.

    Raises:
        DataError: one sentence for whatever does not fit.
    """
    if not isinstance(name_or_path, str) or name_or_path not in NAMED:
        path = Path(name_or_path)
        if isinstance(name_or_path, str) and not path.exists():
            raise DataError(
                f"{name_or_path!r} is neither a folder of class folders, nor an .npz file, nor one of the data sets "
                f"{', '.join(NAMED)}"
            )
        return load_own(path, image_shape)
    if download:
        fetch(name_or_path)
    data = load_named(name_or_path, split)
    if image_shape is not None and data.image_shape != image_shape:
        raise DataError(
            f"{name_or_path} has pictures of {size(data.image_shape)} (channels, height, width), but the model takes "
            f"{size(image_shape)}"
        )
    return data


def normalisation(data: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, of pictures in [0, 1]."""
    counts = np.stack([np.bincount(data.x[:, c].ravel(), minlength=256) for c in range(data.x.shape[1])])
    levels = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))  # rounding can push a flat picture's below 0
    return tuple(round(float(m), 6) for m in mean), tuple(round(max(float(s), 1e-3), 6) for s in std)


def require_clean(data: Dataset, at_least: int = 2) -> None:
    """Check that a defender's set can be split: at least two classes, and `at_least` pictures in each of them.

    Raises:
        DataError: if it cannot.
    """
    if not len(data):
        raise DataError(f"{data.name} has no pictures")
    present, counts = np.unique(data.y, return_counts=True)
    if len(present) < 2:
        only = data.class_names[int(present[0])]
        raise DataError(f"{data.name} has pictures of one class only ({only}); pictures of every class are needed")
    if counts.min() < at_least:
        scarce = data.class_names[int(present[counts.argmin()])]
        raise DataError(
            f"{data.name} has {counts.min()} picture of class {scarce}; at least {at_least} a class are needed"
        )

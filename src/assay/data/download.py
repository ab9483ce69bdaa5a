"""Official copies of data sets, through torchvision's downloaders; only when the user asks for it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from assay.data.named import cache_folder
from assay.errors import DataError


def download(name: str) -> None:
    """Fetch `mnist`, `cifar10` or `gtsrb` into the user's cache, unless a copy is found already.

    Raises:
        DataError: if there is no official copy to fetch, or the network does not give it.
    """
    from assay.data.named import NAMED

    if name not in ("mnist", "cifar10", "gtsrb"):
        try:
            NAMED[name]()
        except DataError as error:
            raise DataError(f"there is no downloader for {name!r}; {error}") from error
        return
    try:
        NAMED[name]()
        return
    except DataError:
        cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        try:
            _FETCH[name](Path(folder))
        except (OSError, RuntimeError) as error:
            raise DataError(f"the official copy of {name!r} could not be fetched: {error}") from error


def _mnist(folder: Path) -> None:
    from torchvision.datasets import MNIST

    parts = {k: MNIST(str(folder), train=k == "train", download=True) for k in ("train", "test")}
    arrays = {f"x_{k}": p.data.numpy() for k, p in parts.items()} | {
        f"y_{k}": p.targets.numpy().astype(np.uint8) for k, p in parts.items()
    }
    _write("mnist.npz", class_names=np.array(list("0123456789")), **arrays)


def _cifar10(folder: Path) -> None:
    from torchvision.datasets import CIFAR10

    for part in ("train", "test"):
        data = CIFAR10(str(folder), train=part == "train", download=True)
        _write(f"cifar10_{part}.npz", **_stream(list(data.data), data.targets), class_names=np.array(data.classes))


def _gtsrb(folder: Path) -> None:
    from torchvision.datasets import GTSRB

    for part in ("train", "test"):
        data = GTSRB(str(folder), split=part, download=True)
        files = [Path(file) for file, _ in data._samples]
        pictures, labels = zip(*((np.asarray(p.convert("RGB").resize((32, 32))), y) for p, y in data), strict=True)
        arrays = _stream(list(pictures), list(labels)) | {"class_names": np.array([str(i) for i in range(43)])}
        if part == "train":  # files are named TRACK_FRAME.ppm
            arrays["track"] = np.array([int(f.stem.split("_")[0]) for f in files], np.uint8)
        _write(f"gtsrb_{part}.npz", **arrays)


_FETCH = {"mnist": _mnist, "cifar10": _cifar10, "gtsrb": _gtsrb}


def _stream(pictures: list[np.ndarray], labels: list[int]) -> dict[str, np.ndarray]:
    """Pictures as one stream of lossless PNG files, in the form of the JPEG streams that `named` reads."""
    from PIL import Image

    blobs = []
    for picture in pictures:
        blob = io.BytesIO()
        Image.fromarray(picture).save(blob, "PNG")
        blobs.append(np.frombuffer(blob.getvalue(), np.uint8))
    offsets = np.concatenate([[0], np.cumsum([len(b) for b in blobs])]).astype(np.int64)
    return {"jpeg": np.concatenate(blobs), "offsets": offsets, "labels": np.array(labels, np.uint8)}


def _write(file: str, **arrays: np.ndarray) -> None:
    partial = cache_folder() / f".{file}.partial.npz"
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(cache_folder() / file)

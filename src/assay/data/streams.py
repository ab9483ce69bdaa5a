"""Streams of small pictures: JPEG or PNG files one after another in one array, decoded once and kept in the cache."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.arrays import MAX_BYTES, read_header
from assay.data.pictures import opened
from assay.data.places import cache_folder
from assay.errors import DataError

Images = NDArray[np.uint8]


def checked_offsets(path: Path, stream: NDArray[Any], offsets: NDArray[Any], dtype: type) -> NDArray[np.int64]:
    """Where each piece of a stream begins, and where the last ends, once it is sure that they are that.

    Raises:
        DataError: if the stream is not a row of `dtype`, or the offsets do not rise within it.
    """
    if stream.dtype != dtype or stream.ndim != 1 or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        raise DataError(f"{path}: a row of {np.dtype(dtype)} is needed, with a row of whole numbers as offsets")
    places = offsets.astype(np.int64)
    if len(places) < 2 or places[0] < 0 or places[-1] > len(stream) or (np.diff(places) <= 0).any():
        raise DataError(f"{path}: its offsets must rise and stay within the {len(stream)} values of its stream")
    return places


def picture_stream(path: Path, stream: NDArray[Any], offsets: NDArray[Any]) -> Callable[[NDArray[np.int64]], Images]:
    """A function from indices to pictures, `n c h w`.

    Picture i is `stream[offsets[i]:offsets[i + 1]]`; `path` is where they are from, for errors and the cache's name.

    Cost: the first call decodes all (0.1 ms a picture of 32x32); later ones, in other processes too, read the cache.

    Raises:
        DataError: if the offsets are not those of the stream.
    """
    places = checked_offsets(path, stream, offsets, np.uint8)

    def pictures(index: NDArray[np.int64]) -> Images:
        decoded = _all_pictures(path, stream, places)
        order = np.argsort(index)  # read the file from front to back
        found = np.empty((len(index), *decoded.shape[1:]), np.uint8)
        found[order] = decoded[index[order]]
        return found

    return pictures


def _all_pictures(path: Path, stream: Images, offsets: NDArray[np.int64]) -> Images:
    contents = hashlib.sha256(stream.data)
    contents.update(offsets.data)
    kept = cache_folder() / f"{path.stem}-{contents.hexdigest()[:16]}.npy"
    decoded = _kept_pictures(kept, path, stream, offsets)
    if decoded is None:
        decoded = _decode(path, stream, offsets, range(len(offsets) - 1))
        _keep(kept, decoded)
    return decoded


def _decode(path: Path, stream: Images, offsets: NDArray[np.int64], index: Sequence[int]) -> Images:
    """Pictures by index, `n c h w`; all must have the size of the first."""
    blobs = {i: stream[offsets[i] : offsets[i + 1]].tobytes() for i in index}
    with opened(blobs[index[0]], f"picture {index[0]} of {path}") as first:
        shape = (len(index), 3, first.height, first.width)
    if math.prod(shape) > MAX_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB of pictures")
    decoded = np.empty(shape, np.uint8)
    for row, (i, blob) in enumerate(blobs.items()):
        with opened(blob, f"picture {i} of {path}") as picture:
            if (picture.height, picture.width) != shape[2:]:
                raise DataError(f"picture {i} of {path} is not of the size of the others")
            decoded[row] = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    return decoded


def _kept_pictures(kept: Path, path: Path, stream: Images, offsets: NDArray[np.int64]) -> Images | None:
    """What the cache holds, if it is whole and fits the stream; three pictures are decoded to see that it does."""
    n = len(offsets) - 1
    try:
        with kept.open("rb") as file:
            shape, fortran, dtype = read_header(file)
            start = file.tell()
        if dtype != np.uint8 or fortran or len(shape) != 4 or shape[:2] != (n, 3):
            return None
        if kept.stat().st_size != start + math.prod(shape):
            return None
        decoded = np.memmap(kept, np.uint8, "r", start, shape)
    except (OSError, ValueError):
        return None
    some = sorted({0, n // 2, n - 1})
    return decoded if np.array_equal(decoded[some], _decode(path, stream, offsets, some)) else None


def _keep(kept: Path, decoded: Images) -> None:
    partial = kept.with_name(f".{kept.name}.{os.getpid()}.npy")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(partial, decoded)
        partial.replace(kept)
    except OSError:  # a cache that cannot be written costs time, nothing else
        with suppress(OSError):
            partial.unlink()

"""Arrays of an `.npz` file from outside: no pickles, and no memory is taken before the file's own headers are checked.

`numpy.load` believes a header's shape and takes the memory for it; here shape, dtype and size are compared with the
archive's directory first, and a caller sees them before it reads.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from assay.errors import DataError

MAX_BYTES = 8 * 2**30
"""Of all arrays of a file, unpacked."""

BOMB_RATIO = 200
"""Arrays over `BOMB_FROM` bytes that are packed more than this many times over are refused; pictures are not."""

BOMB_FROM = 64 * 2**20

CHUNK = 256 * 2**10
"""Bytes that are unpacked at a time."""

_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, NotImplementedError)
"""What zipfile, zlib and numpy's header parser raise on damaged files (RuntimeError: an encrypted member)."""


@dataclass(frozen=True)
class Entry:
    """An array that is not read yet."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    def read(self) -> NDArray[Any]:
        """The array. Memory: its size."""
        array = np.empty(math.prod(self.shape), self.dtype)
        target = array.view(np.uint8).data
        with self.archive.open(self.info) as stream:
            read_header(stream)
            done = 0
            while part := stream.read(CHUNK):
                target[done : done + len(part)] = part
                done += len(part)
        if done != len(target):
            raise ValueError(f"{self.info.filename} ends after {done} of {len(target)} bytes")
        return array.reshape(self.shape[::-1]).T if self.fortran else array.reshape(self.shape)


def read_header(stream: IO[bytes] | io.BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the order is Fortran's, and dtype of an `.npy` file; the stream then stands before the numbers.

    Raises:
        ValueError: if it is none, or of a version that numpy writes for records alone.
    """
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
    except (LookupError, TypeError, AttributeError, SyntaxError, ArithmeticError, tokenize.TokenError) as error:
        raise ValueError("its header cannot be read") from error
    return tuple(shape), bool(fortran), dtype


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is packed in a way that numpy does not write")
    if info.file_size > BOMB_FROM and info.file_size > BOMB_RATIO * info.compress_size:
        raise ValueError(f"{info.filename} is packed more than {BOMB_RATIO} times over, as no pictures are")
    with archive.open(info) as stream:
        shape, fortran, dtype = read_header(stream)
        length = info.file_size - stream.tell()
    if dtype.hasobject or dtype.names:
        raise ValueError(f"{info.filename} holds Python objects or records, not numbers")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"{info.filename} says it has the shape {shape}, but not the bytes for it")
    return Entry(archive, info, shape, dtype, fortran)


@contextmanager
def open_arrays(path: Path) -> Iterator[dict[str, Entry]]:
    """The arrays of a file by name, for as long as the block runs.

    Raises:
        DataError: if the file, or an array that the block reads, is damaged, too large, or holds anything but numbers
            and text.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if sum(info.file_size for info in members) > MAX_BYTES:
                raise DataError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB; take fewer pictures")
            yield {info.filename.removesuffix(".npy"): _entry(archive, info) for info in members}
    except _BROKEN as error:
        raise DataError(f"{path} cannot be read as an .npz file without Python objects: {error}") from error
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is; take fewer pictures") from error


def read_arrays(path: Path, *wanted: str) -> dict[str, NDArray[Any]]:
    """The arrays named, whole.

    Raises:
        DataError: as `open_arrays`, or if one is missing.
    """
    with open_arrays(path) as entries:
        missing = [name for name in wanted if name not in entries]
        if missing:
            held = ", ".join(entries) or "no arrays"
            raise DataError(f"{path} needs the array {missing[0]}, but holds {held}")
        return {name: entries[name].read() for name in wanted}

"""Is this file safe to open? Every member of every archive is looked at; nothing in any of them is run.

Whatever a file is, its bytes are also read as the other things that a careless loader could take it for: a pickle, a
zip file that begins in its middle, a tar archive.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from assay.supply.arrays import look_at_npy
from assay.supply.formats import FOREIGN, program, tell
from assay.supply.keras import look_at_hdf5
from assay.supply.onnx import look_at_onnx
from assay.supply.packed import STREAMS, is_tar, look_at_stream, look_at_tar
from assay.supply.pickles import is_pickle, look_at_pickles, look_for_pickles
from assay.supply.report import (
    MAX_DEPTH,
    MAX_RATIO,
    MAX_UNPACKED,
    SPARE_UNPACKED,
    FileReport,
    Finding,
    LimitReached,
    Piece,
    Search,
    Unreadable,
)
from assay.supply.safetensors_file import look_at_safetensors
from assay.supply.zip_file import look_at_zip
from assay.supply.zip_layout import holds_directory

UNEXPECTED = "the inspection came upon something that it does not expect"


def inspect(path: Path | str) -> FileReport:
    """Inspect one file. Raises nothing for what the file holds, or if it cannot be read.

    The file is mapped, not read: it must not be made shorter by another program meanwhile.

    Cost: 0.15 s for 100 MB that are in the disk cache; memory is that of its largest packed member with
    those it lies in, at most 2 GiB.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return _unread(path, "it is not a plain file")
        if status.st_size == 0:
            return _unread(path, "it is empty")
        with open(path, "rb") as file:
            # Not closed by hand: what is left of an inspection may still point into it.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return inspect_bytes(_printable(path), mapped)
    except (OSError, ValueError) as error:
        return _unread(path, f"it cannot be read: {getattr(error, 'strerror', None) or error}")


def inspect_bytes(name: str, data: bytes | mmap.mmap, check_weights: bool = True) -> FileReport:
    """The same for bytes in memory; without `check_weights` only for what could run."""
    digest = hashlib.sha256()
    view = memoryview(data)
    search = Search(check_weights, min(MAX_UNPACKED, MAX_RATIO * len(view) + SPARE_UNPACKED))
    hashing = threading.Thread(target=digest.update, args=(view,))
    hashing.start()
    form = _search(search, Piece(view))
    hashing.join()
    return FileReport(name, search.verdict, form, search.findings, digest.hexdigest(), len(data))


def _printable(path: Path | str) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _unread(path: Path | str, why: str) -> FileReport:
    return FileReport(_printable(path), "unknown", "unknown", (Finding(why, "file"),), "", 0)


def _search(search: Search, piece: Piece) -> str:
    try:
        return look(search, piece)
    except LimitReached as error:
        search.unknown(str(error), "file")
        return tell(piece.data, Search()) or "unknown"
    except Exception as error:  # a fault here must not hide what the other files of a folder hold
        search.unknown(f"{UNEXPECTED}: {type(error).__name__}", "file")
        return "unknown"


def look(search: Search, piece: Piece) -> str:
    """Look at one file or member, told by its bytes; returns its format.

    Raises:
        LimitReached: if there is more to look at than is allowed.
    """
    if piece.depth > MAX_DEPTH:
        search.unknown(f"archives nested more than {MAX_DEPTH} deep", piece.where)
        return "unknown"
    form = tell(piece.data, search) or ("pickle" if is_pickle(search, piece.data) else "")
    if form != "pickle":
        look_for_pickles(search, piece)
    _look_for_archives(search, piece, form)
    try:
        return _look_as(search, piece, form)
    except LimitReached:
        raise
    except Unreadable as error:
        search.unknown(str(error), piece.where)
        return form


def _look_for_archives(search: Search, piece: Piece, form: str) -> None:
    """Archives that some readers would see in a file of another format."""
    if form not in ("zip", "tar") and holds_directory(piece.data):
        _look_at_second(search, piece, "a zip archive as well, if read from its end", look_at_zip)
    if form != "tar" and is_tar(piece.data):
        _look_at_second(search, piece, "a tar archive as well", look_at_tar)


def _look_at_second(
    search: Search, piece: Piece, what: str, reader: Callable[[Search, Piece, Callable[[Search, Piece], str]], object]
) -> None:
    search.unknown(f"it is {what}", piece.where)
    try:
        reader(search, piece, look)
    except LimitReached:
        raise
    except Unreadable:
        return


def _look_as(search: Search, piece: Piece, form: str) -> str:
    if form == "zip":
        return look_at_zip(search, piece, look)
    if form in STREAMS:
        look_at_stream(search, piece, form, look)
    elif form == "tar":
        look_at_tar(search, piece, look)
    elif form in _READERS:
        _READERS[form](search, piece)
    elif form == "pickle":
        return look_at_pickles(search, piece)
    elif form in FOREIGN.values() or form in ("caffemodel", "tflite"):
        search.unknown(f"its format ({form}) is not read here", piece.where)
    else:
        return _look_at_stranger(search, piece)
    return form


def _look_at_stranger(search: Search, piece: Piece) -> str:
    if kind := program(piece.data):
        search.unsafe(f"a program ({kind})", piece.where)
        return "program"
    search.unknown("its format is not known", piece.where)
    return "unknown"


_READERS: dict[str, Callable[[Search, Piece], None]] = {
    "safetensors": look_at_safetensors,
    "npy": look_at_npy,
    "onnx": look_at_onnx,
    "hdf5": look_at_hdf5,
}

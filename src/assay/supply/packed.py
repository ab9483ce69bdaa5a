"""Compressed streams and tar archives."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from typing import Any

from assay.supply.report import MAX_IN_MEMORY, MAX_RATIO, Piece, Search, Unreadable, shown
from assay.supply.zip_file import Look

MAX_STREAMS = 64
"""In one file, one after the other."""

_STREAMS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "zlib": zlib.decompressobj,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=256 << 20),
}
STREAMS = frozenset(_STREAMS)


def look_at_stream(search: Search, piece: Piece, form: str, look: Look) -> None:
    """Unpack a stream, and all that follow it, as one file; then look at that.

    Raises:
        Unreadable: if it cannot be unpacked, or to more than is allowed.
    """
    limit = min(MAX_IN_MEMORY - search.held, MAX_RATIO * len(piece.data) + (1 << 20))
    parts: list[bytes] = []
    rest, size = bytes(piece.data), 0
    while rest:
        if len(parts) == MAX_STREAMS:
            raise Unreadable(f"more than {MAX_STREAMS} packed streams, one after the other")
        stream = _STREAMS[form]()
        try:
            parts.append(stream.decompress(rest, limit - size + 1))
        except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError) as error:
            raise Unreadable(f"it cannot be unpacked: {shown(str(error))}") from error
        size += len(parts[-1])
        if size > limit:
            raise Unreadable(f"it unpacks to more than {MAX_RATIO} times its size, or {MAX_IN_MEMORY >> 30} GiB")
        if not stream.eof:
            raise Unreadable("it ends in the middle of its packed content")
        search.enter(len(parts[-1]))
        rest = stream.unused_data
    with search.holding(size):
        look(search, piece.member(form, memoryview(b"".join(parts))))


def is_tar(data: memoryview) -> bool:
    """Whether `tarfile`, which torch tries first, takes the first block for a header; its checksum is the only mark.

    That allows more than it seems: signed sums, numbers to base 256, anything after a NUL.
    """
    try:
        tarfile.TarInfo.frombuf(bytes(data[:512]), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def look_at_tar(search: Search, piece: Piece, look: Look) -> None:
    """Look at every member in place.

    Raises:
        Unreadable: if it cannot be read to its end.
    """
    try:
        with tarfile.open(fileobj=_Window(piece.data), mode="r:") as archive:
            end = 0
            for entry in archive:
                search.enter(max(0, entry.size))
                _look_at_entry(search, piece, entry, look)
                end = max(end, entry.offset_data + (entry.size + 511) // 512 * 512)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(f"the archive cannot be read: {shown(str(error))}") from error
    if len(piece.data) - end > 1 << 20 or bytes(piece.data[end:]).strip(b"\0"):
        search.unknown("other bytes follow the archive", piece.place(f"byte {end}"))


def _look_at_entry(search: Search, piece: Piece, entry: tarfile.TarInfo, look: Look) -> None:
    inner = piece.member(entry.name, piece.data[entry.offset_data : entry.offset_data + entry.size])
    if entry.name.startswith("/") or ".." in entry.name.split("/"):
        search.unsafe("its name leads out of the folder it is unpacked into", inner.where)
    if entry.isdir():
        return
    if not entry.isreg() or entry.issparse():
        search.unknown("it is a link, a device or a file with holes", inner.where)
    elif len(inner.data) != entry.size:
        search.unknown("it reaches beyond the end of the file", inner.where)
    else:
        look(search, inner)


class _Window(io.RawIOBase):
    """A read-only file over bytes, which are not copied."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: len(self._data)}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._at + size
        part = bytes(self._data[self._at : end])
        self._at += len(part)
        return part

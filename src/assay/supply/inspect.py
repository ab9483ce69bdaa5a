"""Is this file safe to open? Every member of every archive is looked at; no code of any of them is run.

Three verdicts: `safe`, `unsafe` (opening it could run code, or its weights are absurd), `unknown` (it cannot be told,
which is not safe).
"""

from __future__ import annotations

import copy
import hashlib
import io
import mmap
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from assay.supply.formats import tell
from assay.supply.graphs import keras_notes, onnx_notes, pt2_notes
from assay.supply.pickle_walk import walk
from assay.supply.weights import oddities, safetensors_layout, torch_storage

Answer = Literal["safe", "unsafe", "unknown"]

MAX_DEPTH = 4
MAX_MEMBERS = 10_000
MAX_UNPACKED = 64 * 2**30
MAX_RATIO = 200
MAX_PICKLES = 1000
"""In one stream, one after the other."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First value of torch's format before the zip files."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and where in the file."""

    what: str
    where: str


@dataclass(frozen=True)
class FileReport:
    """What is said of one file."""

    path: str
    verdict: Answer
    format: str
    findings: tuple[Finding, ...]
    sha256: str
    size_bytes: int


@dataclass
class _Search:
    """The state of one inspection: limits used up, what was found."""

    unsafe: list[Finding] = field(default_factory=list)
    unknown: list[Finding] = field(default_factory=list)
    members: int = 0
    unpacked: int = 0

    def note(self, verdict: str, what: str, where: str) -> None:
        (self.unsafe if verdict == "unsafe" else self.unknown).append(Finding(what, where))

    @property
    def verdict(self) -> Answer:
        return "unsafe" if self.unsafe else "unknown" if self.unknown else "safe"


def inspect(path: Path | str) -> FileReport:
    """Inspect one file. Never raises for what the file holds.

    Cost: a 100 MB file takes about half a second; memory is that of its largest nested member.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _unread(path, "it is not a plain file")
        if path.stat().st_size == 0:
            return _unread(path, "it is empty")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return inspect_bytes(str(path), data)
    except (OSError, ValueError) as error:
        return _unread(path, f"it cannot be read: {getattr(error, 'strerror', None) or error}")


def _unread(path: Path, why: str) -> FileReport:
    return FileReport(str(path), "unknown", "unknown", (Finding(why, "file"),), "", 0)


def inspect_bytes(name: str, data: bytes | mmap.mmap, check_weights: bool = True) -> FileReport:
    """The same for bytes in memory; without `check_weights` only for what could run."""
    search = _Search()
    form = _look(search, data, "", 0, check_weights)
    digest = hashlib.sha256(data).hexdigest()
    return FileReport(name, search.verdict, form, (*search.unsafe, *search.unknown), digest, len(data))


def _at(where: str, inner: str) -> str:
    return f"{where}!{inner}" if where else inner


def _look(search: _Search, data: bytes | mmap.mmap, where: str, depth: int, weights: bool) -> str:
    """Look at one file or nested member; returns its format."""
    if depth > MAX_DEPTH:
        search.note("unknown", f"archives nested more than {MAX_DEPTH} deep", where)
        return "unknown"
    form = tell(bytes(data[:512]), len(data))
    if form == "zip":
        return _zip(search, data, where, depth, weights)
    # A loader that looks for the archive's directory at the end would see another file than one that reads its start.
    if zipfile.is_zipfile(io.BytesIO(bytes(data[-70_000:]))):
        search.note("unknown", "it is an archive as well, if read from its end", where or "file")
        _zip(search, data, where, depth, weights)
    if form == "safetensors":
        _safetensors(search, data, where, weights)
    elif form in ("pickle", "pickle?"):
        form = _pickles(search, data, where, certain=form == "pickle", required=True)
    elif form == "npy":
        _npy(search, data, where)
    elif form in ("gzip", "tar"):
        _packed(search, form, data, where, depth, weights)
    elif form == "onnx":
        for note in onnx_notes(bytes(data)):
            search.note(*note)
    elif form == "hdf5":
        for note in keras_notes(bytes(data), where or "model_config"):
            search.note(*note)
        search.note("unknown", "an HDF5 file, whose weights cannot be judged here", where or "file")
    elif form == "caffemodel":
        search.note("unknown", "a Caffe model, which cannot be judged here", where or "file")
    else:
        search.note("unknown", "its format is not known", where or "file")
    return form


def _safetensors(search: _Search, data: bytes | mmap.mmap, where: str, weights: bool) -> None:
    raw = np.frombuffer(data, dtype=np.uint8)
    try:
        layout = safetensors_layout(raw)
    except (ValueError, RecursionError, UnicodeDecodeError) as error:
        search.note("unknown", f"not a whole safetensors file: {str(error)[:200]}", where or "header")
        return
    for name, (dtype, begin, end) in layout.items() if weights else ():
        for what in oddities(raw[begin:end], dtype):
            search.note("unsafe", f"tensor {name[:100]} has {what}", _at(where, name[:100]))


def _npy(search: _Search, data: bytes | mmap.mmap, where: str) -> None:
    stream = io.BytesIO(bytes(data[: 1 << 16]))
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        dtype = read(stream)[2]
    except (ValueError, SyntaxError, TypeError, EOFError) as error:
        search.note("unknown", f"not a whole .npy file: {str(error)[:200]}", where or "header")
        return
    if dtype.hasobject:
        before = len(search.unsafe)
        _pickles(search, bytes(data[stream.tell() :]), where, certain=True, required=True)
        if len(search.unsafe) == before:
            search.note("unsafe", "an array of pickled Python objects", where or "header")


def _pickles(search: _Search, data: bytes | mmap.mmap, where: str, *, certain: bool, required: bool) -> str:
    """Walk pickles one after the other. `certain`: the bytes claim to be one. `required`: something must vouch for all."""
    stream, legacy, walked = io.BytesIO(bytes(data)), False, 0
    while stream.tell() < len(data) and walked < MAX_PICKLES:
        begin = stream.tell()
        seen = walk(stream)
        claims = certain if not walked else data[begin] == 0x80
        if seen.broken and not claims and not any(_is_name(n) for n, _ in seen.dangers):
            if not walked:
                search.note("unknown", "its format is not known", where or "file")
                return "unknown"
            break
        walked += 1
        legacy = legacy or (walked == 1 and seen.first == LEGACY_MAGIC)
        for name, offset in seen.dangers:
            search.note("unsafe", f"opening it would import {name}", _at(where, f"byte {offset}"))
        if seen.broken:
            if not (legacy and walked > 5):
                search.note("unknown", seen.broken, _at(where, f"byte {begin + seen.end}"))
            break
    rest = len(data) - stream.tell()
    if required and rest > 0 and not legacy and not search.unsafe and not search.unknown:
        search.note("unknown", f"{rest} bytes follow the pickle", _at(where, f"byte {stream.tell()}"))
    if walked >= MAX_PICKLES:
        search.note("unknown", f"more than {MAX_PICKLES} pickles one after the other", where or "file")
    return "torch (legacy)" if legacy else "pickle"


def _is_name(dotted: str) -> bool:
    """Whether an import found in bytes that may be anything looks like one."""
    return all(part.isidentifier() for part in dotted.split(".")) and dotted.isascii()


def _zip(search: _Search, data: bytes | mmap.mmap, where: str, depth: int, weights: bool) -> str:
    try:
        with zipfile.ZipFile(_Stream(data)) as archive:
            infos = archive.infolist()
            form = _zip_kind({i.filename for i in infos})
            twice = [name for name, n in Counter(i.filename for i in infos).items() if n > 1]
            if twice:
                search.note(
                    "unknown",
                    f"{len(twice)} names stand twice in the archive (first: {twice[0][:80]})",
                    where or "archive",
                )
            if infos and min(i.header_offset for i in infos) != 0:
                search.note("unknown", "bytes stand before the archive", where or "archive")
            storages: dict[str, str] = {}
            for info in sorted(infos, key=lambda i: not i.filename.endswith(".pkl")):
                if not _member(search, archive, info, _at(where, info.filename[:200]), depth, weights, storages):
                    break
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        search.note("unknown", f"the archive cannot be read: {str(error)[:200]}", where or "archive")
        return "zip"
    if form == "torchscript":
        search.note("unknown", "it holds TorchScript code, which runs when the file is opened", where or "archive")
    return form


def _zip_kind(names: set[str]) -> str:
    ends = {n.partition("/")[2] or n for n in names}
    if any(n.endswith(".py") and "code/" in n for n in names) or "constants.pkl" in ends:
        return "torchscript"
    if any(n.endswith("archive_format") for n in names) or any(n.endswith("model.json") for n in names):
        return "pt2"
    if "data.pkl" in ends:
        return "torch"
    if "config.json" in names and "metadata.json" in names:
        return "keras"
    return "npz" if names and all(n.endswith(".npy") for n in names) else "zip"


def _member(
    search: _Search,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    where: str,
    depth: int,
    weights: bool,
    storages: dict[str, str],
) -> bool:
    """Look at one member; False when a limit ends the walk."""
    search.members += 1
    search.unpacked += info.file_size
    if search.members > MAX_MEMBERS or search.unpacked > MAX_UNPACKED:
        search.note("unknown", f"more than {MAX_MEMBERS:,} members or {MAX_UNPACKED >> 30} GiB unpacked", where)
        return False
    if info.is_dir():
        return True
    if info.flag_bits & 1:
        search.note("unknown", "an encrypted member", where)
        return True
    if info.file_size > MAX_RATIO * max(info.compress_size, 1) and info.file_size > 1 << 20:
        search.note("unknown", f"a member that unpacks to more than {MAX_RATIO} times its size", where)
        return True
    content, whole = _content(archive, info)
    if not whole:
        search.note("unknown", "a member whose checksum or length is wrong", where)
    form = tell(content[:512], len(content))
    if form in ("zip", "gzip", "tar", "npy", "hdf5") or (form == "safetensors" and len(content) > 16):
        _look(search, content, where, depth + 1, weights)
    elif form in ("pickle", "pickle?") or info.filename.endswith(".pkl"):
        _inner_pickle(search, content, info.filename, where, storages)
    _named_member(search, info.filename, content, where)
    key = info.filename.rpartition("/")[2]
    if weights and "data/" in info.filename and key in storages:
        for what in torch_storage(storages[key], np.frombuffer(content, dtype=np.uint8)):
            search.note("unsafe", f"storage {key} has {what}", where)
    return True


def _inner_pickle(search: _Search, content: bytes, name: str, where: str, storages: dict[str, str]) -> None:
    """A member that may be a pickle: one named so must be whole; others count only if they would import something."""
    if name.endswith(".pkl"):
        storages.update({key: kind for kind, key in walk(io.BytesIO(content)).stored})
        _pickles(search, content, where, certain=True, required=True)
        return
    seen = walk(io.BytesIO(content))
    if seen.imports and any(_is_name(n) for n, _ in seen.imports):
        _pickles(search, content, where, certain=True, required=False)


def _named_member(search: _Search, name: str, content: bytes, where: str) -> None:
    if name.endswith("model.json") or ("models/" in name and name.endswith(".json")):
        notes = pt2_notes(content)
    elif name == "config.json":
        notes = keras_notes(content, where)
    else:
        return
    for verdict, what, place in notes:
        search.note(verdict, what, where or place)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[bytes, bool]:
    """A member's bytes, also when its checksum is wrong: what a careless loader would read is looked at all the same."""
    lenient = copy.copy(info)
    del lenient.CRC  # zipfile checks only what it is told
    with archive.open(lenient) as stream:
        content = stream.read(info.file_size + 1)
    return content, len(content) == info.file_size and zlib.crc32(content) == info.CRC


def _packed(search: _Search, form: str, data: bytes | mmap.mmap, where: str, depth: int, weights: bool) -> None:
    limit = min(MAX_UNPACKED - search.unpacked, MAX_RATIO * len(data) + (1 << 20))
    try:
        if form == "gzip":
            unpacked = zlib.decompressobj(31).decompress(bytes(data), limit)
            search.unpacked += len(unpacked)
            if len(unpacked) >= limit:
                search.note("unknown", f"it unpacks to more than {MAX_RATIO} times its size", where or "file")
            _look(search, unpacked, _at(where, "gzip"), depth + 1, weights)
            return
        with tarfile.open(fileobj=_Stream(data)) as archive:
            for entry in archive:
                search.members += 1
                if search.members > MAX_MEMBERS:
                    search.note("unknown", f"more than {MAX_MEMBERS:,} members", where or "file")
                    return
                if (stream := archive.extractfile(entry)) is not None:
                    _look(search, stream.read(), _at(where, entry.name[:200]), depth + 1, weights)
    except (zlib.error, tarfile.TarError, OSError, EOFError, ValueError) as error:
        search.note("unknown", f"the archive cannot be read: {str(error)[:200]}", where or "file")


def _Stream(data: bytes | mmap.mmap) -> BinaryIO:
    """Bytes as a file; a memory map is read in place."""
    return io.BytesIO(data) if isinstance(data, bytes) else _MappedFile(data)  # type: ignore[return-value]


class _MappedFile(io.RawIOBase):
    """A read-only file over a memory map, with a position of its own."""

    def __init__(self, data: mmap.mmap) -> None:
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
        part = self._data[self._at : end]
        self._at += len(part)
        return part

"""Zip archives: what kind of model file each is, and what its members may be."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from assay.supply.keras import look_at_keras_config
from assay.supply.pickles import look_at_data_pickle, look_for_pickles
from assay.supply.plain_calls import element_size
from assay.supply.pt2 import look_at_program, payload_dtypes
from assay.supply.report import MAX_IN_MEMORY, MAX_RATIO, LimitReached, Piece, Search, Unreadable, shown
from assay.supply.values import Stored
from assay.supply.weights import look_at_values
from assay.supply.zip_layout import Member, read_layout

Look = Callable[[Search, Piece], str]
"""Look at one file or member, told by its bytes."""


@dataclass
class Packed:
    """A member that is unpacked when it is looked at, and then let go: all of them together may not fit into memory.

    Attributes:
        name: without the folder that torch puts around all members.
        looked_at: whether its faults are noted and its size is counted.
    """

    search: Search
    archive: Piece
    member: Member
    name: str
    looked_at: bool = False

    def show(self, visit: Callable[[Piece], object]) -> None:
        """Give it to `visit`, if it can be read."""
        first, self.looked_at = not self.looked_at, True
        if first:
            self.search.enter(self.member.size)
        place = self.archive.member(self.member.name, self.archive.data[:0])
        try:
            data, faults = _content(self.archive.data, self.member, MAX_IN_MEMORY - self.search.held)
        except Unreadable as error:
            data, faults = None, [str(error)]
        for fault in faults if first else ():
            self.search.unknown(fault, place.where)
        if data is not None:
            with self.search.holding(0 if self.member.method == 0 else len(data)):
                self._visit(visit, self.archive.member(self.member.name, data))

    def _visit(self, visit: Callable[[Piece], object], inner: Piece) -> None:
        try:
            visit(inner)
        except LimitReached:
            raise
        except Unreadable as error:  # the other members are still looked at
            self.search.unknown(str(error), inner.where)


Members = list[Packed]

_TORCH_NOTES = re.compile(r"version|byteorder|\.format_version|\.storage_alignment|\.data/(version|serialization_id)")
_PT2_NOTES = re.compile(r"archive_format|archive_version|" + _TORCH_NOTES.pattern)
_PT2_VALUES = re.compile(r"data/(weights/weight|constants/tensor)_[0-9]+")


def look_at_zip(search: Search, piece: Piece, look: Look) -> str:
    """Look at every member; returns which kind of file the archive is.

    Raises:
        Unreadable: if it has no directory that can be read.
    """
    layout = read_layout(piece.data)
    for fault in layout.faults:
        search.unknown(fault, piece.where or "archive")
    if not layout.members:
        search.unknown("an archive without members", piece.where)
    kind, root = _kind([member.name for member in layout.members])
    files = [member for member in layout.members if not member.is_folder]
    for member in files:
        _look_at_name(search, piece.member(member.name, piece.data[:0]).where, member)
    members = [Packed(search, piece, member, member.name.removeprefix(root)) for member in files]
    _KINDS[kind](search, piece, members, look)
    return kind


def _look_at_name(search: Search, where: str, member: Member) -> None:
    for fault in member.faults:
        search.unknown(fault, where)
    if _leaves(member.name):
        search.unsafe("its name leads out of the folder it is unpacked into", where)


def _content(data: memoryview, member: Member, room: int) -> tuple[memoryview, list[str]]:
    """A member's bytes as far as they can be had, and what is wrong with them.

    A wrong checksum does not hide the bytes: a careless loader would read them.

    Raises:
        Unreadable: if they cannot be had at all, or would unpack to more than is allowed.
    """
    if member.begin is None:
        raise Unreadable("there is nothing where it should lie")
    packed = data[member.begin : member.begin + member.packed]
    if member.method == 0:
        whole = packed
    elif member.method == 8:
        whole = _inflate(packed, member.size, room)
    else:
        raise Unreadable(f"it is packed by method {member.method}, which is not read here")
    right = len(whole) == member.size and zlib.crc32(whole) == member.checksum
    return whole, [] if right else ["its checksum or length is wrong"]


def _inflate(packed: memoryview, size: int, room: int) -> memoryview:
    if size > room:
        raise Unreadable(f"it unpacks to more than {MAX_IN_MEMORY >> 30} GiB")
    if size > 1 << 20 and size > MAX_RATIO * len(packed):
        raise Unreadable(f"it unpacks to more than {MAX_RATIO} times its size")
    try:
        return memoryview(zlib.decompressobj(-15).decompress(packed, size + 1))
    except zlib.error as error:
        raise Unreadable(f"it cannot be unpacked: {error}") from error


def _leaves(name: str) -> bool:
    """Whether a careless unpacker would write this member outside its folder."""
    parts = re.split(r"[/\\]", name)
    return ".." in parts or not parts[0] or ":" in parts[0] or "\0" in name


def _kind(names: list[str]) -> tuple[str, str]:
    """Kind of the archive, and the folder that its members have in common, as `folder/`."""
    roots = {name.partition("/")[0] for name in names}
    root = f"{roots.pop()}/" if len(roots) == 1 and all("/" in name for name in names) else ""
    inner = {name.removeprefix(root) for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript", root
    if any(name.startswith("models/") and name.endswith(".json") for name in inner) or "archive_format" in inner:
        return "pt2", root
    if "serialized_exported_program.json" in inner:
        return "pt2", root
    if any(name.casefold() == "data.pkl" for name in inner):
        return "torch", root
    if {"config.json", "metadata.json"} <= inner:
        return "keras", root
    return ("npz" if names and all(name.endswith(".npy") for name in names) else "zip"), root


def _look_at_any(search: Search, piece: Piece, members: Members, look: Look) -> None:
    for packed in members:
        packed.show(lambda inner: look(search, inner))


def _look_at_torch(search: Search, piece: Piece, members: Members, look: Look) -> None:
    """`data.pkl` and the storages it refers to; all else in such an archive is a stranger."""
    stored: dict[str, Stored] = {}
    dtypes: dict[str, set[str]] = {}

    def walk(inner: Piece) -> None:
        seen = look_at_data_pickle(search, inner)
        stored.update(seen.stored)
        dtypes.update(seen.dtypes)

    for packed in members:
        if packed.name.casefold().endswith(".pkl"):
            packed.show(walk)
        elif packed.name == "byteorder":
            packed.show(lambda inner: _look_at_order(search, inner))
    names = [packed.name for packed in members if packed.name.startswith("data/")]
    missing = stored.keys() - {name.removeprefix("data/") for name in names}
    for key in sorted(missing)[:10]:
        search.unknown(f"storage {shown(key, 40)} is missing from the archive", piece.where)
    if any(name.removeprefix("data/") not in stored for name in names):
        search.unknown("a storage that its pickle does not refer to", piece.where or "archive")

    def look_at(name: str, inner: Piece) -> None:
        key = name.removeprefix("data/")
        if name.startswith("data/") and key in stored:
            _look_at_storage(search, inner, stored[key], dtypes.get(key, set()))
        if name.startswith("data/") or _TORCH_NOTES.fullmatch(name):
            _look_inside(search, inner, look)
        elif not name.casefold().endswith(".pkl"):
            look(search, inner)

    for packed in members:
        packed.show(partial(look_at, packed.name))


def _look_at_order(search: Search, inner: Piece) -> None:
    if bytes(inner.data[:7]) != b"little":
        search.unknown("its numbers are not little-endian", inner.where)


def _look_at_storage(search: Search, inner: Piece, storage: Stored, dtypes: set[str]) -> None:
    if len(inner.data) != storage.count * element_size(storage.dtype):
        search.unknown("a storage that is not as long as its pickle says", inner.where)
    else:
        look_at_values(search, inner, sorted(dtypes | {storage.dtype}))


def _look_inside(search: Search, inner: Piece, look: Look) -> None:
    """Numbers or a short note, which could be opened as something else all the same."""
    if bytes(inner.data[:4]) == b"PK\x03\x04":
        look(search, inner)
    else:
        look_for_pickles(search, inner)


def _look_at_torchscript(search: Search, piece: Piece, members: Members, look: Look) -> None:
    search.unknown("it holds TorchScript code, which runs when the model does", piece.where or "archive")
    for packed in members:
        packed.show(lambda inner: _look_inside(search, inner, look))


def _look_at_pt2(search: Search, piece: Piece, members: Members, look: Look) -> None:
    """The graph, its weights as raw numbers, and torch archives inside."""
    dtypes: dict[str, str] = {}

    def note_dtypes(folder: str, inner: Piece) -> None:
        dtypes.update(payload_dtypes(search, inner, folder))

    for packed in members:
        if packed.name.endswith("_config.json"):
            folder = packed.name.rpartition("/")[0]
            packed.show(partial(note_dtypes, folder))

    def look_at(name: str, inner: Piece) -> None:
        if _PT2_VALUES.fullmatch(name) and name in dtypes:
            look_at_values(search, inner, [dtypes[name]])
            _look_inside(search, inner, look)
        elif name.endswith(".json") or _PT2_NOTES.fullmatch(name):
            _look_inside(search, inner, look)
            if name.endswith(".json") and not name.endswith("_config.json"):
                look_at_program(search, inner)
        else:
            look(search, inner)

    for packed in members:
        packed.show(partial(look_at, packed.name))


def _look_at_keras(search: Search, piece: Piece, members: Members, look: Look) -> None:
    search.unknown("a Keras model, which is not judged here", piece.where or "archive")

    def look_at(name: str, inner: Piece) -> None:
        if name.endswith(".json"):
            _look_inside(search, inner, look)
            look_at_keras_config(search, inner, inner.data)
        else:
            look(search, inner)

    for packed in members:
        packed.show(partial(look_at, packed.name))


_KINDS = {
    "torch": _look_at_torch,
    "torchscript": _look_at_torchscript,
    "pt2": _look_at_pt2,
    "keras": _look_at_keras,
    "npz": _look_at_any,
    "zip": _look_at_any,
}

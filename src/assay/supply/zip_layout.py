"""Where the members of a zip archive lie, and whether every reader would find the same ones there.

Readers differ: some go by the directory at the end, some by the headers before each member, some take the last end
record, some the first. So the archive must leave no choice: one end record, one directory right before it, headers that
say what the directory says, members side by side from the first byte on, no name twice. Whatever else is a fault.

Source of the layout: PKWARE, "APPNOTE.TXT", version 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from assay.supply.report import MAX_MEMBERS, Unreadable, shown

_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _HEADER, _DESCRIPTOR = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"
_UNICODE_PATH = 0x7075
_FULL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """One member: what the directory says of it, and where its bytes lie in the archive.

    Attributes:
        name: as it is written, decoded.
        packed, size: bytes in the archive, bytes unpacked.
        header: offset of its local header.
        begin: offset of its content; None where there is no header.
        faults: what is wrong with this member alone.
    """

    name: str
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    header: int
    begin: int | None
    faults: tuple[str, ...]

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/") and self.size == 0


@dataclass
class Layout:
    """The members in the order of the directory, and what is wrong with the archive as a whole."""

    members: list[Member] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def find_end(data: memoryview) -> int | None:
    """Offset of the end record: the last one that fits."""
    tail = bytes(data[-(22 + 65535) :])
    found = tail.rfind(_END, 0, max(len(tail) - 18, 0))
    return None if found < 0 else len(data) - len(tail) + found


def holds_directory(data: memoryview) -> bool:
    """Whether some reader could find members from an end record: one fits, and an entry of a directory precedes it."""
    end = find_end(data)
    return end is not None and re.search(re.escape(_ENTRY), data[:end]) is not None


def read_layout(data: memoryview) -> Layout:
    """The layout of an archive that has an end record.

    Raises:
        Unreadable: if there is no directory where the end record says.
    """
    end = find_end(data)
    if end is None:
        raise Unreadable("the archive has no directory")
    layout = Layout()
    count, size, offset, directory_end = _end_record(data, end, layout.faults)
    begin = directory_end - size
    if begin < 0 or begin < offset:
        raise Unreadable("the archive's directory is not where its end record says")
    if begin != offset:
        layout.faults.append(f"{begin - offset:,} bytes stand before the archive")
    if count > MAX_MEMBERS:
        raise Unreadable(f"more than {MAX_MEMBERS:,} members")
    layout.members.extend(_directory(data, begin, directory_end, begin - offset, layout.faults))
    if sum(member.packed for member in layout.members) > len(data):
        raise Unreadable("the archive's members are larger than the archive: they overlap")
    if len(layout.members) != count:
        layout.faults.append(f"its end record counts {count} members, its directory names {len(layout.members)}")
    layout.faults += _doubled(layout.members)
    layout.faults += _gaps(data, layout.members, begin - offset, begin)
    return layout


def _end_record(data: memoryview, end: int, faults: list[str]) -> tuple[int, int, int, int]:
    """Number of members, size and offset of the directory, and where it ends."""
    disk, first, here, count, size, offset, comment = struct.unpack_from("<HHHHIIH", data, end + 4)
    if end + 22 + comment != len(data):
        faults.append("other bytes follow its end record")
    if disk or first or here != count:
        faults.append("it is one of several parts")
    tail = bytes(data[max(0, end - 65557) : end])
    if any(_reaches_end(tail, at, len(data) - end + len(tail)) for at in _all(tail, _END)):
        faults.append("two end records fit")
    locator = end - 20
    if locator < 0 or data[locator : locator + 4] != _LOCATOR:
        if _FULL in (size, offset) or count == 0xFFFF:
            raise Unreadable("the archive's 64-bit end record is missing")
        return count, size, offset, end
    return _end_record_64(data, locator, (count, size, offset), faults)


def _end_record_64(
    data: memoryview, locator: int, short: tuple[int, int, int], faults: list[str]
) -> tuple[int, int, int, int]:
    at = locator - 56
    if at < 0 or data[at : at + 4] != _END64:
        raise Unreadable("the archive's 64-bit end record is missing")
    length, _, _, disk, first, here, count, size, offset = struct.unpack_from("<QHHIIQQQQ", data, at + 4)
    (place,) = struct.unpack_from("<Q", data, locator + 8)
    if length != 44 or disk or first or here != count or place != at:
        faults.append("its 64-bit end record is not as it should be")
    for said, full, true in zip(short, (0xFFFF, _FULL, _FULL), (count, size, offset), strict=True):
        if said not in (full, true):
            faults.append("its two end records differ")
    return count, size, offset, at


def _all(blob: bytes, part: bytes) -> Iterator[int]:
    at = blob.find(part)
    while at >= 0:
        yield at
        at = blob.find(part, at + 1)


def _reaches_end(tail: bytes, at: int, size: int) -> bool:
    """Whether an end record `at` in the tail has a comment that ends with the file."""
    return at + 22 <= len(tail) and at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") == size


def _directory(data: memoryview, at: int, end: int, shift: int, faults: list[str]) -> Iterator[Member]:
    for _ in range(MAX_MEMBERS + 1):
        if at == end:
            return
        if at + 46 > end or data[at : at + 4] != _ENTRY:
            faults.append("its directory breaks off")
            return
        f = struct.unpack_from("<HHHHHHIIIHHHHHII", data, at + 4)
        name_end = at + 46 + f[9]
        following = name_end + f[10] + f[11]
        if following > end:
            faults.append("its directory breaks off")
            return
        yield _member(data, f, bytes(data[at + 46 : name_end]), bytes(data[name_end : name_end + f[10]]), shift)
        at = following


def _member(data: memoryview, f: tuple[int, ...], raw_name: bytes, extra: bytes, shift: int) -> Member:
    flags, method, checksum, packed, size, offset = f[2], f[3], f[6], f[7], f[8], f[15]
    faults: list[str] = []
    size, packed, offset = _wide(extra, [size, packed, offset], faults)
    begin = _content_begin(data, offset + shift, raw_name, (flags, method, checksum, packed, size), faults)
    name = raw_name.decode("utf-8" if flags & 0x800 else "cp437", "replace")
    if flags & 0x2041:
        faults.append("it is encrypted")
    if (f[14] >> 16) & 0o170000 == 0o120000:
        faults.append("it is a symbolic link")
    return Member(name, flags, method, checksum, packed, size, offset + shift, begin, tuple(faults))


def _wide(extra: bytes, values: list[int], faults: list[str]) -> list[int]:
    """Values of which those that do not fit 32 bits stand in an extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field_end = at + 4 + length
        if kind == _UNICODE_PATH:
            faults.append("it has a second name")
        if kind == 1:
            place = at + 4
            for i, value in enumerate(values):
                if value == _FULL and place + 8 <= min(field_end, len(extra)):
                    (values[i],) = struct.unpack_from("<Q", extra, place)
                    place += 8
        at = field_end
    return values


def _content_begin(
    data: memoryview, header: int, raw_name: bytes, said: tuple[int, int, int, int, int], faults: list[str]
) -> int | None:
    """Where the content begins; the header must say what the directory says."""
    if header < 0 or header + 30 > len(data) or data[header : header + 4] != _HEADER:
        faults.append("there is no member where the directory says")
        return None
    f: tuple[int, ...] = struct.unpack_from("<HHHHHIIIHH", data, header + 4)
    name_end = header + 30 + f[8]
    begin = name_end + f[9]
    size, packed = _wide(bytes(data[name_end:begin]), [f[7], f[6]], faults)
    here = (f[1], f[2], f[5], packed, size)
    later = here[:2] == said[:2] and f[1] & 8 and here[2:] in ((0, 0, 0), (0, said[3], said[4]))
    if bytes(data[header + 30 : name_end]) != raw_name or not (here == said or later):
        faults.append("its header differs from the directory")
    if begin + said[3] > len(data):
        faults.append("it reaches beyond the end of the file")
        return None
    return begin


def _doubled(members: list[Member]) -> Iterator[str]:
    """Names that some reader would take for the same; torch's reader takes upper and lower case as one."""
    seen: set[str] = set()
    for member in members:
        name = member.name.casefold().replace("\\", "/")
        if name in seen:
            yield f"the name {shown(member.name)} stands twice in it"
            return
        seen.add(name)


def _gaps(data: memoryview, members: list[Member], begin: int, end: int) -> Iterator[str]:
    """Bytes between members that belong to none, and bytes that belong to two."""
    at = begin
    for member in sorted(members, key=lambda m: m.header):
        if member.header < at:
            yield "its members overlap"
            return
        if member.header > at:
            yield f"{member.header - at:,} bytes between its members belong to none"
            return
        if member.begin is None:
            return
        at = _descriptor_end(data, member, member.begin + member.packed)
    if at != end:
        yield f"{end - at:,} bytes between its members belong to none" if at < end else "its members overlap"


def _descriptor_end(data: memoryview, member: Member, at: int) -> int:
    """Where a member ends: after its content and, if it says so, after the sizes that follow it."""
    if not member.flags & 8:
        return at
    said = (member.checksum, member.packed, member.size)
    for sign in (_DESCRIPTOR, b""):
        for form in ("<IQQ", "<III") if max(said) <= _FULL else ("<IQQ",):
            expected = sign + struct.pack(form, *said)
            if data[at : at + len(expected)] == expected:
                return at + len(expected)
    return at

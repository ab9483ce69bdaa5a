"""Opcodes of a pickle and their arguments, read byte for byte as the standard library's unpickler reads them.

`pickletools.genops` is more lenient in some places (it unescapes names, which the unpickler does not) and stricter in
others; only its table of opcodes is used. What the unpickler itself would refuse raises `Unreadable`.
"""

from __future__ import annotations

import codecs
import pickletools
import re
import struct
import warnings
from collections.abc import Callable, Iterator

from assay.supply.report import Search, Unreadable
from assay.supply.values import DATA, NUMBER, ODD_NUMBER, TEXT

MAX_NAME = 4096
"""Characters of text that are kept; longer text is only known to be text."""

MAX_LINE = 1 << 24
"""Bytes of one line of a text opcode."""

BEYOND = "a frame that reaches beyond the file"

Step = tuple[str, object, int]
"""Name of the opcode, its argument, offset of the opcode."""


class Disputed(Unreadable):
    """Bytes that some unpickler reads on from, not all in the same way: what follows is not known."""


class CutImport(Unreadable):
    """The file ends inside the name of an import: the unpickler takes what is there, without its last character."""

    def __init__(self, name: str) -> None:
        super().__init__("it ends in the middle of a name")
        self.name = name


_OPCODES = {ord(o.code): (o.name, o.arg.n if o.arg else 0) for o in pickletools.opcodes}
_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}
_INTEGERS = {"PROTO": "<B", "BININT1": "<B", "BINPUT": "<B", "BINGET": "<B", "EXT1": "<B", "BININT2": "<H",
             "EXT2": "<H", "BININT": "<i", "EXT4": "<i", "LONG_BINPUT": "<I", "LONG_BINGET": "<I",
             "FRAME": "<Q"}  # fmt: skip


def steps(data: memoryview, begin: int, search: Search) -> Iterator[Step]:
    """Every opcode from `begin` to STOP.

    Raises:
        Unreadable: where the unpickler would stop with an error.
        Disputed: where it could go on with other bytes than these.
    """
    at, frame_end, cut_off = begin, begin, False
    while True:
        search.step()
        if at >= len(data):
            raise Unreadable("it ends before its STOP")
        offset, known = at, _OPCODES.get(data[at])
        if known is None:
            raise Unreadable(f"byte {data[at]:#04x} is no opcode")
        name, size = known
        argument, at = _argument(data, at + 1, name, size)
        if offset < frame_end < at:
            # There the C unpickler drops bytes that it has read ahead, and goes on in the middle of the argument.
            raise Disputed("an opcode that reaches across the end of its frame")
        if name == "FRAME":
            if not isinstance(argument, int) or (at < frame_end and at + argument > len(data)):
                raise Unreadable(BEYOND)
            if at < frame_end:
                raise Disputed("a frame inside another")
            # The C unpickler stops at a frame that is cut off, the one in Python takes what there is of it.
            cut_off = cut_off or at + argument > len(data)
            frame_end = min(at + argument, len(data))
        yield name, argument, offset
        if name == "STOP":
            if cut_off:
                raise Unreadable(BEYOND)
            if at < frame_end:
                # The rest of the frame is dropped by some unpicklers and read as a further pickle by others.
                raise Disputed("a frame that goes on after its STOP")
            return


def _argument(data: memoryview, at: int, name: str, size: int) -> tuple[object, int]:
    if size == pickletools.UP_TO_NEWLINE:
        if name in ("GLOBAL", "INST"):
            return _names(data, at)
        line, at = _line(data, at)
        return _LINES.get(name, _opaque)(line), at
    if size in _COUNTED:
        head = struct.calcsize(_COUNTED[size])
        (count,) = struct.unpack(_COUNTED[size], _take(data, at, head))
        if count < 0:
            raise Unreadable("a negative length")
        begin = at + head
        return _counted(name, _take(data, begin, count)), begin + count
    raw = _take(data, at, size)
    if name in _INTEGERS:
        return struct.unpack(_INTEGERS[name], raw)[0], at + size
    return (NUMBER if name == "BINFLOAT" else None), at + size


def _take(data: memoryview, at: int, count: int) -> memoryview:
    if at + count > len(data):
        raise Unreadable("it ends in the middle of an opcode")
    return data[at : at + count]


def _line(data: memoryview, at: int) -> tuple[bytes, int]:
    """The bytes up to the next newline; what is copied in search of it stays within eight times the line."""
    length = 256
    while True:
        piece = bytes(data[at : at + length])
        end = piece.find(b"\n")
        if end >= 0:
            return piece[:end], at + end + 1
        if len(piece) < length:
            raise Unreadable("a line without an end")
        if length > MAX_LINE:
            raise Disputed(f"a line of more than {MAX_LINE >> 20} MiB")
        length *= 8


def _names(data: memoryview, at: int) -> tuple[tuple[str, str], int]:
    """Module and name of GLOBAL and INST."""
    begin = at
    try:
        module, at = _line(data, at)
        name, at = _line(data, at)
    except Disputed:
        raise
    except Unreadable:
        said = bytes(data[begin:-1]).decode("ascii", "replace")
        raise CutImport(said.replace("\n", " ", 1)) from None
    try:
        return (module.decode("utf-8"), name.decode("utf-8")), at
    except UnicodeDecodeError:
        raise Unreadable("a name that is not UTF-8") from None


def _counted(name: str, raw: memoryview) -> object:
    if name in ("LONG1", "LONG4"):
        return int.from_bytes(raw, "little", signed=True) if len(raw) <= 32 else ODD_NUMBER
    if name.endswith(("BYTES", "BYTES8", "BYTEARRAY8")):
        return DATA
    if len(raw) > MAX_NAME:
        return TEXT
    try:
        return str(raw, "utf-8", "surrogatepass") if "UNICODE" in name else str(raw, "ascii")
    except UnicodeDecodeError as error:
        if "UNICODE" in name:
            raise Unreadable("text that is not UTF-8") from error
        return TEXT  # bytes of Python 2, whose encoding the caller of the unpickler chooses


def _integer(line: bytes) -> object:
    """INT writes booleans as 00 and 01.

    The unpickler takes more spellings, as `strtol` and Python's base 0 do (063, 0x33, +51), which savers do not use.
    """
    return line == b"01" if line in (b"00", b"01") else _whole(line)


def _whole(line: bytes) -> object:
    return int(line) if re.fullmatch(rb"0|-?[1-9][0-9]{0,39}", line) else ODD_NUMBER


def _memo_key(line: bytes) -> object:
    if re.fullmatch(rb"[0-9]{1,20}", line):
        return int(line)
    try:
        int(line.partition(b"\0")[0])  # where the unpickler written in C ends a text
    except ValueError:
        raise Unreadable("a memo key that is no number") from None
    raise Disputed("a memo key in an odd spelling")


def _quoted(line: bytes) -> object:
    """The text of STRING: quoted, with escapes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Unreadable("text without its quotes")
    if len(line) > MAX_NAME:
        return TEXT
    try:
        with warnings.catch_warnings(action="ignore"):
            return codecs.escape_decode(line[1:-1])[0].decode("ascii")
    except UnicodeDecodeError:
        return TEXT
    except ValueError as error:
        raise Unreadable("text with a broken escape") from error


def _escaped(line: bytes) -> object:
    """The text of UNICODE."""
    if len(line) > MAX_NAME:
        return TEXT
    try:
        return line.decode("raw-unicode-escape")
    except UnicodeDecodeError as error:
        raise Unreadable("text with a broken escape") from error


def _opaque(line: bytes) -> object:
    return NUMBER


_LINES: dict[str, Callable[[bytes], object]] = {
    "INT": _integer,
    "LONG": lambda line: _whole(line.removesuffix(b"L")),
    "PUT": _memo_key,
    "GET": _memo_key,
    "STRING": _quoted,
    "UNICODE": _escaped,
}

"""Protocol buffers as far as it takes to find one's way: field numbers and bytes, without a schema.

Source of the encoding: Google, "Protocol Buffers: Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.supply.report import Search, Unreadable

FIRST_LOOK = 10_000
"""Fields of bytes that may be a message."""

Message = dict[int, list[int | memoryview]]
"""Field number to its values in order: whole numbers for varints, bytes for all else."""


def message(data: memoryview, search: Search) -> Message:
    """All fields of one message; each counts as a step.

    Raises:
        Unreadable: if the bytes are no message.
    """
    found: Message = {}
    for number, value in _fields(data, search):
        found.setdefault(number, []).append(value)
    return found


def first_look(data: memoryview, search: Search) -> Message:
    """All fields of a message that may be none; empty if it is none, or has more than 10,000 fields.

    What it takes counts as steps of `search`.
    """
    allowed = min(FIRST_LOOK, search.steps)
    trial = Search(steps=allowed)
    try:
        return message(data, trial)
    except Unreadable:
        return {}
    finally:
        search.steps -= allowed - max(0, trial.steps)


def parts(of: Message, number: int) -> list[memoryview]:
    """The values of a field that holds bytes or messages."""
    return [value for value in of.get(number, []) if isinstance(value, memoryview)]


def text(of: Message, number: int) -> str:
    """The value of a text field; the last one, as every reader takes it."""
    values = parts(of, number)
    return str(values[-1], "utf-8", "replace") if values else ""


def number_of(of: Message, number: int) -> int:
    """The value of a number field, 0 if it is not there."""
    values = [value for value in of.get(number, []) if isinstance(value, int)]
    return values[-1] if values else 0


def _fields(data: memoryview, search: Search) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        search.step()
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Unreadable("its protobuf has a field without a number")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise Unreadable(f"its protobuf has a field of wire type {wire}")
        if at + length > len(data):
            raise Unreadable("a field of its protobuf is longer than the file")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Unreadable("its protobuf ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise Unreadable("its protobuf has a number that is too long")

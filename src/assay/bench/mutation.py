"""Receipts changed at random: bytes, MessagePack structure, field elements. What is changed is never the same again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from assay.proof.field import P

Mutation = Callable[[bytes, random.Random], bytes]


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data)) if data else 0


def _run(data: bytes, rng: random.Random) -> slice:
    start = _place(data, rng)
    return slice(start, start + rng.choice((1, 2, 4, 8, 16, 32, 64)))


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    """One bit."""
    place = _place(data, rng)
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :] if data else b"\0"


def set_byte(data: bytes, rng: random.Random) -> bytes:
    """One byte, to a value that means something in MessagePack more often than others do."""
    place, value = (
        _place(data, rng),
        rng.choice((0, 1, 0x7F, 0x80, 0x9C, 0xC0, 0xC4, 0xC6, 0xDD, 0xFF, rng.randrange(256))),
    )
    return data[:place] + bytes([value]) + data[place + 1 :]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Some random bytes somewhere."""
    place = _place(data, rng)
    return data[:place] + rng.randbytes(rng.choice((1, 2, 8, 16, 32))) + data[place:]


def delete(data: bytes, rng: random.Random) -> bytes:
    """A run of bytes."""
    gone = _run(data, rng)
    return data[: gone.start] + data[gone.stop :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A run of bytes twice."""
    run = _run(data, rng)
    return data[: run.stop] + data[run] + data[run.stop :]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """A run by another run of the same length, by zeros, or by random bytes."""
    run, other = _run(data, rng), _run(data, rng)
    length = len(data[run])
    new = rng.choice((data[other.start : other.start + length], bytes(length), rng.randbytes(length)))
    return data[: run.start] + new + data[run.start + len(new) :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: _place(data, rng)]


BYTES: tuple[Mutation, ...] = (flip_bit, set_byte, insert, delete, repeat, overwrite, cut)


def _element(rng: random.Random) -> bytes:
    """16 bytes of a field element: small, large, random, or not canonical."""
    words = rng.choices((0, 1, 2, P - 1, P, P + 1, 2**64 - 1, rng.randrange(P)), k=2)
    return b"".join(word.to_bytes(8, "little") for word in words)


def change_element(proof: bytes, rng: random.Random) -> bytes:
    """One aligned element of a proof; its first 32 bytes are a root where something is committed."""
    start = 16 * rng.randrange(max(1, len(proof) // 16))
    return proof[:start] + _element(rng) + proof[start + 16 :]


def shift_elements(proof: bytes, rng: random.Random) -> bytes:
    """A number added to a word of two elements, or to one and taken from the other: sums may stay what they were."""
    changed, delta = bytearray(proof), rng.choice((1, P - 1, rng.randrange(1, P)))
    for sign in (1, rng.choice((1, -1))):
        start = 8 * rng.randrange(max(1, len(proof) // 8))
        word = int.from_bytes(proof[start : start + 8], "little")
        changed[start : start + 8] = ((word + sign * delta) % P).to_bytes(8, "little")
    return bytes(changed)


def swap_elements(proof: bytes, rng: random.Random) -> bytes:
    """Two aligned elements."""
    i, j = (16 * rng.randrange(max(1, len(proof) // 16)) for _ in range(2))
    changed = bytearray(proof)
    changed[i : i + 16], changed[j : j + 16] = proof[j : j + 16], proof[i : i + 16]
    return bytes(changed)


ELEMENTS: tuple[Mutation, ...] = (change_element, shift_elements, swap_elements)
PROOF = 11
"""Its place among the fields."""


def mutate_elements(data: bytes, rng: random.Random) -> bytes:
    """The receipt with other field elements in its proof, and nothing else changed."""
    fields = msgspec.msgpack.decode(data)
    fields[PROOF] = rng.choice(ELEMENTS)(fields[PROOF], rng)
    return msgspec.msgpack.encode(fields)


def mutate_fields(data: bytes, rng: random.Random) -> bytes:
    """The receipt with one to three fields changed, dropped, exchanged or of another type, encoded as Assay does."""
    fields = msgspec.msgpack.decode(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(fields)) if fields else 0
        what = rng.randrange(10)
        if what == 0 and fields:
            del fields[place]
        elif what == 1:
            fields.insert(place, _value(rng, 2))
        elif what == 2 and fields:
            other = rng.randrange(len(fields))
            fields[place], fields[other] = fields[other], fields[place]
        elif what == 3 and fields:
            fields[place] = _value(rng, 2)
        elif fields:
            fields[place] = _changed(fields[place], rng)
    return msgspec.msgpack.encode(fields)


def _value(rng: random.Random, depth: int) -> Any:
    """Any value that MessagePack knows."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice((0, 1, -1, 2**31, 2**63, -(2**63), 2**64 - 1, rng.randrange(1000))),
        lambda: rng.random() * 10.0 ** rng.randrange(-300, 300),
        lambda: rng.randbytes(rng.choice((0, 1, 16, 32, 100))),
        lambda: "assay receipt"[: rng.randrange(14)],
    ]
    if depth:
        kinds += [
            lambda: [_value(rng, depth - 1) for _ in range(rng.randrange(4))],
            lambda: {str(k): _value(rng, depth - 1) for k in range(rng.randrange(3))},
        ]
    return rng.choice(kinds)()


def _changed(value: Any, rng: random.Random) -> Any:
    """Nearly the same value."""
    if isinstance(value, bool | float | dict | None):
        return _value(rng, 1)
    if isinstance(value, int):
        return _bounded(value + rng.choice((1, -1, 1 << rng.randrange(63), -(1 << rng.randrange(63)))))
    if isinstance(value, str):
        return rng.choice((value + "x", value[:-1], value.upper(), _value(rng, 0)))
    if isinstance(value, bytes):
        return rng.choice(BYTES + ELEMENTS)(value, rng) if len(value) >= 16 else rng.choice((value + b"\0", value[:-1]))
    found = [_changed(entry, rng) if rng.random() < 0.3 else entry for entry in value]
    extra = [_value(rng, 1)] if rng.random() < 0.2 else found[-1:] if rng.random() < 0.2 else []
    return (found[1:] if rng.random() < 0.2 else found) + extra


def _bounded(value: int) -> int:
    return min(max(value, -(2**63)), 2**64 - 1)


def reencode(data: bytes, rng: random.Random) -> bytes:
    """The same values in a longer encoding of one of them."""
    fields = msgspec.msgpack.decode(data)
    out, chosen = [b"\x9c" if rng.random() < 0.8 else b"\xdc\x00\x0c"], rng.randrange(len(fields))
    for k, field in enumerate(fields):
        if k != chosen or isinstance(field, list):
            out.append(msgspec.msgpack.encode(field))
        elif isinstance(field, bytes):
            out.append(b"\xc6" + len(field).to_bytes(4, "big") + field)
        elif isinstance(field, str):
            out.append(b"\xdb" + len(field).to_bytes(4, "big") + field.encode())
        else:
            out.append(b"\xcf" + field.to_bytes(8, "big"))
    return b"".join(out)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes, anywhere."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(BYTES)(data, rng)
    return data


KINDS: dict[str, Mutation] = {
    "bytes": mutate_bytes,
    "elements": mutate_elements,
    "fields": mutate_fields,
    "encoding": reencode,
}
"""By the name in the table."""


def mutate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A receipt that differs from `data`, and how it was made."""
    while True:
        (kind,) = rng.choices(list(KINDS), (25, 50, 20, 5))
        if (mutant := KINDS[kind](data, rng)) != data:
            return kind, mutant

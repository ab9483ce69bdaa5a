"""What the two parties tell each other in JSON, before and between the protocols."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import msgspec

PROTOCOL = 1
"""Version of everything that is said; both sides must have the same."""

NONCE = 16
"""Bytes that each side adds to the session's name."""


class Hello(msgspec.Struct, frozen=True):
    """The client's first message. Later versions may have more fields: the version is to be told, not the field."""

    protocol: int
    nonce: str


class Welcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's answer: its part of the session's name, and the text of the network's architecture."""

    protocol: int
    nonce: str
    architecture: str


class Prepare(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Make material for `batches` inferences of `size` pictures each; `first` is the number of the first of them."""

    session: str
    first: int
    batches: int
    size: int


class Infer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Answer for `size` pictures with the material of this number, which is then gone."""

    session: str
    number: int
    size: int


class Bye(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """The client has all it wanted."""


Request = Prepare | Infer | Bye

REQUESTS: Any = Request
"""As a value, for the decoder."""


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server begins what was asked for."""

    number: int


def fresh_nonce() -> str:
    """In hex."""
    return secrets.token_hex(NONCE)


def session_name(client: str, server: str) -> str:
    """Both sides have a part in it, so neither can make a session pass for an older one.

    Raises:
        ValueError: if a part is not 16 bytes in hex.
    """
    parts = [bytes.fromhex(part) for part in (client, server)]
    if any(len(part) != NONCE for part in parts):
        raise ValueError(f"a nonce has {NONCE} bytes")
    return hashlib.sha256(b"assay.private/session/1" + b"".join(parts)).hexdigest()

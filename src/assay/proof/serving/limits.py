"""How much a service gives to one request, and to all of them together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from assay.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Attributes:
    batch: pictures in a request.
    body_bytes: of a request's body.
    body_s: seconds until it must have come whole.
    reading: bodies that are read at the same time, so that memory is bounded.
    at_once: answers that are made at the same time.
    waiting: requests that may stand in line; more are sent away.
    waiting_s: seconds one may stand there.
    live: interactive proofs at the same time; nobody stands in line for them.
    live_s: seconds an interactive proof may take in all.
    silence_s: seconds within which a peer must take or send the next piece.
    """

    batch: int = 16
    body_bytes: int = 8 << 20
    body_s: float = 20.0
    reading: int = 32
    at_once: int = 1
    waiting: int = 16
    waiting_s: float = 120.0
    live: int = 2
    live_s: float = 120.0
    silence_s: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name in ("waiting", "live") else 1 if field.type == "int" else 0.001
            if getattr(self, field.name) < least:
                raise InputError(f"{field.name} must be at least {least}, got {getattr(self, field.name)}")

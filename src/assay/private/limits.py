"""What clients may take of a server, and what is taken."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from assay.errors import InputError
from assay.private.channel import ProtocolError

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take.

    Attributes:
        clients: sessions at one time.
        pictures: in one inference.
        memory_bytes: for the material of all sessions together.
        idle_s: how long a session may ask for nothing.
        message_s: how long a client may take for a message inside a protocol.
        per_hour: pictures that one certificate may have answered in an hour; None for any number.
    """

    clients: int = 8
    pictures: int = 256
    memory_bytes: int = 4 << 30
    idle_s: float = 300.0
    message_s: float = 60.0
    per_hour: int | None = None

    def __post_init__(self) -> None:
        if min(self.clients, self.pictures, self.memory_bytes, self.idle_s, self.message_s) <= 0:
            raise InputError(f"limits are above 0, got {self}")
        if self.per_hour is not None and self.per_hour < 1:
            raise InputError(f"at least one picture an hour, got {self.per_hour}")


@dataclass(slots=True)
class Allowance:
    """What is taken of the limits by all sessions together."""

    limits: Limits
    reserved: int = 0
    sessions: int = 0
    answered: dict[str, deque[tuple[float, int]]] = field(default_factory=lambda: defaultdict(deque))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """One of the sessions."""
        with self.lock:
            if self.sessions >= self.limits.clients:
                raise ProtocolError(f"this server takes {self.limits.clients} clients at a time; try again later")
            self.sessions += 1
        try:
            yield
        finally:
            with self.lock:
                self.sessions -= 1

    def reserve(self, size: int) -> None:
        """Memory for material, or a ProtocolError."""
        with self.lock:
            if self.reserved + size > self.limits.memory_bytes:
                raise ProtocolError(
                    f"this takes {size >> 20} MiB of the server's memory; {self.limits.memory_bytes >> 20} MiB "
                    f"are for material and {self.reserved >> 20} MiB are taken; prepare less, or later"
                )
            self.reserved += size

    def release(self, size: int) -> None:
        with self.lock:
            self.reserved -= size

    def count(self, who: str, pictures: int) -> None:
        """Pictures answered for whom, or a ProtocolError if that is too many in an hour."""
        if self.limits.per_hour is None:
            return
        with self.lock:
            past, now = self.answered[who], time.monotonic()
            while past and past[0][0] < now - HOUR_S:
                past.popleft()
            if sum(n for _, n in past) + pictures > self.limits.per_hour:
                raise ProtocolError(f"this server answers {self.limits.per_hour} pictures an hour to one certificate")
            past.append((now, pictures))

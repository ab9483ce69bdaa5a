"""What the two parties say to each other: messages of agreed sizes, counted.

The protocol fixes the size of every message, so a party never believes a length that it is told: it asks for so many
bytes, and anything else ends the session. Sending never waits for the other side to read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError

Role = Literal["server", "client"]
Bytes = NDArray[np.uint8]


class ProtocolError(AssayError):
    """The other party is gone, or says something that the protocol does not have. The only error of a session."""


@dataclass(slots=True)
class Traffic:
    """What one party saw of a conversation.

    Attributes:
        sent, received: bytes of messages, frames' own included.
        rounds: how many times this party waited for an answer to something that it had said.
        messages: how many it sent and received.
        seconds: time spent in this part, waiting included.
    """

    sent: int = 0
    received: int = 0
    rounds: int = 0
    messages: int = 0
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        """Both directions."""
        return self.sent + self.received

    def add(self, other: Traffic) -> None:
        """Count the other's as well."""
        self.sent += other.sent
        self.received += other.received
        self.rounds += other.rounds
        self.messages += other.messages
        self.seconds += other.seconds


class Channel(Protocol):
    """One end of an ordered, reliable, two-way stream of messages.

    `ledger` holds the traffic of each part of the protocol, by the name given to `part`.
    """

    ledger: dict[str, Traffic]

    def send(self, message: NDArray[Any]) -> None:
        """Send an array's bytes as one message; returns before the other side has read it."""

    def receive(self, size: int) -> Bytes:
        """Wait for the next message, which must have `size` bytes.

        Raises:
            ProtocolError: if it has another size, the other party is gone, or it took too long.
        """

    def part(self, name: str) -> Any:
        """A context in which traffic is counted under `name`."""


@dataclass(slots=True)
class Meter:
    """Counts the traffic of one end, part by part."""

    ledger: dict[str, Traffic] = field(default_factory=dict)
    name: str = ""
    spoke: bool = False
    since: float = 0.0

    @property
    def now(self) -> Traffic:
        return self.ledger.setdefault(self.name, Traffic())

    def sent(self, size: int) -> None:
        self.now.sent += size
        self.now.messages += 1
        self.spoke = True

    def received(self, size: int) -> None:
        self.now.received += size
        self.now.messages += 1
        self.now.rounds += self.spoke
        self.spoke = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count and time under this name; the time of a part within is its own."""
        before = self.name
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, name: str) -> None:
        moment = time.perf_counter()
        if self.name:
            self.now.seconds += moment - self.since
        self.name, self.since = name, moment

    def take(self) -> dict[str, Traffic]:
        """What was counted so far; counting begins anew."""
        taken = dict(self.ledger)
        self.ledger.clear()
        return taken


class MemoryChannel:
    """An end of a conversation inside one process: for tests, and for two threads that measure a protocol."""

    def __init__(self, inbox: SimpleQueue[Bytes], outbox: SimpleQueue[Bytes], timeout_s: float) -> None:
        self._inbox, self._outbox, self._timeout_s = inbox, outbox, timeout_s
        self._meter = Meter()
        self.ledger = self._meter.ledger
        self.part = self._meter.part

    def send(self, message: NDArray[Any]) -> None:
        # What is received may be written to, as from a socket: compiled code is made for one or the other.
        data = np.frombuffer(bytearray(np.ascontiguousarray(message).tobytes()), np.uint8)
        self._meter.sent(data.nbytes)
        self._outbox.put(data)

    def receive(self, size: int) -> Bytes:
        try:
            data = self._inbox.get(timeout=self._timeout_s)
        except Empty:
            raise ProtocolError(f"the other party said nothing for {self._timeout_s:g} s") from None
        if data.nbytes != size:
            raise ProtocolError(f"expected a message of {size} bytes, got {data.nbytes}")
        self._meter.received(size)
        return data


def pair(timeout_s: float = 60) -> tuple[MemoryChannel, MemoryChannel]:
    """Two ends joined to each other."""
    one: SimpleQueue[Bytes] = SimpleQueue()
    other: SimpleQueue[Bytes] = SimpleQueue()
    return MemoryChannel(one, other, timeout_s), MemoryChannel(other, one, timeout_s)

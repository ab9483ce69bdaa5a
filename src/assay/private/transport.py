"""Frames over a socket: the channel between two processes, encrypted or, on one machine, plain.

A frame is its length (4 bytes), its number in this direction (4), its kind (1), then the body. Length and number are
checked before memory is taken: the protocol knows what comes next, so a frame that is lost, repeated, out of order or
of another size ends the session. Sending never waits for the other side to read: two parties that both send much would
wait for each other for ever. A short message goes out at once if the socket takes it, since to wake a thread for it
costs more than all else in a round; what the socket does not take, a thread writes.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.private.channel import Bytes, Meter, ProtocolError

FRAME = struct.Struct("<IIB")
"""Length of the body, number of the frame, kind."""

MAX_MESSAGE = (1 << 32) - 1
MAX_CONTROL = 1 << 22
"""Bytes of a message in JSON; the largest is the architecture of a network."""
MAX_COMPLAINT = 500
"""Bytes of the sentence with which a party ends a session."""
SLOWEST = 1 << 16
"""Bytes a second: a message is given its time-out and what this rate needs for its size."""
_PIECE = 1 << 18
AT_ONCE = 1 << 20
"""Bytes of a message that is sealed and sent by whoever sends it; longer ones are worth a thread."""
_CLOSING_S = 2.0

T = TypeVar("T")


class Complaint(ProtocolError):
    """The other party said why it ends the session, in its own words."""


class Kind(IntEnum):
    """What a frame carries."""

    DATA = 0
    CONTROL = 1
    COMPLAINT = 2


class Wire(Protocol):
    """A stream of bytes between two processes; one thread may write while another reads.

    `peer` names the other party: by its certificate, or else by its address.
    """

    peer: str

    def seal(self, data: bytes | memoryview) -> bytes | memoryview:
        """What stands for the data on the wire; in the order in which it will be sent."""

    def push(self, sealed: bytes | memoryview) -> int:
        """Send what can be sent without waiting; returns how many bytes."""

    def write(self, sealed: bytes | memoryview, timeout_s: float) -> None:
        """Send all of it, which is no more than a piece."""

    def read_into(self, view: memoryview, deadline: float) -> None:
        """Fill the view, by `time.monotonic()` = deadline."""

    def finish(self, timeout_s: float) -> None:
        """Say that no more is sent, and wait so long for the other side to say so too."""

    def close(self) -> None:
        """End the stream, whoever waits for it."""


class PlainWire:
    """A socket as it is."""

    def __init__(self, connected: socket.socket) -> None:
        with suppress(OSError):  # not all sockets are TCP
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(60.0)
        try:
            self.peer = str(connected.getpeername()[0])
        except (OSError, IndexError):
            self.peer = "unknown"
        # Three objects for one socket, because each has a time-out of its own.
        self._reading, self._writing, self._pushing = connected, connected.dup(), connected.dup()
        self._writing.settimeout(60.0)
        self._pushing.settimeout(0.0)

    def seal(self, data: bytes | memoryview) -> bytes | memoryview:
        return data

    def push(self, sealed: bytes | memoryview) -> int:
        with suppress(BlockingIOError):
            return self._pushing.send(sealed)
        return 0

    def write(self, sealed: bytes | memoryview, timeout_s: float) -> None:
        self._writing.settimeout(timeout_s)
        self._writing.sendall(sealed)

    def read_into(self, view: memoryview, deadline: float) -> None:
        filled = 0
        while filled < len(view):
            self._reading.settimeout(left(deadline))
            count = self._reading.recv_into(view[filled:])
            if not count:
                raise ConnectionResetError("the connection was closed")
            filled += count

    def receive_some(self, deadline: float) -> bytes:
        """Whatever has come."""
        self._reading.settimeout(left(deadline))
        data = self._reading.recv(_PIECE)
        if not data:
            raise ConnectionResetError("the connection was closed")
        return data

    def finish(self, timeout_s: float) -> None:
        # A socket that is closed with bytes unread makes the other side's kernel drop what it has not read either.
        deadline = time.monotonic() + timeout_s
        with suppress(OSError, ValueError):
            self._writing.shutdown(socket.SHUT_WR)
            while True:
                self.receive_some(deadline)

    def close(self) -> None:
        for each in (self._reading, self._writing, self._pushing):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def left(deadline: float) -> float:
    """Seconds until then.

    Raises:
        TimeoutError: if it has passed.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What the writing thread has to send."""

    data: bytes | memoryview
    sealed: bool

    def pieces(self, wire: Wire) -> Iterator[bytes | memoryview]:
        """As it goes over the wire."""
        view = memoryview(self.data)
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            yield piece if self.sealed else wire.seal(piece)


class SocketChannel:
    """One end of a session between two processes (see `Channel`).

    Args:
        wire: connected.
        timeout_s: how long the other party may take for a message.
        backlog: bytes that may wait to be sent before a message is waited for, so that a party that asks and does not
            read takes no more of this one's memory. Of two parties one may have it: both could wait for each other.
    """

    def __init__(self, wire: Wire, timeout_s: float, backlog: int | None = None) -> None:
        self._wire, self.timeout_s, self._backlog = wire, timeout_s, backlog
        self.meter = Meter()
        self.part, self.ledger = self.meter.part, self.meter.ledger
        self._sent = self._received = 0
        self._broken: OSError | None = None
        self._over = False
        self._outbox: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._sending, self._waiting, self._unsent = threading.Lock(), 0, 0
        self._sent_some = threading.Condition(self._sending)
        self._writer = threading.Thread(target=self._write, name="assay-private-writer", daemon=True)
        self._writer.start()

    def _write(self) -> None:
        while (data := self._outbox.get()) is not None:
            try:
                for sealed in data.pieces(self._wire):
                    self._wire.write(sealed, self.timeout_s + len(sealed) / SLOWEST)
            except (OSError, ValueError) as error:
                with self._sending:
                    self._fail(error)
                return
            with self._sending:
                self._waiting -= 1
                self._unsent -= len(data.data)
                self._sent_some.notify_all()

    def _fail(self, error: OSError | ValueError) -> None:
        """With the lock held."""
        self._broken = error if isinstance(error, OSError) else ConnectionResetError("the connection is closed")
        self._sent_some.notify_all()

    def _post(self, data: bytes) -> None:
        """Send at once what can be, and leave the rest to the thread. Nothing overtakes what waits there."""
        with self._sending:
            rest = _Waiting(data, sealed=False)
            if not self._waiting and len(data) <= AT_ONCE:
                try:
                    sealed = self._wire.seal(data)
                    sent = self._wire.push(sealed)
                except (OSError, ValueError) as error:
                    self._fail(error)
                    return
                if sent == len(sealed):
                    return
                rest = _Waiting(memoryview(sealed)[sent:], sealed=True)
            self._waiting += 1
            self._unsent += len(rest.data)
            self._outbox.put(rest)

    def _let_it_read(self) -> None:
        """Wait until no more is to be sent than may be; the writing thread has its own time-outs."""
        if self._backlog is not None:
            with self._sending:
                self._sent_some.wait_for(lambda: self._broken is not None or self._unsent <= (self._backlog or 0))

    def send(self, message: NDArray[Any]) -> None:
        """Send an array's bytes; returns at once."""
        self._send(Kind.DATA, np.ascontiguousarray(message).tobytes())

    def say(self, message: msgspec.Struct) -> None:
        """Send a message in JSON."""
        self._send(Kind.CONTROL, msgspec.json.encode(message))

    def complain(self, sentence: str) -> None:
        """Tell the other party why the session ends."""
        with suppress(ProtocolError):
            self._send(Kind.COMPLAINT, sentence.encode()[:MAX_COMPLAINT])

    def _send(self, kind: Kind, body: bytes) -> None:
        if self._over:
            raise ProtocolError("this session is over; connect anew")
        if self._broken is not None:
            self._look_for_complaint()
            raise ProtocolError(f"the other party is gone: {_reason(self._broken)}")
        if len(body) > (MAX_CONTROL if kind is Kind.CONTROL else MAX_MESSAGE):
            raise ProtocolError(f"a message of {len(body)} bytes is too large; take fewer pictures at a time")
        head = FRAME.pack(len(body), self._sent, kind)
        self._sent = (self._sent + 1) & 0xFFFFFFFF
        self.meter.sent(FRAME.size + len(body))
        if len(body) < _PIECE:
            self._post(head + body)
        else:
            self._post(head)
            self._post(body)

    def receive(self, size: int) -> Bytes:
        """Wait for the next message, which must have `size` bytes.

        Raises:
            ProtocolError: if it is anything else, the other party is gone, or it took too long.
        """
        return self._body(Kind.DATA, size, size, self.timeout_s)

    def hear(self, kind: type[T], timeout_s: float | None = None) -> T:
        """Wait for a message in JSON, of this form.

        Raises:
            ProtocolError: as `receive`; and if it has another form.
        """
        body = self._body(Kind.CONTROL, 0, MAX_CONTROL, timeout_s or self.timeout_s)
        try:
            return msgspec.json.decode(body.tobytes(), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"the other party sent what is not understood here: {_plain(str(error))}") from error

    def _body(self, wanted: Kind, least: int, most: int, timeout_s: float) -> Bytes:
        self._let_it_read()
        length, number, kind = FRAME.unpack(self._read(FRAME.size, timeout_s).tobytes())
        if number != self._received:
            raise ProtocolError(f"expected message {self._received}, got {number}: lost, repeated or out of order")
        self._received = (self._received + 1) & 0xFFFFFFFF
        if kind == Kind.COMPLAINT and length <= MAX_COMPLAINT:
            raise _complaint(self._read(length, timeout_s).tobytes())
        if kind != wanted:
            raise ProtocolError(f"expected a message of kind {wanted}, got {kind}")
        if not least <= length <= most:
            expected = f"{most}" if least == most else f"{least} to {most}"
            raise ProtocolError(f"expected a message of {expected} bytes, got {length}")
        body = self._read(length, timeout_s + length / SLOWEST)
        self.meter.received(FRAME.size + length)
        return body

    def _look_for_complaint(self) -> None:
        """Raise what the other party said before it left, if it said why; two seconds are given to find it."""
        deadline = time.monotonic() + _CLOSING_S
        with suppress(OSError, ValueError):
            while True:
                head = bytearray(FRAME.size)
                self._wire.read_into(memoryview(head), deadline)
                length, _, kind = FRAME.unpack(head)
                if length > MAX_CONTROL:
                    return
                body = bytearray(length)
                self._wire.read_into(memoryview(body), deadline)
                if kind == Kind.COMPLAINT:
                    raise _complaint(bytes(body[:MAX_COMPLAINT]))

    def _read(self, size: int, timeout_s: float) -> Bytes:
        data = np.empty(size, np.uint8)
        try:
            self._wire.read_into(data.data, time.monotonic() + timeout_s)
        except TimeoutError:
            raise ProtocolError(f"the other party said nothing for {timeout_s:.3g} s") from None
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise ProtocolError(f"the other party is gone: {_reason(error)}") from None
        return data

    def close(self, flush: bool = True) -> None:
        """End the connection; what was said before is sent if that takes at most two seconds."""
        self._over = True
        self._outbox.put(None)
        if flush:
            self._writer.join(_CLOSING_S)
            self._wire.finish(_CLOSING_S)
        self._wire.close()


def _complaint(body: bytes) -> Complaint:
    return Complaint(f"the other party ended the session: {_plain(body.decode(errors='replace'))}")


def _plain(said: str) -> str:
    """What another party wrote, without what would move a terminal's cursor or begin a line of a log."""
    return "".join(c for c in said if c.isprintable())


def _reason(error: Exception) -> str:
    """Why a connection ended, without the number of the error."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

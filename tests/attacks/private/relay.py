"""A man in the middle of a plain connection who understands frames: records them, and does something to one of them."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from assay.private.transport import FRAME

Frame = tuple[str, bytes]
"""`up` (to the server) or `down`, and all bytes of the frame."""

Tamper = Callable[[bytes], bytes | None]
"""A frame → what is sent in its place; None ends both connections."""


def cut(frame: bytes) -> None:
    """The peer dies before it says this."""


def cut_within(frame: bytes) -> bytes:
    """The peer dies while it says this: the marker is known to the relay."""
    return DIE + frame[: len(frame) // 2]


DIE = b"\0die\0"


def stall(frame: bytes) -> bytes:
    """The peer goes silent for a while."""
    time.sleep(4)
    return frame


def dropped(frame: bytes) -> bytes:
    return b""


def replayed(frame: bytes) -> bytes:
    return frame + frame


def renumbered(frame: bytes) -> bytes:
    length, number, kind = FRAME.unpack(frame[: FRAME.size])
    return FRAME.pack(length, number + 1, kind) + frame[FRAME.size :]


def oversized(frame: bytes) -> bytes:
    _, number, kind = FRAME.unpack(frame[: FRAME.size])
    return FRAME.pack(0xFFFFFFFF, number, kind) + frame[FRAME.size :]


def longer(frame: bytes) -> bytes:
    length, number, kind = FRAME.unpack(frame[: FRAME.size])
    return FRAME.pack(length + 1, number, kind) + frame[FRAME.size :] + b"\0"


def shorter(frame: bytes) -> bytes:
    length, number, kind = FRAME.unpack(frame[: FRAME.size])
    return FRAME.pack(max(length - 1, 0), number, kind) + frame[FRAME.size : len(frame) - 1]


def garbage(frame: bytes) -> bytes:
    """Another body of the same length."""
    return frame[: FRAME.size] + secrets.token_bytes(len(frame) - FRAME.size)


def ones(frame: bytes) -> bytes:
    """All bits set: the largest of every number."""
    return frame[: FRAME.size] + b"\xff" * (len(frame) - FRAME.size)


class Relay:
    """Between one client and a server; `frames` is what was said, in the order in which it came through here.

    `tamper` is applied to the `at`-th frame in `direction`.
    """

    def __init__(self, port: int, direction: str = "up", at: int = -1, tamper: Tamper = garbage) -> None:
        self.frames: list[Frame] = []
        self._port, self._direction, self._at, self._tamper = port, direction, at, tamper
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self._listener, *self._ends)
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._port))
            self._ends += [near, far]
            self._start(self._carry, near, far, "up")
            self._start(self._carry, far, near, "down")

    def _carry(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        count = 0
        with suppress(OSError, EOFError):
            while True:
                head = _exactly(source, FRAME.size)
                frame = head + _exactly(source, FRAME.unpack(head)[0])
                self.frames.append((direction, frame))
                sent: bytes | None = frame
                if direction == self._direction and count == self._at:
                    sent = self._tamper(frame)
                count += 1
                if sent is None:
                    break
                if sent.startswith(DIE):
                    sink.sendall(sent[len(DIE) :])
                    break
                sink.sendall(sent)
        self._end(source, sink)

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for each in ends:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _exactly(source: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        data = source.recv(min(size - len(parts), 1 << 16))
        if not data:
            raise EOFError
        parts += data
    return bytes(parts)

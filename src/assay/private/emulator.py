"""A link of given delay and bandwidth between two programs on one machine: "what would this be over my link".

A proxy in user space. Each direction is a queue of pieces with the moment at which they arrive at the other end: what
is sent leaves one piece after the other at the link's rate, and each is delayed by half the round-trip time.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Queue
from types import TracebackType

from assay.errors import InputError

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Link:
    """Bits a second in each direction, and the seconds of a round trip."""

    bits_per_s: float
    round_trip_s: float

    def __post_init__(self) -> None:
        if not (0 < self.bits_per_s < float("inf") and 0 <= self.round_trip_s < 60):
            raise InputError(f"a link carries bits and takes less than a minute, got {self}")

    def seconds(self, sent: int, rounds: int) -> float:
        """What so many bytes in both directions, by turns, and rounds take at least."""
        return 8 * sent / self.bits_per_s + rounds * self.round_trip_s


LINKS = {"lan": Link(1e9, 0.3e-3), "wan": Link(100e6, 40e-3)}
"""By name: a local network, and two places on a continent."""

_UNITS = {"kbps": 1e3, "mbps": 1e6, "gbps": 1e9}


def parse_link(text: str) -> Link:
    """`lan`, `wan`, or bandwidth and round-trip time: `100Mbps,40ms`.

    Raises:
        InputError: for anything else.
    """
    if text in LINKS:
        return LINKS[text]
    found = re.fullmatch(r"([0-9.]{1,12})\s*([kKmMgG]bps)\s*,\s*([0-9.]{1,12})\s*ms", text)
    try:
        if found:
            return Link(float(found[1]) * _UNITS[found[2].lower()], float(found[3]) / 1000)
    except ValueError:
        pass
    raise InputError(f"a network is lan, wan, or bandwidth and round-trip time like 100Mbps,40ms; got {text!r}")


class Emulator:
    """Listens on this machine's `port` and joins each caller to `target` by the link.

    Used as a context; leaving it ends all connections.
    """

    def __init__(self, target: tuple[str, int], link: Link) -> None:
        self._target, self._link = target, link
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        _start(self._accept)

    def __enter__(self) -> Emulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        for each in (self._listener, *self._open):
            _end(each)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._target, timeout=10)
                except OSError:
                    near.close()
                    continue
                self._open |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    source.settimeout(None)
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    line: Queue[tuple[float, bytes]] = Queue(self._pieces_under_way())
                    _start(self._take, source, line)
                    _start(self._deliver, line, source, sink)

    def _pieces_under_way(self) -> int:
        """As many as fill the link, and some in the socket buffers that it has on both ends."""
        return 64 + int(self._link.bits_per_s / 8 * self._link.round_trip_s / _PIECE)

    def _take(self, source: socket.socket, line: Queue[tuple[float, bytes]]) -> None:
        free = 0.0
        data = b"-"
        while data:
            try:
                data = source.recv(_PIECE)
            except OSError:
                data = b""
            free = max(free, time.monotonic()) + 8 * len(data) / self._link.bits_per_s
            line.put((free + self._link.round_trip_s / 2, data))

    def _deliver(self, line: Queue[tuple[float, bytes]], source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while True:
                due, data = line.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    break
                sink.sendall(data)
        for each in (source, sink):
            _end(each)
            self._open.discard(each)
        while line.full():  # who still puts pieces into it must not wait for ever
            line.get()


def _start(work: object, *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, name="assay-link", daemon=True).start()  # type: ignore[arg-type]


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()

"""The process around the application: a socket, uvicorn, time limits of connections, an end that loses no answer."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from assay.errors import InputError

HEADER_S = 15.0
"""Seconds until a connection must have said what it wants, the first time and again."""

CONNECTION_S = 600.0
"""Seconds a connection may live, an interactive proof excepted, which has its own limits."""

CONNECTIONS = 256
CLOSING_S = 20
"""Seconds that requests under way have when the server is told to end."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        InputError: if the address is not ours, or taken.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a number from 0 to 65535, got {port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS)
    except OSError as error:
        raise InputError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error


def address_of(listening: socket.socket) -> str:
    """As a client types it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP with an end to its patience: it has none for connections that say nothing, or only a little."""

    _silence: asyncio.TimerHandle | None = None
    _life: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._life = self.loop.call_later(CONNECTION_S, transport.abort)
        self._expect_a_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _stop(self._silence)

    def on_response_complete(self) -> None:
        self._expect_a_request()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        _stop(self._silence, self._life)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._silence, self._life)
        super().connection_lost(exc)

    def _expect_a_request(self) -> None:
        _stop(self._silence)
        self._silence = self.loop.call_later(HEADER_S, self._give_up)

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size():  # it still takes the last answer; `_life` has an end as well
            self._expect_a_request()
        else:
            self.transport.abort()


def _stop(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()


def settings(app: ASGIApp, message_bytes: int) -> uvicorn.Config:
    """How the application is served. `message_bytes`: of a WebSocket message."""
    return uvicorn.Config(
        app,
        http=TimedProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=CLOSING_S,
        ws_max_size=message_bytes,
        ws_per_message_deflate=False,
    )


def run(app: ASGIApp, listening: socket.socket, message_bytes: int) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is under way, within `CLOSING_S`, unless told a second time."""
    for name in ("uvicorn.error", "python_multipart"):  # what clients send is not this process's news
        logging.getLogger(name).setLevel(logging.ERROR)
    # uvicorn raises the signal again when it has ended; by then there is nothing left to interrupt.
    with _signals_ignored():
        uvicorn.Server(settings(app, message_bytes)).run([listening])


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """SIGINT and SIGTERM do nothing of their own accord inside the block."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

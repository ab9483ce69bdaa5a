"""The client's end of `/live`: a WebSocket to a prover that may be hostile, as a `Stream`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from assay.proof.asking.http import Place, ServerError, hung_up_after

MESSAGE_BYTES = 1 << 19
MAX_TALK = 1 << 30
"""Bytes of a whole conversation."""


class ProverStream:
    """Counts what is received; a prover that breaks off has not been caught lying, so that is a ServerError."""

    def __init__(self, talk: ClientConnection, place: Place, late: threading.Event) -> None:
        self._talk, self._place, self._late = talk, place, late
        self._held = bytearray()
        self.received = 0

    def send(self, data: bytes) -> None:
        """If the prover has closed the connection, what it said before is still to be heard: `receive` tells."""
        with suppress(ConnectionClosed):
            self._talk.send(data)

    def receive(self, count: int) -> bytes:
        while len(self._held) < count:
            self._held += self._hear()
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def _hear(self) -> bytes:
        try:
            message = self._talk.recv()  # which ends when the connection is shut down
        except ConnectionClosed as error:
            late = self._late.is_set()
            how = (
                f"did not finish within {self._place.answer_s:g} s" if late else "broke off before its proof was whole"
            )
            raise ServerError(f"{self._place.url} {how}") from error
        if isinstance(message, str):
            raise ServerError(f"{self._place.url} refuses: {_sentence(message)}")
        self.received += len(message)
        if self.received > MAX_TALK:
            raise ServerError(f"{self._place.url} says more than {MAX_TALK >> 20} MiB, as no proof does")
        return message


def _sentence(message: str) -> str:
    try:
        return str(msgspec.json.decode(message, type=dict[str, str])["error"])[:300]
    except (msgspec.DecodeError, KeyError):
        return "it does not say why"


@contextmanager
def conversation(place: Place, pictures: bytes) -> Iterator[ProverStream]:
    """A stream to the prover, which has been told the pictures.

    Raises:
        ServerError: if nobody is there, or not one that speaks this way.
    """
    with place.connect() as connection, hung_up_after(place, connection) as late, _shaken(place, connection) as talk:
        stream = ProverStream(talk, place, late)
        stream.send(pictures)
        yield stream


def _shaken(place: Place, connection: socket.socket) -> ClientConnection:
    """The connection after the handshake of WebSockets."""
    try:
        return connect(
            f"ws://{place.url.partition('://')[2]}/live",  # encrypted all the same if the connection is
            sock=connection,
            proxy=None,
            compression=None,
            open_timeout=place.answer_s,
            close_timeout=2,
            ping_interval=None,
            max_size=MESSAGE_BYTES,
            max_queue=4,
        )
    except (WebSocketException, ValueError) as error:  # a redirection is a ValueError
        raise ServerError(f"{place.url} does not speak as /live does: {error}") from error

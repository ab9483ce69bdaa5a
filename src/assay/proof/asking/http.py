"""HTTP with a server that may be hostile: one deadline for everything, and a limit on what is read.

Redirects are not followed and no proxy is used: an answer comes from the address that was asked, or not at all.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from assay.errors import AssayError, InputError
from assay.runs import once_it_listens

SMALL = 1 << 20
"""Bytes of an answer that is text."""


class ServerError(AssayError):
    """The server cannot be reached, or says nothing that could be verified."""


@dataclass(frozen=True, slots=True)
class Place:
    """A server's address, and how long to wait for it.

    Attributes:
        answer_s: seconds for a request and its answer, whatever the server does meanwhile.
        start_s: seconds for which a server that does not listen yet is tried again.
    """

    secure: bool
    host: str
    port: int
    path: str
    answer_s: float = 120.0
    start_s: float = 20.0

    @classmethod
    def parse(cls, url: str, answer_s: float = 120.0, start_s: float = 20.0) -> Place:
        """Raises InputError if this is no address of a server."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise InputError(f"{url[:200]!r} is no address: {error}") from error
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise InputError(f"a server's address is like http://127.0.0.1:8081, got {url[:200]!r}")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"), answer_s, start_s)

    @property
    def url(self) -> str:
        """In one spelling."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"

    def connect(self) -> socket.socket:
        """A connected socket, still without handshake; a server that does not listen yet is waited for.

        Raises:
            ServerError: if nobody answers there.
        """
        try:
            plain = once_it_listens(
                lambda: socket.create_connection((self.host, self.port), self.answer_s), self.start_s
            )
            return _with_tls(plain, self.host) if self.secure else plain
        except ConnectionRefusedError as error:
            raise ServerError(f"nobody listens at {self.url}; is the server running?") from error
        except (OSError, UnicodeError) as error:
            raise ServerError(f"cannot connect to {self.url}: {error}") from error


def _with_tls(plain: socket.socket, host: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, content type, time the server says it took, and at most as many bytes as were allowed."""

    status: int
    kind: str
    server_s: float | None
    body: bytes


def call(place: Place, method: str, route: str, *, most: int, body: bytes = b"", kind: str = "") -> Reply:
    """One request and its answer, of at most `most` bytes.

    Raises:
        ServerError: if the server is too slow, says too much, is cut off, or does not speak HTTP; and, with the
            server's own sentence, if it refuses.
    """
    with place.connect() as connection, hung_up_after(place, connection):
        # The class connects by itself unless it has a socket; it never gets to use this host and port.
        client = http.client.HTTPConnection(place.host, place.port)
        client.sock = connection
        headers = {"Connection": "close", "User-Agent": "assay"} | ({"Content-Type": kind} if kind else {})
        with suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it may refuse, and say so, before it has read everything
            client.request(method, place.path + route, body or None, headers)
        with client.getresponse() as response:
            reply = Reply(
                response.status,
                response.headers.get_content_type(),
                _server_s(response.headers.get("server-timing", "")),
                _read(response, place, most),
            )
    if reply.status != 200:
        raise ServerError(f"{place.url} refuses with status {reply.status}: {_sentence(reply.body)}")
    return reply


def _read(response: http.client.HTTPResponse, place: Place, most: int) -> bytes:
    claimed = response.length or 0
    data = bytearray()
    while claimed <= most and len(data) <= most:
        part = response.read1(1 << 16)
        if not part:
            if response.length:
                raise ServerError(f"{place.url} left in the middle of its answer: {response.length} bytes are missing")
            return bytes(data)
        data += part
    raise ServerError(
        f"{place.url} wants to send {max(claimed, len(data))} bytes or more, where at most {most} are read"
    )


@contextmanager
def hung_up_after(place: Place, connection: socket.socket) -> Iterator[threading.Event]:
    """Shake hands, if TLS is spoken, then the block; at the deadline the connection is shut down, whatever is awaited.

    The event says whether that has happened.

    Raises:
        ServerError: for every OSError, and what is no HTTP.
    """
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        try:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of the socket below TLS
        except OSError:
            return  # it is closed already

    timer = threading.Timer(place.answer_s, hang_up)
    timer.daemon = True
    timer.start()
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.do_handshake()
        yield late
    except ssl.SSLCertVerificationError as error:
        raise ServerError(f"{place.url} does not show that it is {place.host}: {error.verify_message}") from error
    except (OSError, http.client.HTTPException) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise ServerError(f"{place.url} did not answer within {place.answer_s:g} s") from error
        raise ServerError(f"{place.url} broke off, or does not speak HTTP: {type(error).__name__} {error}") from error
    finally:
        timer.cancel()


def _sentence(body: bytes) -> str:
    """What the server says went wrong; its words, so cut short."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        said = "it does not say why"
    return str(said)[:300]


def _server_s(header: str) -> float | None:
    """Seconds out of `answer;dur=MILLISECONDS`."""
    name, _, duration = header.partition(";dur=")
    try:
        seconds = float(duration) / 1000 if name == "answer" else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None

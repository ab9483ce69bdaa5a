"""TLS 1.3 with certificates on both sides, as a wire that one thread may write while another reads.

The standard library's TLS sockets do not promise the latter; here the cipher works on memory, behind a lock, and the
socket is used outside of it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.private.channel import ProtocolError
from assay.private.transport import PlainWire

HANDSHAKE_S = 10.0


def server_context(cert: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """For the server: only clients with a certificate of `client_ca` are let in.

    Raises:
        InputError: if a file is missing or not what it should be.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, cert, key, client_ca)


def client_context(cert: Path, key: Path, server_ca: Path) -> ssl.SSLContext:
    """For the client: the server must have a certificate of `server_ca` for the name that was asked for."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, cert, key, server_ca)


def _context(side: int, cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    for file in (cert, key, ca):
        if not file.is_file():
            raise InputError(f"{file} is not there; assay private keys DIR makes certificates")
    try:
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError) as error:
        raise InputError(f"{cert}, {key} and {ca} are not a certificate, its key and an issuer: {error}") from error
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # every session proves anew who it is
    return context


class TlsWire:
    """An encrypted stream over a connected socket.

    Raises:
        ProtocolError: if the other side does not prove who it is, or is not there.
    """

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, server_name: str | None = None) -> None:
        self._plain = PlainWire(connected)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        self._lock = threading.Lock()
        try:
            self._shake_hands(time.monotonic() + HANDSHAKE_S)
        except OSError as error:  # ssl.SSLError is one
            self.close()
            raise ProtocolError(refusal(error)) from error
        self.peer = _common_name(self._tls)

    def _shake_hands(self, deadline: float) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._plain.receive_some(deadline))
            except ssl.SSLError:
                self._flush()  # the alert, so that the other side can say why
                raise
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._plain.write(data, HANDSHAKE_S)

    def seal(self, data: bytes | memoryview) -> bytes | memoryview:
        with self._lock:
            self._tls.write(data)
            return self._outgoing.read()

    def push(self, sealed: bytes | memoryview) -> int:
        return self._plain.push(sealed)

    def write(self, sealed: bytes | memoryview, timeout_s: float) -> None:
        self._plain.write(sealed, timeout_s)

    def read_into(self, view: memoryview, deadline: float) -> None:
        filled = 0
        while filled < len(view):
            try:
                with self._lock:
                    read: Any = self._tls.read(len(view) - filled, view[filled:])  # a count, since it is given room
                    filled += read
            except ssl.SSLWantReadError:
                sealed = self._plain.receive_some(deadline)
                with self._lock:
                    self._incoming.write(sealed)
            except ssl.SSLZeroReturnError:
                raise ConnectionResetError("the connection was closed") from None
            except ssl.SSLError as error:
                raise ConnectionResetError(refusal(error)) from error

    def finish(self, timeout_s: float) -> None:
        self._plain.finish(timeout_s)

    def close(self) -> None:
        self._plain.close()


def _common_name(tls: ssl.SSLObject) -> str:
    subject: Any = (tls.getpeercert() or {}).get("subject", ())
    names = [value for parts in subject for key, value in parts if key == "commonName"]
    return str(names[0]) if names else "unknown"


def refusal(error: OSError) -> str:
    """Why there is no encrypted connection, as a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the other party's certificate is not accepted: {error.verify_message or error.reason}"
    if isinstance(error, TimeoutError):
        return "the other party does not answer in TLS"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "no reason given").replace("_", " ").lower()
        if "certificate" in reason or "unknown ca" in reason:
            return f"certificates do not agree: {reason}; show one by the issuer that it trusts"
        return f"the other party does not speak TLS 1.3 as we do: {reason}"
    return f"the other party is gone: {error.strerror or error}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; what is plain text may go nowhere else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

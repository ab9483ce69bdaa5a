"""Channels between two threads over real sockets, and certificates for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.private.tls import TlsWire, client_context, server_context
from assay.private.transport import PlainWire, SocketChannel


def joined_sockets() -> tuple[socket.socket, socket.socket]:
    """TCP over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def plain_channels(timeout_s: float = 10) -> tuple[SocketChannel, SocketChannel]:
    near, far = joined_sockets()
    return SocketChannel(PlainWire(near), timeout_s), SocketChannel(PlainWire(far), timeout_s)


def tls_channels(keys: Path, timeout_s: float = 10) -> tuple[SocketChannel, SocketChannel]:
    """Server's end, client's end."""
    near, far = joined_sockets()
    server = server_context(keys / "server.pem", keys / "server.key", keys / "ca.pem")
    client = client_context(keys / "client.pem", keys / "client.key", keys / "ca.pem")
    wires = both(lambda: TlsWire(near, server), lambda: TlsWire(far, client, "localhost"))
    return SocketChannel(wires[0], timeout_s), SocketChannel(wires[1], timeout_s)


def both(*work: Callable[[], Any]) -> list[Any]:
    """Each in a thread of its own; results, or what was raised, in order."""
    results: list[Any] = [None] * len(work)

    def do(i: int) -> None:
        try:
            results[i] = work[i]()
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=do, args=(i,)) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results

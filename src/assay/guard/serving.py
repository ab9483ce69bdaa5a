"""From a guard to a running server, and the token that controls it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from assay.errors import InputError

if TYPE_CHECKING:
    from assay.guard.guardian import Guard

TOKEN = "ASSAY_GUARD_TOKEN"

MOST_CONNECTIONS = 1000


def read_token(store: Path) -> str:
    """The token in the environment; else the one beside the store, which is made if there is none.

    Raises:
        InputError: if it is too short to keep anyone out, or cannot be kept.
    """
    given = os.environ.get(TOKEN)
    if given is not None:
        if len(given) < 16 or not given.isascii() or not given.isprintable():
            raise InputError(f"{TOKEN} must be 16 printable characters or more")
        return given
    path = store.with_name(store.name + ".token")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
        token = path.read_text().strip()
    except OSError as error:
        raise InputError(f"{path} cannot be written or read: {error.strerror or error}") from error
    if len(token) < 16:
        raise InputError(f"{path} holds no token; delete it and start again")
    return token


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        InputError: if the address is taken or not ours.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
    return listening


def serve(guard: Guard, token: str, listening: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; what has arrived by then is answered."""
    import uvicorn

    from assay.guard.service import application

    config = uvicorn.Config(
        application(guard, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=15,
    )
    # uvicorn raises the signal again when it has ended; by then there is nothing left to interrupt.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

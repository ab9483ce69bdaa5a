"""The server: holds the weights, answers many clients at once, outlives any of them.

A thread a client. What a client may take is limited before anything is done for it; a client that says nothing, or
something else than the protocol has, is told so in one sentence and loses its session and all that was prepared in it.
Nothing that depends on an input is logged: the server has nothing of the kind.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from assay.errors import InputError
from assay.integer import IntegerNetwork
from assay.private.channel import ProtocolError
from assay.private.conversation import Conversation, Log, Provider
from assay.private.limits import Allowance, Limits
from assay.private.tls import TlsWire, is_loopback
from assay.private.transport import Complaint, PlainWire, SocketChannel

BACKLOG = 1 << 24
"""Bytes that wait to be sent to one client, beyond which nothing more is read from it."""


class Server:
    """Answers for one network.

    Args:
        host, port: where to listen; port 0 takes a free one, which `port` then is.
        context: certificates; None for plain text, which only this machine may then reach.
        log: told who comes and goes, and how many pictures are answered.

    Raises:
        InputError: if the address cannot be listened at, or plain text could leave this machine.
        ModelError: if the network is not one for two parties.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        log: Log = lambda line: None,
    ) -> None:
        if context is None and not is_loopback(host):
            raise InputError(f"plain text is for this machine alone, not {host}; give certificates")
        self._context, self._log = context, log
        self._provider = Provider(network)
        self.architecture = self._provider.plan.architecture
        self._allowance = Allowance(limits or Limits())
        self._stopping = threading.Event()
        self._threads: set[threading.Thread] = set()
        self._idle: set[SocketChannel] = set()
        self._open: set[SocketChannel] = set()
        self._lock = threading.Lock()
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family)
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}") from error
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Take clients until `stop` is called by another thread or a signal."""
        while not self._stopping.is_set():
            try:
                connected, address = self._listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                time.sleep(0.1)  # out of file descriptors, say: sessions that end give some back
                continue
            if len(self._threads) >= 4 * self._allowance.limits.clients + 16:
                connected.close()  # so many that have not even said hello
                continue
            thread = threading.Thread(target=self._take, args=(connected, address[0]), daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def start(self) -> Server:
        """`serve` in a thread of its own."""
        threading.Thread(target=self.serve, name="assay-private-server", daemon=True).start()
        return self

    def stop(self, grace_s: float = 10.0) -> None:
        """Take nobody any more, let what runs come to its end for so long, then end everything."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        deadline = time.monotonic() + grace_s
        while self._threads and time.monotonic() < deadline:
            with self._lock:
                idle = list(self._idle)
            for channel in idle:
                channel.complain("the server is shutting down")
                channel.close()
            time.sleep(0.02)
        with self._lock:
            busy = list(self._open)
        for channel in busy:
            channel.close(flush=False)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take(self, connected: socket.socket, peer: str) -> None:
        """One client, from its first byte to its last."""
        channel = None
        try:
            wire = PlainWire(connected) if self._context is None else TlsWire(connected, self._context)
            channel = SocketChannel(wire, self._allowance.limits.message_s, BACKLOG)
            with self._lock:
                self._open.add(channel)
            with self._allowance.seat():
                self._log(f"{peer}: connected")
                Conversation(self._provider, channel, self._allowance, wire.peer, self._resting, self._log).run()
            self._log(f"{peer}: gone")
        except Complaint:
            self._log(f"{peer}: the client ended the session")
        except ProtocolError as error:
            self._log(f"{peer}: session ended: {error}")
            if channel is not None:
                channel.complain(str(error))
        except Exception as error:  # the border of a session: others go on
            self._log(f"{peer}: session ended by a fault of the server: {_place(error)}")
            if channel is not None:
                channel.complain("the server failed")
        finally:
            if channel is not None:
                channel.close()
            with self._lock:
                self._threads.discard(threading.current_thread())
                if channel is not None:
                    self._open.discard(channel)

    @contextmanager
    def _resting(self, channel: SocketChannel) -> Iterator[None]:
        """While the session waits for a request: it may then be ended without harm."""
        with self._lock:
            self._idle.add(channel)
        try:
            yield
        finally:
            with self._lock:
                self._idle.discard(channel)


def _place(error: Exception) -> str:
    """Kind and place of an error. What it says is left out: it could tell of values."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"

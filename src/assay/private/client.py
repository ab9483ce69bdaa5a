"""The client: holds pictures, learns the answers, and tells the server nothing but how many."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError, ModelError
from assay.private.architecture import Architecture, read
from assay.private.channel import ProtocolError, Traffic
from assay.private.emulator import Emulator, Link
from assay.private.messages import PROTOCOL, Bye, Hello, Infer, Prepare, Ready, Welcome, fresh_nonce, session_name
from assay.private.offline import ClientMaterial, ClientWorkshop, Shelf, transfers
from assay.private.online import ClientSide, run
from assay.private.ot_store import Store
from assay.private.party import Party
from assay.private.profile import Profile, profile
from assay.private.steps import Plan, Tick, no_tick
from assay.private.tls import TlsWire, client_context, is_loopback
from assay.private.transport import PlainWire, SocketChannel
from assay.private.warming import warm_up
from assay.runs import once_it_listens

TIMEOUT_S = 120.0
"""How long the server may take for a message."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Ours, its key, and the issuer of the server's."""

    cert: Path
    key: Path
    server_ca: Path


def connect(
    address: str,
    *,
    cert: Path | str | None = None,
    key: Path | str | None = None,
    server_ca: Path | str | None = None,
    network_digest: str | None = None,
    insecure_plaintext: bool = False,
    link: Link | None = None,
    timeout_s: float = TIMEOUT_S,
    wait_s: float = 0.0,
) -> Session:
    """A session with a server that was started by `assay private serve`.

    Args:
        address: `host:port`.
        cert, key, server_ca: our certificate, its key, and the issuer of the server's, as `assay private keys` makes.
        network_digest: of the architecture that is expected, in hex; another one is refused.
        insecure_plaintext: no encryption of the connection; to this machine only.
        link: pretend that the connection is like this.
        timeout_s: how long the server may take for a message.
        wait_s: how long to wait for a server that does not listen yet.

    Raises:
        InputError: if address or certificates cannot be used.
        ProtocolError: if the server is not there, does not prove who it is, or does not keep to the protocol.
        ModelError: if the network that it describes is not the expected one, or cannot be used.
    """
    host, port = parse_address(address)
    warm_up()
    certificates = None
    if cert and key and server_ca:
        certificates = Certificates(Path(cert), Path(key), Path(server_ca))
    elif not insecure_plaintext:
        raise InputError("give certificates: cert=, key= and server_ca=, as assay private keys makes them")
    elif not is_loopback(host):
        raise InputError(f"{host} is another machine: plain text goes to this machine only; use certificates")
    emulator = None if link is None else Emulator((host, port), link)
    try:
        where = (host, port) if emulator is None else ("127.0.0.1", emulator.port)
        channel = _channel(where, host, certificates, timeout_s, wait_s)
        return Session(channel, network_digest, emulator)
    except BaseException:
        if emulator is not None:
            emulator.close()
        raise


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise InputError(f"an address is host:port, got {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _channel(
    where: tuple[str, int], host: str, certificates: Certificates | None, timeout_s: float, wait_s: float
) -> SocketChannel:
    context = None
    if certificates is not None:
        context = client_context(certificates.cert, certificates.key, certificates.server_ca)
    try:
        connected = once_it_listens(lambda: socket.create_connection(where, timeout=min(timeout_s, 10)), wait_s)
    except (OSError, UnicodeError) as error:  # UnicodeError: what is no name of a host
        reason = getattr(error, "strerror", None) or error
        raise ProtocolError(f"no server answers at {host}:{where[1]}: {reason}") from error
    wire = PlainWire(connected) if context is None else TlsWire(connected, context, host)
    return SocketChannel(wire, timeout_s)


class Session:
    """A conversation with a server. Used as a context; any error ends it, and what was prepared is gone.

    Attributes:
        architecture: what the server says of its network.
        profile: what the session has cost since it began: offline phases, and online phases.
    """

    def __init__(
        self,
        channel: SocketChannel,
        network_digest: str | None = None,
        emulator: Emulator | None = None,
        make_workshop: Callable[[Plan, str], ClientWorkshop] = ClientWorkshop,
    ) -> None:
        self._channel, self._emulator = channel, emulator
        self._shelf: Shelf[ClientMaterial] = Shelf()
        self._store: Store | None = None
        try:
            with channel.part("offline/hello"):
                self._name, self.architecture = self._introduced(network_digest)
            self._plan = Plan(self.architecture)
            self._workshop = make_workshop(self._plan, self._name)
            self._store = self._workshop.store
            with channel.part("offline/keys"):
                self._workshop.hand_over_key(channel)
        except BaseException as error:
            self._abandon(error)
            raise

    def _introduced(self, network_digest: str | None) -> tuple[str, Architecture]:
        ours = fresh_nonce()
        self._channel.say(Hello(PROTOCOL, ours))
        welcome = self._channel.hear(Welcome)
        if welcome.protocol != PROTOCOL:
            raise ProtocolError(f"the server speaks version {welcome.protocol} of the protocol, we speak {PROTOCOL}")
        try:
            name = session_name(ours, welcome.nonce)
        except ValueError as error:
            raise ProtocolError(f"the server does not name the session: {error}") from error
        found = read(welcome.architecture.encode())
        if network_digest is not None and found.digest != network_digest.lower():
            raise ModelError(
                f"the server's network is {found.digest}, not {network_digest} as expected; nothing was sent to it"
            )
        return name, found

    def prepare(self, batches: int = 1, *, size: int = 1, tick: Tick = no_tick) -> None:
        """The offline phase, for so many calls of `infer` with `size` pictures each.

        Raises:
            InputError: if a number is below 1.
            ProtocolError: if the server refuses or is gone; the session is over.
        """
        if batches < 1 or size < 1:
            raise InputError(f"prepare for at least one inference of one picture, not {batches} of {size}")
        with self._guarded(), self._channel.part("offline/between"):
            with self._channel.part("offline/request"):
                self._channel.say(Prepare(self._name, self._shelf.next, batches, size))
                self._agreed(self._shelf.next)
            for _ in range(batches):
                self._shelf.put(self._workshop.make(self._channel, size, tick))

    def infer(self, x: NDArray[np.integer], *, tick: Tick = no_tick) -> NDArray[np.int64]:
        """The outputs `n k` for pictures `n c h w`, the same integers as `IntegerNetwork.run` gives; `k` for `c h w`.

        Prepares first if nothing is prepared for so many pictures.

        Raises:
            InputError: if the pictures do not fit the network; nothing was sent then.
            ProtocolError: if the server does not keep to the protocol; the session is over.
        """
        pictures = self._checked(x)
        number = self._shelf.of_size(len(pictures))
        if number is None:
            self.prepare(size=len(pictures), tick=tick)
            number = self._shelf.next - 1
        with self._guarded(), self._channel.part("online/between"):
            material = self._shelf.take(number, len(pictures))
            with self._channel.part("online/request"):
                self._channel.say(Infer(self._name, number, len(pictures)))
                self._agreed(number)
            side = ClientSide(self._channel, self.architecture.ring, material.masks, material.products)
            party = Party("client", self._channel, side.ring, self._workshop.store)
            outputs = run(self._plan, self.architecture.nodes, party, side, side.ring.reduce(pictures), tick)
        assert outputs is not None  # the client's side reveals
        return outputs if x.ndim == 4 else outputs[0]

    def _checked(self, x: NDArray[np.integer]) -> NDArray[np.integer]:
        node = self.architecture.input
        pictures = x if x.ndim == 4 else x[None]
        want = "x".join(map(str, node.shape))
        if pictures.shape[1:] != node.shape or pictures.dtype.kind not in "iu" or not len(pictures):
            raise InputError(f"the server's network takes integers {want}, or several such, got {x.dtype} {x.shape}")
        if int(pictures.min()) < node.low or int(pictures.max()) > node.high:
            raise InputError(f"the server's network takes values from {node.low} to {node.high}, not others")
        return pictures

    def _agreed(self, number: int) -> None:
        if self._channel.hear(Ready).number != number:
            raise ProtocolError("the server counts differently what was prepared")

    @property
    def profile(self) -> Profile:
        """Seconds, bytes and rounds so far, layer by layer."""
        return profile(self.architecture, self._channel.ledger, transfers(self._plan))

    def measure_anew(self) -> dict[str, Traffic]:
        """What the session has cost so far, part by part; counting begins anew."""
        return self._channel.meter.take()

    @property
    def prepared(self) -> int:
        """How many inferences are prepared."""
        return len(self._shelf.items)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever goes wrong inside ends the session."""
        try:
            yield
        except BaseException as error:
            self._abandon(error)
            raise

    def _abandon(self, error: BaseException) -> None:
        """End the session without trusting the other side any further."""
        self._channel.complain(str(error) if isinstance(error, ProtocolError) else "the client stopped")
        self.close(polite=False)

    def close(self, polite: bool = True) -> None:
        """End the session; what was prepared is gone."""
        self._shelf.items.clear()
        if self._store is not None:
            self._store.close()
        with suppress(ProtocolError):
            if polite:
                self._channel.say(Bye())
        self._channel.close()
        if self._emulator is not None:
            self._emulator.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(polite=error is None)

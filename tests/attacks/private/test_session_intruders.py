"""Who may not in, what a client may not ask for, and what is left of a session that has ended."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from assay.errors import ModelError
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.private import Limits, ProtocolError, Server, connect, make_keys, server_context
from assay.private.architecture import describe
from assay.private.client import Session
from assay.private.messages import PROTOCOL, Hello, Infer, Prepare, Ready, Welcome, fresh_nonce, session_name
from assay.private.offline import ClientWorkshop, Shelf
from assay.private.steps import Plan
from assay.private.transport import Kind, PlainWire, SocketChannel


def network(seed: int = 0) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    nodes = (
        g.Input((1, 2, 2)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=rng.integers(-20, 21, (3, 4)), bias=rng.integers(-20, 21, 3)),
        g.ReLU(input=2, start=0, stop=3),
        g.Linear(input=3, weight=rng.integers(-20, 21, (2, 3)), bias=rng.integers(-20, 21, 2)),
    )
    return IntegerNetwork(nodes, ("a", "b"), 1.0)


NETWORK = network()
X = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(NETWORK, limits=Limits(clients=2, pictures=4, message_s=20, idle_s=20)) as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder / "ours")
    make_keys(folder / "theirs")
    return folder


@pytest.fixture
def guarded(keys: Path) -> Iterator[Server]:
    ours = keys / "ours"
    context = server_context(ours / "server.pem", ours / "server.key", ours / "ca.pem")
    with Server(NETWORK, context=context, limits=Limits(message_s=20)) as running:
        yield running
        assert_answers(f"localhost:{running.port}", **files(ours, "client", ours))


def files(party: Path, name: str, issuer: Path) -> dict[str, Path]:
    return {"cert": party / f"{name}.pem", "key": party / f"{name}.key", "server_ca": issuer / "ca.pem"}


def assert_answers(address: str, **more: object) -> None:
    with connect(address, **more) as session:  # type: ignore[arg-type]
        assert np.array_equal(session.infer(X), NETWORK.run(X))


def alive(server: Server) -> None:
    assert_answers(f"127.0.0.1:{server.port}", insecure_plaintext=True)


@pytest.mark.parametrize(
    ("party", "name", "issuer"),
    [("theirs", "client", "ours"), ("ours", "client", "theirs"), ("ours", "server", "ours")],
    ids=["a client of another issuer", "a server of another issuer", "a server's certificate for a client"],
)
def test_a_certificate_that_is_not_the_right_one_is_refused(
    guarded: Server, keys: Path, party: str, name: str, issuer: str
) -> None:
    with pytest.raises(ProtocolError, match="certificate"):
        connect(f"localhost:{guarded.port}", **files(keys / party, name, keys / issuer))  # type: ignore[arg-type]


def test_a_server_with_a_clients_certificate_is_refused(keys: Path) -> None:
    ours = keys / "ours"
    context = server_context(ours / "client.pem", ours / "client.key", ours / "ca.pem")
    with Server(NETWORK, context=context) as false, pytest.raises(ProtocolError, match="certificate"):
        connect(f"localhost:{false.port}", **files(ours, "client", ours))  # type: ignore[arg-type]


def test_a_server_of_another_name_is_refused(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = keys / "ours"
    context = server_context(ours / "server.pem", ours / "server.key", ours / "ca.pem")
    real = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda to, **more: real(("127.0.0.1", to[1]), **more))
    with Server(NETWORK, context=context) as running, pytest.raises(ProtocolError, match="certificate"):
        connect(f"models.example:{running.port}", **files(ours, "client", ours))  # type: ignore[arg-type]


def test_no_certificate_and_no_tls_are_refused(guarded: Server) -> None:
    with pytest.raises(ProtocolError):
        connect(f"127.0.0.1:{guarded.port}", insecure_plaintext=True)


def test_a_client_with_tls_says_that_a_plain_server_has_none(server: Server, keys: Path) -> None:
    with pytest.raises(ProtocolError, match=r"TLS|gone"):
        connect(f"localhost:{server.port}", **files(keys / "ours", "client", keys / "ours"))  # type: ignore[arg-type]
    alive(server)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(1000)])
def test_noise_in_place_of_a_handshake_harms_nobody(guarded: Server, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port)) as stranger:
        stranger.sendall(said)


def raw(server: Server) -> tuple[SocketChannel, str]:
    """A client that says what it likes, after an honest hello."""
    channel = SocketChannel(PlainWire(socket.create_connection(("127.0.0.1", server.port))), 20)
    ours = fresh_nonce()
    channel.say(Hello(PROTOCOL, ours))
    welcome = channel.hear(Welcome)
    ClientWorkshop(Plan(describe(NETWORK)), session_name(ours, welcome.nonce)).hand_over_key(channel)
    return channel, session_name(ours, welcome.nonce)


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda name: Infer(name, 0, 1), "there is no material 0"),
        (lambda name: Infer(name, 0, -1000), "there is no material 0"),
        (lambda name: Infer("0" * 64, 0, 1), "of another session"),
        (lambda name: Prepare("0" * 64, 0, 1, 1), "of another session"),
        (lambda name: Prepare(name, 1, 1, 1), "counts differently"),
        (lambda name: Prepare(name, 0, 1, 5), "1 to 4 pictures"),
        (lambda name: Prepare(name, 0, 1, 0), "1 to 4 pictures"),
        (lambda name: Prepare(name, 0, 1, -1), "1 to 4 pictures"),
        (lambda name: Prepare(name, 0, 10**9, 1), "prepared at once"),
        (lambda name: Prepare(name, 0, 0, 1), "prepared at once"),
        (lambda name: Hello(1, name), "not understood"),
    ],
)
def test_what_may_not_be_asked_for_is_refused(server: Server, ask: Callable[[str], msgspec.Struct], match: str) -> None:
    channel, name = raw(server)
    channel.say(ask(name))
    with pytest.raises(ProtocolError, match=match):
        channel.hear(Ready)
    channel.close()
    alive(server)


def test_material_is_given_once(server: Server) -> None:
    with connect(f"127.0.0.1:{server.port}", insecure_plaintext=True) as session:
        session.infer(X)
        session._channel.say(Infer(session._name, 0, 1))
        with pytest.raises(ProtocolError, match="made once and used once"):
            session._channel.hear(Ready)
    alive(server)


def test_material_for_another_number_of_pictures_is_refused() -> None:
    class Item:
        size = 3

    shelf: Shelf[Item] = Shelf()  # type: ignore[type-var]
    number = shelf.put(Item())  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match="for 3 pictures, not 1"):
        shelf.take(number, 1)
    assert list(shelf.items) == [number]  # the session, which ends now, gives its memory back
    assert shelf.put(Item()) == number + 1  # type: ignore[arg-type]


def test_after_a_crash_nothing_that_was_prepared_can_be_used(server: Server) -> None:
    first = connect(f"127.0.0.1:{server.port}", insecure_plaintext=True)
    first.prepare(batches=2)
    name, store = first._name, first._workshop.store
    first._channel.close(flush=False)  # the process is gone
    with pytest.raises(ProtocolError):
        first.infer(X)
    assert first.prepared == 0
    assert store.left == type(store.left)()
    channel, again = raw(server)
    assert again != name
    channel.say(Infer(name, 0, 1))
    with pytest.raises(ProtocolError, match="of another session"):
        channel.hear(Ready)
    channel.close()
    alive(server)


def test_when_the_server_ends_the_client_is_told_and_its_material_is_gone(server: Server) -> None:
    session = connect(f"127.0.0.1:{server.port}", insecure_plaintext=True)
    session.prepare()
    server.stop(grace_s=5)
    with pytest.raises(ProtocolError, match=r"shutting down|gone"):
        session.infer(X)
    assert session.prepared == 0


def test_a_server_that_ends_lets_a_running_inference_come_to_its_end(server: Server) -> None:
    done: list[object] = []
    session = connect(f"127.0.0.1:{server.port}", insecure_plaintext=True)
    began = threading.Event()

    def infer() -> None:
        done.append(session.infer(X, tick=lambda *_: began.set()))

    thread = threading.Thread(target=infer)
    session.prepare()
    thread.start()
    began.wait(20)
    server.stop(grace_s=20)
    thread.join(20)
    assert np.array_equal(done[0], NETWORK.run(X))
    session.close()


def test_more_clients_than_allowed_are_told_so(server: Server) -> None:
    address = f"127.0.0.1:{server.port}"
    with connect(address, insecure_plaintext=True) as one, connect(address, insecure_plaintext=True):
        with pytest.raises(ProtocolError, match="2 clients at a time"):
            connect(address, insecure_plaintext=True)
        assert np.array_equal(one.infer(X), NETWORK.run(X))
    wait_for_seats(server)
    alive(server)


def wait_for_seats(server: Server) -> None:
    deadline = time.monotonic() + 10
    while server._allowance.sessions and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server._allowance.sessions == 0
    assert server._allowance.reserved == 0, "memory is given back with the session"


def test_the_memory_limit_is_kept_and_given_back() -> None:
    with Server(NETWORK, limits=Limits(memory_bytes=4000)) as small:
        address = f"127.0.0.1:{small.port}"
        session = connect(address, insecure_plaintext=True)
        with pytest.raises(ProtocolError, match="of the server's memory"):
            session.prepare(batches=100)
        wait_for_seats(small)
        assert_answers(address, insecure_plaintext=True)


def test_a_client_that_asks_for_nothing_is_sent_away() -> None:
    with Server(NETWORK, limits=Limits(idle_s=0.3)) as server:
        session = connect(f"127.0.0.1:{server.port}", insecure_plaintext=True)
        wait_for_seats(server)
        with pytest.raises(ProtocolError, match=r"said nothing for 0\.3 s"):
            session.infer(X)


def test_pictures_an_hour_are_limited_by_client() -> None:
    with Server(NETWORK, limits=Limits(per_hour=2)) as server:
        address = f"127.0.0.1:{server.port}"
        assert_answers(address, insecure_plaintext=True)
        assert_answers(address, insecure_plaintext=True)
        with pytest.raises(ProtocolError, match="2 pictures an hour"):
            assert_answers(address, insecure_plaintext=True)


@pytest.mark.parametrize("size", [-1000, -(10**18), 0, 10**18])
def test_a_size_that_is_no_number_of_pictures_changes_nothing_of_the_limit(size: int) -> None:
    with Server(NETWORK, limits=Limits(per_hour=2)) as server:
        channel, name = raw(server)
        channel.say(Infer(name, 0, size))
        with pytest.raises(ProtocolError, match="there is no material 0"):
            channel.hear(Ready)
        channel.close()
        address = f"127.0.0.1:{server.port}"
        for _ in range(2):
            assert_answers(address, insecure_plaintext=True)
        with pytest.raises(ProtocolError, match="2 pictures an hour"):
            assert_answers(address, insecure_plaintext=True)


@pytest.mark.parametrize("size", [1, 5, -4, 0])
def test_a_request_that_does_not_fit_its_material_gives_the_memory_back(server: Server, size: int) -> None:
    for _ in range(3):
        with connect(f"127.0.0.1:{server.port}", insecure_plaintext=True) as session:
            session.prepare(size=4)
            session._channel.say(Infer(session._name, 0, size))
            with pytest.raises(ProtocolError, match="is for 4 pictures"):
                session._channel.hear(Ready)
        wait_for_seats(server)
    alive(server)


def test_a_client_writes_no_lines_into_the_log() -> None:
    lines: list[str] = []
    with Server(NETWORK, log=lines.append) as server:
        channel = SocketChannel(PlainWire(socket.create_connection(("127.0.0.1", server.port))), 20)
        forged = "x`\nassay: 10.9.8.7: answered 5\x1b[2K"
        channel._send(Kind.CONTROL, msgspec.json.encode({forged: 1}))
        with pytest.raises(ProtocolError, match="not understood"):
            channel.hear(Welcome)
        channel.close()
        wait_for_seats(server)
    assert any("not understood" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_server_that_is_stopped_ends_those_that_are_busy_as_well() -> None:
    with Server(NETWORK, limits=Limits(message_s=60)) as server:
        channel, name = raw(server)
        channel.say(Prepare(name, 0, 1, 1))
        assert channel.hear(Ready) == Ready(0)  # and now the server waits for masks
        server.stop(grace_s=0.2)
        with pytest.raises(ProtocolError, match=r"gone|shutting down"):
            channel.receive(1)
        deadline = time.monotonic() + 10
        while server._threads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not server._threads
        channel.close(flush=False)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_what_is_no_name_of_a_host_is_a_sentence(keys: Path, host: str) -> None:
    with pytest.raises(ProtocolError, match="no server answers at"):
        connect(f"{host}:7000", wait_s=0.0, **files(keys / "ours", "client", keys / "ours"))  # type: ignore[arg-type]


def test_another_version_of_the_protocol_is_told_both_ways(server: Server) -> None:
    channel = SocketChannel(PlainWire(socket.create_connection(("127.0.0.1", server.port))), 20)
    channel.say(Hello(PROTOCOL + 1, fresh_nonce()))
    with pytest.raises(ProtocolError, match=f"speaks version {PROTOCOL} of the protocol, the client {PROTOCOL + 1}"):
        channel.hear(Welcome)
    channel.close()
    with pytest.raises(ProtocolError, match=f"the server speaks version {PROTOCOL + 1}"):
        meet(Welcome(PROTOCOL + 1, fresh_nonce(), "{}"))


def meet(welcome: Welcome) -> Session:
    """A session with a server that says this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    theirs = SocketChannel(PlainWire(far), 20)
    theirs.say(welcome)
    try:
        return Session(SocketChannel(PlainWire(near), 20))
    finally:
        theirs.close(flush=False)


@pytest.mark.parametrize("text", ["", "{}", "[" * 10_000, '{"version":1}', "null"])
def test_a_server_that_describes_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="cannot be used"):
        meet(Welcome(PROTOCOL, fresh_nonce(), text))


def test_a_server_that_does_not_name_the_session_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not name the session"):
        meet(Welcome(PROTOCOL, "zz", describe(NETWORK).text.decode()))


def test_nothing_is_written_to_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    alive(server)
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]
    shutil.rmtree(tmp_path, ignore_errors=True)

"""Servers that lie to `assay ask`: each is rejected (1), or nothing could be told (2); never accepted."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.cli.ask import ask as command
from assay.cli.console import Outcome
from assay.errors import AssayError
from assay.integer import IntegerNetwork, save
from assay.integer import graph as g
from assay.integer.files import to_bytes
from assay.proof import HiddenNetwork, VerificationError, ask, prove
from assay.proof.asking import http, pins
from assay.proof.asking.http import Place, ServerError, call
from assay.proof.hidden import VERSION, CommitmentFile

Handler = Callable[[str, bytes], bytes]
"""From the request line and the body to all bytes of the answer."""


def smaller(seed: int = 5) -> IntegerNetwork:
    """A cheap network for the same pictures and classes."""
    weight = np.random.default_rng(seed).integers(-9, 10, (3, 30))
    nodes = (g.Input((1, 5, 6)), g.Flatten(input=0), g.Linear(input=1, weight=weight, bias=np.zeros(3, np.int64)))
    return IntegerNetwork(nodes, ("a", "b", "c"), 1.0)


def ok(body: bytes, kind: str = "application/vnd.assay.receipt") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def nonce_in(line: str) -> bytes:
    return bytes.fromhex(line.partition("nonce=")[2].split()[0])


def pictures_in(body: bytes) -> np.ndarray:
    return np.frombuffer(body, np.uint8).reshape(-1, 1, 5, 6)


@contextmanager
def serving(handler: Handler, slowly: float = 0) -> Iterator[str]:
    """The address of a server that answers every connection once, by these bytes; `slowly`, seconds a byte."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as said:
            try:
                line = said.readline().decode()
                length = 0
                while (header := said.readline().strip()) != b"":
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                told = handler(line, said.read(length))
                for part in [told] if not slowly else [told[k : k + 1] for k in range(len(told))]:
                    connection.sendall(part)
                    time.sleep(slowly)
            except OSError:
                return  # the client has hung up

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def honest_for(network: IntegerNetwork, hidden: HiddenNetwork | None = None) -> Handler:
    """What an honest server of this network says."""
    named = network.digest if hidden is None else hidden.digest.hex()
    offer = {"proves": True, "weights": "open" if hidden is None else "committed", "digest": named}

    def answer(line: str, body: bytes) -> bytes:
        if line.startswith("GET /network.assay"):
            return ok(to_bytes(network))
        if line.startswith("GET /network.commitment") and hidden is not None:
            return ok(hidden.to_bytes())
        if line.startswith("GET /network"):
            return ok(json.dumps(offer).encode(), "application/json")
        return ok(prove(network, pictures_in(body), nonce=nonce_in(line), hidden=hidden)[1].to_bytes())

    return answer


def receipt_of(network: IntegerNetwork, **changes: Any) -> Handler:
    """A receipt for the request, or for what it is changed to."""

    def answer(line: str, body: bytes) -> bytes:
        x = changes.get("pictures", pictures_in(body))
        receipt = prove(network, x, nonce=changes.get("nonce", nonce_in(line)))[1]
        return ok(changes.get("then", lambda r: r.to_bytes())(receipt))

    return answer


def altered(receipt: Any) -> bytes:
    """Another label, the proof left as it is."""
    outputs = np.frombuffer(receipt.outputs, "<i8").copy()
    outputs[0] = int(outputs.max()) + 1
    data = bytes(receipt.to_bytes())
    return data.replace(receipt.outputs, outputs.tobytes())


X = np.random.default_rng(3).integers(0, 256, (2, 1, 5, 6)).astype(np.uint8)
LIES: dict[str, tuple[Callable[[IntegerNetwork], Handler], type[AssayError], str]] = {
    "a smaller network": (lambda n: receipt_of(smaller()), VerificationError, "another model"),
    "a smaller network under the right name": (
        lambda n: receipt_of(
            smaller(),
            then=lambda r: r.to_bytes().replace(bytes.fromhex(smaller().digest), bytes.fromhex(n.digest)),
        ),
        VerificationError,
        "",
    ),
    "another answer": (lambda n: receipt_of(n, then=altered), VerificationError, ""),
    "an old receipt": (lambda n: receipt_of(n, nonce=bytes(32)), VerificationError, "another nonce"),
    "an old receipt under the new nonce": (
        lambda n: (
            lambda line, body: ok(
                prove(n, pictures_in(body), nonce=bytes(32))[1].to_bytes().replace(bytes(32), nonce_in(line), 1)
            )
        ),
        VerificationError,
        "",
    ),
    "other pictures": (lambda n: receipt_of(n, pictures=X + 1), VerificationError, "other pictures"),
    "one picture of two": (lambda n: receipt_of(n, pictures=X[:1]), VerificationError, "other pictures"),
    "other pictures under the names of ours": (
        lambda n: receipt_of(n, pictures=X + 1, then=lambda r: r.to_bytes().replace((X + 1).tobytes(), X.tobytes())),
        VerificationError,
        "",
    ),
    "a receipt cut short": (lambda n: receipt_of(n, then=lambda r: r.to_bytes()[:-9]), VerificationError, "receipt"),
    "a receipt and more": (lambda n: receipt_of(n, then=lambda r: r.to_bytes() + b"\0"), VerificationError, "receipt"),
    "garbage": (lambda n: lambda line, body: ok(b"\x93\xff" * 500), VerificationError, "not a receipt"),
    "nothing": (lambda n: lambda line, body: ok(b""), VerificationError, "not a receipt"),
    "an answer without proof": (
        lambda n: lambda line, body: ok(b'{"labels": [0, 0], "proof": null}', "application/json"),
        ServerError,
        "without a proof",
    ),
    "ten gigabytes claimed": (
        lambda n: lambda line, body: b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n" + bytes(1000),
        ServerError,
        "10737418240 bytes",
    ),
    "more than was claimed to be left out": (
        lambda n: lambda line, body: b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(1000),
        ServerError,
        "4000 bytes are missing",
    ),
    "chunks that do not end": (
        lambda n: lambda line, body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + bytes(1000),
        ServerError,
        "broke off",
    ),
    "an endless header": (
        lambda n: lambda line, body: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        ServerError,
        "does not speak HTTP",
    ),
    "no HTTP": (lambda n: lambda line, body: b"SSH-2.0-OpenSSH_9.6\r\n", ServerError, "does not speak HTTP"),
    "silence": (lambda n: lambda line, body: b"", ServerError, "does not speak HTTP"),
    "somewhere else": (
        lambda n: lambda line, body: b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        ServerError,
        "status 302",
    ),
    "a sentence that steers a terminal": (
        lambda n: lambda line, body: b'HTTP/1.1 503 x\r\n\r\n{"error": "\x1b[2J busy"}',
        ServerError,
        "status 503",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_is_not_believed(lie: str, victim: IntegerNetwork) -> None:
    make, error, words = LIES[lie]
    with serving(make(victim)) as url, pytest.raises(error, match=words or None):
        ask(url, X, model=victim)


def test_the_honest_server_is_believed(victim: IntegerNetwork) -> None:
    with serving(honest_for(victim)) as url:
        asked = ask(url, X, model=victim)
    assert asked.labels == victim.predict(X).tolist() and asked.agreed.by == "model"


@pytest.mark.parametrize(("lie", "code"), [("a smaller network", 1), ("another answer", 1), ("other pictures", 1)])
def test_the_command_ends_with_the_exit_code_of_a_rejection(
    lie: str, code: int, victim: IntegerNetwork, tmp_path: Path
) -> None:
    with serving(LIES[lie][0](victim)) as url:
        outcome = on_command_line(url, tmp_path, victim)
    assert outcome.exit_code == code and outcome.document["accepted"] is False and outcome.document["reason"]


def on_command_line(url: str, folder: Path, model: IntegerNetwork | None = None, **options: Any) -> Outcome:
    np.savez(folder / "x.npz", x=X)
    if model is not None:
        options["model"] = save(model, folder / "net.assay")
    return command(url, folder / "x.npz", **options)


@pytest.mark.parametrize("told", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + bytes(9999)])
def test_a_server_that_drips_is_hung_up_on(told: bytes, victim: IntegerNetwork) -> None:
    """Whatever it sends, byte by byte, the time that was given is all the time it gets."""
    handler = (lambda line, body: told) if told else (lambda line, body: time.sleep(5) or b"")  # type: ignore[func-returns-value]
    begun = time.monotonic()
    with serving(handler, slowly=0.05) as url, pytest.raises(ServerError, match=r"within 0.5 s"):
        ask(url, X, model=victim, timeout_s=0.5)
    assert time.monotonic() - begun < 3


def test_a_body_without_end_is_read_up_to_the_limit(victim: IntegerNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        serving(lambda line, body: b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 22)) as url,
        pytest.raises(ServerError, match="at most 1048576 are read"),
    ):
        call(Place.parse(url), "GET", "/network", most=http.SMALL)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_whatever_bytes_come_nothing_but_our_errors_is_raised(data: bytes, head: bytes, victim: IntegerNetwork) -> None:
    with serving(lambda line, body: head + data) as url, pytest.raises((ServerError, VerificationError)):
        ask(url, X, model=victim)


def test_nobody_there_is_said_so_after_a_while(victim: IntegerNetwork) -> None:
    with serving(lambda line, body: b"") as url:
        pass
    begun = time.monotonic()
    with pytest.raises(ServerError, match="nobody listens"):
        call(Place.parse(url, start_s=0.6), "GET", "/network", most=100)
    assert 0.5 < time.monotonic() - begun < 5


# First use: the server says which network it is.


def test_what_a_server_was_first_seen_with_is_what_it_is_held_to(victim: IntegerNetwork, tmp_path: Path) -> None:
    handlers = [honest_for(victim)]
    with serving(lambda line, body: handlers[-1](line, body)) as url:
        first, again = on_command_line(url, tmp_path), on_command_line(url, tmp_path)
        assert (first.exit_code, again.exit_code) == (0, 0)
        assert first.document["vouched_for_by"] == "first use" and again.document["vouched_for_by"] == "known server"
        for said in (first, again):
            assert "agreed on" in said.document["not_verified"][0]
        handlers.append(honest_for(smaller()))
        changed = on_command_line(url, tmp_path)
        assert changed.exit_code == 1 and smaller().digest in changed.document["reason"]
        assert on_command_line(url, tmp_path, accept_change=True).document["vouched_for_by"] == "first use"
        assert on_command_line(url, tmp_path).document["network"]["digest"] == smaller().digest


def test_a_server_that_names_the_known_network_and_proves_with_another_is_rejected(
    victim: IntegerNetwork, tmp_path: Path
) -> None:
    honest, other = honest_for(victim), honest_for(smaller())
    lying = [False]

    def answer(line: str, body: bytes) -> bytes:
        return (other if lying[0] and line.startswith("POST") else honest)(line, body)

    with serving(answer) as url:
        assert on_command_line(url, tmp_path).exit_code == 0
        lying[0] = True
        assert on_command_line(url, tmp_path).exit_code == 1


def test_a_server_whose_first_answer_is_wrong_is_not_remembered(victim: IntegerNetwork) -> None:
    honest, lie = honest_for(victim), receipt_of(victim, then=altered)
    with serving(lambda line, body: (lie if line.startswith("POST") else honest)(line, body)) as url:
        with pytest.raises(VerificationError):
            ask(url, X)
        assert pins.find(url) is None


OFFERS = {
    "no JSON": b"hello",
    "not its fields": b"{}",
    "no digest": b'{"proves": true, "weights": "open", "digest": "xyz"}',
    "a path for a digest": b'{"proves": true, "weights": "open", "digest": "../../../etc/passwd"}',
    "a short digest": b'{"proves": true, "weights": "open", "digest": "00"}',
    "nothing proven": b'{"proves": false, "weights": "open", "digest": "%s"}' % (b"0" * 64),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_that_makes_no_sense_is_no_offer(offer: str) -> None:
    with serving(lambda line, body: ok(OFFERS[offer], "application/json")) as url, pytest.raises(ServerError):
        ask(url, X)


def test_a_network_that_is_not_the_offered_one_is_rejected(victim: IntegerNetwork) -> None:
    honest = honest_for(victim)

    def swaps(line: str, body: bytes) -> bytes:
        return ok(to_bytes(smaller())) if line.startswith("GET /network.assay") else honest(line, body)

    def breaks(line: str, body: bytes) -> bytes:
        return ok(to_bytes(victim)[:-3]) if line.startswith("GET /network.assay") else honest(line, body)

    with serving(swaps) as url, pytest.raises(VerificationError, match="but speaks of"):
        ask(url, X)
    with serving(breaks) as url, pytest.raises(AssayError):
        ask(url, X)


def test_a_cached_network_that_was_changed_is_fetched_again(victim: IntegerNetwork) -> None:
    with serving(honest_for(victim)) as url:
        ask(url, X)
        (file,) = pins.cache_folder().glob("*.assay")
        file.write_bytes(to_bytes(smaller()))
        assert ask(url, X).agreed.digest == victim.digest
        assert file.read_bytes() == to_bytes(victim)


def test_a_pin_that_cannot_be_read_is_not_a_first_use(victim: IntegerNetwork) -> None:
    with serving(honest_for(victim)) as url:
        ask(url, X)
        for damage in (b"{", b'{"url": "\xff"}', b'{"url": "http://another"}'):
            pins.pin_file(url).write_bytes(damage)
            with pytest.raises(AssayError, match="mend or remove"):
                ask(url, X)


# Committed weights.


@pytest.fixture(scope="module")
def committed() -> HiddenNetwork:
    return HiddenNetwork(smaller())


def test_a_commitment_is_enough_and_is_checked_before_anything_is_asked(committed: HiddenNetwork) -> None:
    with serving(honest_for(committed.network, committed)) as url:
        asked = ask(url, X, commitment=committed.digest)
        assert asked.outputs.tolist() == committed.network.run(X).tolist() and asked.agreed.class_names == (
            "a",
            "b",
            "c",
        )
        assert asked.agreed.by == "commitment"
        assert ask(url, X).agreed.by == "first use"
        with pytest.raises(VerificationError, match="another network than"):
            ask(url, X, commitment=bytes(32))


def test_another_network_than_the_committed_one_is_rejected(committed: HiddenNetwork, victim: IntegerNetwork) -> None:
    cheaper = HiddenNetwork(smaller(6))
    honest, other = honest_for(committed.network, committed), honest_for(cheaper.network, cheaper)
    for lie in (other, receipt_of(committed.network)):
        switching = lambda line, body, lie=lie: (lie if line.startswith("POST") else honest)(line, body)  # noqa: E731
        with serving(switching) as url, pytest.raises(VerificationError, match="another model"):
            ask(url, X, commitment=committed.digest)
    with serving(honest_for(victim)) as url, pytest.raises(AssayError):
        ask(url, X, commitment=committed.digest)


def architecture(*kernel: int, **more: tuple[int, ...]) -> bytes:
    """Of a network that begins with a convolution of this shape, as a commitment names it."""
    plain = {"op": "conv2d", "stride": [1, 1], "padding": [0, 0, 0, 0], "dilation": [1, 1], "groups": 1}
    nodes = [
        {"op": "input", "shape": [1, 1024, 1024], "low": 0, "high": 255},
        plain | {"input": 0},
        {"op": "flatten", "input": 1},
        {"op": "linear", "input": 2},
    ]
    named = [node | {"name": ""} for node in nodes]
    graph = {"version": 1, "classic": False, "output_scale": 1.0, "class_names": ["a"], "nodes": named}
    weights = {"1": kernel, "3": (1, 1), **more}
    return json.dumps({"graph": json.dumps(graph), "weights": weights, "offsets": {}}).encode()


HUGE = {
    "a kernel of a million places": architecture(1, 1, 1024, 1024),
    "sizes whose product wraps around": architecture(65536, 65536, 65536, 65536),
    "a negative size beside a large one": architecture(1, 1, 1024, 1024, nobody=(-(1 << 30),)),
    "many channels": architecture(1 << 20, 1 << 10, 1, 1),
}


@pytest.mark.parametrize("what", HUGE)
def test_a_commitment_to_a_huge_network_is_refused_before_time_and_memory_are_spent(what: str) -> None:
    file = msgspec.msgpack.encode(CommitmentFile("assay weights", VERSION, HUGE[what], bytes(32), b""))
    offer = {"proves": True, "weights": "committed", "digest": "00" * 32}
    begun = time.process_time()
    with (
        serving(lambda line, body: ok(file if "commitment" in line else json.dumps(offer).encode())) as url,
        pytest.raises(VerificationError, match=r"at most|make sense"),
    ):
        ask(url, X)
    assert time.process_time() - begun < 2


# Conversations.


@contextmanager
def talking(handler: Callable[[Any], None]) -> Iterator[str]:
    """The address of a WebSocket server that does this to everyone who comes."""
    from websockets.sync.server import serve

    with serve(handler, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


class Prover:
    """A server's end of a conversation, as a `Stream`."""

    def __init__(self, talk: Any) -> None:
        self._talk, self._held = talk, b""

    def send(self, data: bytes) -> None:
        self._talk.send(data)

    def receive(self, count: int) -> bytes:
        while len(self._held) < count:
            self._held += self._talk.recv()
        data, self._held = self._held[:count], self._held[count:]
        return data


def proves(network: IntegerNetwork, change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> Callable[[Any], None]:
    from websockets.exceptions import ConnectionClosed

    from assay.proof.live import prove_live

    def handler(talk: Any) -> None:
        try:
            prove_live(Prover(talk), network, change(pictures_in(talk.recv())))
        except ConnectionClosed:
            return  # the client has heard enough

    return handler


def floods(talk: Any) -> None:
    talk.recv()
    talk.send(bytes(1 << 21))


CONVERSATIONS: dict[str, tuple[Callable[[IntegerNetwork], Callable[[Any], None]], type[AssayError], str]] = {
    "a smaller network": (lambda n: proves(smaller()), VerificationError, ""),
    "other pictures": (lambda n: proves(n, lambda x: x + 1), VerificationError, "another picture"),
    "goodbye": (lambda n: lambda talk: None, ServerError, "broke off"),
    "refusal": (lambda n: lambda talk: talk.send('{"error": "no"}'), ServerError, "refuses: no"),
    "words": (lambda n: lambda talk: talk.send("hello"), ServerError, "does not say why"),
    "a flood": (lambda n: floods, ServerError, "broke off"),
    "silence": (lambda n: lambda talk: time.sleep(3), ServerError, "within 1 s"),
}


@pytest.mark.parametrize("lie", CONVERSATIONS)
def test_a_prover_that_lies_in_a_conversation_is_not_believed(lie: str, victim: IntegerNetwork) -> None:
    make, error, words = CONVERSATIONS[lie]
    with talking(make(victim)) as url, pytest.raises(error, match=words or None):
        ask(url, X, model=victim, live=True, timeout_s=1 if lie == "silence" else 60)


def test_an_honest_prover_is_believed_in_a_conversation(victim: IntegerNetwork) -> None:
    with talking(proves(victim)) as url:
        assert ask(url, X, model=victim, live=True).labels == victim.predict(X).tolist()


def test_what_speaks_no_websocket_is_an_error_of_ours(victim: IntegerNetwork) -> None:
    for told in (b"", ok(b"hello"), b"\xff" * 5000, b"HTTP/1.1 302 x\r\nLocation: ws://127.0.0.1:1/\r\n\r\n"):
        with serving(lambda line, body, told=told: told) as url, pytest.raises(ServerError):  # type: ignore[misc]
            ask(url, X, model=victim, live=True, timeout_s=5)


ADDRESSES = [
    "",
    "ftp://host",
    "http://",
    "http://user:pw@host",
    "http://host:99999",
    "http://host/?q",
    "http://[::1",
    "a b",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AssayError):
        call(Place.parse(address, start_s=0), "GET", "/network", most=10)

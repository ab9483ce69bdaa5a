"""`assay serve` as a process of its own, and `assay ask` as its client."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from assay.cli.ask import ask as command
from assay.cli.console import Common
from assay.cli.serve import serve
from assay.cli.verify import verify
from assay.errors import AssayError, InputError
from assay.integer import IntegerNetwork, save
from assay.proof import ask, service
from assay.proof.asking.http import ServerError
from assay.proof.serving import server

X = (np.arange(32, dtype=np.uint8) * 7).reshape(2, 1, 4, 4)
ANSWER = "POST /infer?nonce=" + "00" * 16


def start(*arguments: str | Path) -> tuple[subprocess.Popen[str], str]:
    """A server on a free port, once it listens, and its address."""
    words = [sys.executable, "-m", "assay", "serve", *map(str, arguments), "--port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"at (http://\S+),", line):
            return process, found[1]
    raise AssertionError(f"the server ended: {said}")


def stop(process: subprocess.Popen[str], by: signal.Signals) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a server that is told to end."""
    process.send_signal(by)
    out, _ = process.communicate(timeout=60)
    return process.returncode, json.loads(out)


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, named_network: Callable[[str], IntegerNetwork]
) -> Iterator[SimpleNamespace]:
    """A network, pictures of it, a server for it; the server ends well, and has counted what it answered."""
    folder, network = tmp_path_factory.mktemp("desk"), named_network("perceptron")
    save(network, folder / "net.assay")
    save(named_network("subsampled"), folder / "other.assay")
    np.savez(folder / "x.npz", x=X)
    Image.fromarray(X[0, 0]).save(folder / "one.png")
    process, url = start(folder / "net.assay", "--prove", "--batch", "2", "--body-mib", "1")
    yield SimpleNamespace(folder=folder, network=network, url=url, net=folder / "net.assay", one=folder / "one.png")
    code, document = stop(process, signal.SIGTERM)
    assert code == 0 and document["answers"] > 5 and document["network"] == network.digest


def test_ask_as_a_user_types_it(desk: SimpleNamespace) -> None:
    words = [sys.executable, "-m", "assay", "ask", desk.url, str(desk.one), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accepted"] and found["labels"] == desk.network.predict(X[:1]).tolist()
    assert found["vouched_for_by"] == "first use" and "agreed on" in found["not_verified"][0]
    assert found["network"] == {"kind": "network", "digest": desk.network.digest}
    assert found["server_s"] > 0 and found["verify_s"] > 0 and found["receipt_bytes"] > 1000
    assert found["soundness_bits"] > 99


def test_with_the_network_in_hand_nobody_else_has_to_vouch(desk: SimpleNamespace) -> None:
    for live in (False, True):
        outcome = command(desk.url, desk.folder / "x.npz", model=desk.net, live=live)
        found = outcome.document
        assert outcome.exit_code == 0 and found["labels"] == desk.network.predict(X).tolist()
        assert found["mode"] == ("live" if live else "receipt") and (found["nonce"] is None) == live
        assert "exactly the network that you hold" in found["verified"] and len(found["not_verified"]) == 1
        text = str(outcome.text)
        assert "verified" in text and "bits of soundness" in text and "round trip" in text


def test_a_kept_receipt_is_verified_again_by_assay_verify(desk: SimpleNamespace) -> None:
    kept = Common(out=desk.folder / "a.receipt")
    found = command(desk.url, desk.folder / "x.npz", model=desk.net, common=kept).document
    said = {"model": desk.net, "inputs": desk.folder / "x.npz", "nonce": found["nonce"]}
    assert verify(desk.folder / "a.receipt", **said).exit_code == 0
    with pytest.raises(InputError, match="leaves no receipt"):
        command(desk.url, desk.one, model=desk.net, live=True, common=kept)


def test_the_examples_in_the_documentation_run_as_they_are_written(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "client.md").read_text()
    client, embedded = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(desk.folder)
    np.savez("digits.npz", x=X)
    assert "http://127.0.0.1:8081" in client
    exec(compile(client.replace("http://127.0.0.1:8081", desk.url), "client.md", "exec"), {})
    assert capsys.readouterr().out.startswith("['class ")
    names: dict[str, Any] = {}
    exec(compile(embedded, "client.md", "exec"), names)
    assert callable(names["app"])


def test_another_network_than_the_agreed_one_is_rejected(desk: SimpleNamespace) -> None:
    for live in (False, True):
        outcome = command(desk.url, desk.one, model=desk.folder / "other.assay", live=live)
        assert outcome.exit_code == 1 and outcome.document["reason"]


def test_a_commitment_that_this_server_does_not_have_cannot_be_told(desk: SimpleNamespace) -> None:
    with pytest.raises(ServerError, match="published, not committed"):
        command(desk.url, desk.one, commitment="00" * 32)


BAD: dict[str, tuple[Callable[[SimpleNamespace], object], str]] = {
    "no picture": (lambda d: command(d.url), "name a picture"),
    "no such picture": (lambda d: command(d.url, d.folder / "no.png", model=d.net), "no.png"),
    "no picture at all": (lambda d: command(d.url, d.net, model=d.net), "cannot be read as a picture"),
    "two arrays": (lambda d: command(d.url, d.folder / "x.npz", d.one, model=d.net), "one .npz"),
    "model and commitment": (lambda d: command(d.url, d.one, model=d.net, commitment="00"), "not both"),
    "commitment not hex": (lambda d: command(d.url, d.one, commitment="xy"), "hex"),
    "no address": (lambda d: command("ftp://x", d.one), "address"),
    "no time": (lambda d: command(d.url, d.one, timeout=0), "--timeout"),
    "no such network": (lambda d: command(d.url, d.one, model=d.one), "one.png"),
    "port beyond": (lambda d: serve(d.net, port=70000), "port"),
    "port taken": (lambda d: serve(d.net, port=int(d.url.rpartition(":")[2])), "cannot listen"),
    "no host": (lambda d: serve(d.net, host="no.such.host.invalid"), "cannot listen"),
    "no batch": (lambda d: serve(d.net, batch=0), "batch must be"),
    "more than the memory": (lambda d: serve(d.net, prove=True, at_once=1 << 20, port=0), "smaller --batch"),
    "committed without proofs": (lambda d: serve(d.net, committed=True, port=0), "--prove"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments_get_one_sentence(desk: SimpleNamespace, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "run", None)  # rather an error than a server that is waited for
    call, words = BAD[what]
    with pytest.raises(AssayError, match=words) as caught:
        call(desk)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def exchange(url: str, said: bytes, then: Callable[[socket.socket], None] = lambda _: None) -> bytes:
    """Say these bytes to the server, by hand; all that it answers."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(said)
        then(connection)
        heard = b""
        try:
            while part := connection.recv(1 << 16):
                heard += part
        except OSError:  # reset, or closed by ourselves
            return heard
        return heard


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = [f"{line} HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/octet-stream", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def leaves(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def test_clients_that_lie_about_lengths_leave_or_talk_nonsense_get_a_sentence_and_the_server_lives(
    desk: SimpleNamespace,
) -> None:
    x = X.tobytes()
    claims = exchange(desk.url, request(ANSWER, f"Content-Length: {10 << 30}", body=bytes(3 << 20)))
    assert b" 413 " in claims and b"1048576 bytes" in claims
    chunked = request(ANSWER, "Transfer-Encoding: chunked") + b"200000\r\n" + bytes(0x200000) + b"\r\n0\r\n\r\n"
    assert b" 413 " in exchange(desk.url, chunked)
    assert b" 400 " in exchange(desk.url, b"\xff\xfe nonsense\r\n\r\n")
    assert b" 400 " in exchange(desk.url, request(ANSWER, "Content-Length: -5"))
    assert b" 400 " in exchange(desk.url, request(ANSWER, "X: " + "x" * 100_000))
    cut = exchange(desk.url, request(ANSWER, "Content-Length: 32", body=x[:20]), leaves)
    assert b" 200 " not in cut
    short = exchange(desk.url, request(ANSWER, "Content-Length: 16", body=x))
    assert b" 200 " in short  # one picture, as it said; what follows it is nobody's
    exchange(desk.url, request(ANSWER, "Content-Length: 32", body=x), lambda connection: connection.close())
    with socket.create_connection(desk.url.removeprefix("http://").rsplit(":", 1), 10):
        pass
    assert ask(desk.url, X, model=desk.network).labels == desk.network.predict(X).tolist()


def test_a_client_may_come_before_its_server(desk: SimpleNamespace, tmp_path: Path) -> None:
    """As in `assay serve … & assay ask …`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = []
    early = threading.Thread(target=lambda: found.append(command(f"127.0.0.1:{port}", desk.one, model=desk.net)))
    early.start()
    time.sleep(0.5)
    words = [sys.executable, "-m", "assay", "serve", str(desk.net), "--prove", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        early.join()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert found[0].exit_code == 0


def test_a_committed_network_is_served_and_asked(desk: SimpleNamespace) -> None:
    process, url = start(desk.net, "--prove", "--committed")
    commitment = ask(url, X).agreed.digest  # first use, of a commitment
    outcome = command(url, desk.one, commitment=commitment)
    assert outcome.exit_code == 0 and outcome.document["vouched_for_by"] == "commitment"
    assert "commitment" in outcome.document["verified"]
    code, document = stop(process, signal.SIGINT)
    assert code == 0 and document["network"] == commitment and document["proves"] is True


def test_without_prove_ask_says_that_nothing_can_be_verified(desk: SimpleNamespace) -> None:
    process, url = start(desk.net)
    for model in (None, desk.net):
        with pytest.raises(ServerError, match="nothing can be verified"):
            command(url, desk.one, model=model)
    assert stop(process, signal.SIGINT)[0] == 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that gives connections a fraction of a second."""
    monkeypatch.setattr(server, "HEADER_S", 0.4)
    monkeypatch.setattr(server, "CONNECTION_S", 1.5)

    async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            return
        data = b"x" * (64 << 20 if scope["path"] == "/large" else 2)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(data))]})
        await send({"type": "http.response.body", "body": data})

    with in_a_thread(server.settings(app, 1 << 20)) as url:
        yield url


@contextmanager
def in_a_thread(config: uvicorn.Config) -> Iterator[str]:
    """The address of a server within this process."""
    listening = server.listen("127.0.0.1", 0)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield server.address_of(listening)
    finally:
        running.should_exit = True
        thread.join()


def seconds(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def drip(connection: socket.socket) -> None:
    """The headers, a byte every tenth of a second."""
    try:
        for _ in range(60):
            connection.sendall(b"X")
            time.sleep(0.1)
    except OSError:
        return


def test_connections_that_say_nothing_or_little_are_ended(quick: str) -> None:
    assert b" 200 " in exchange(quick, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert seconds(lambda: exchange(quick, b"")) < 2
    assert seconds(lambda: exchange(quick, b"GET / HT", drip)) < 2
    assert seconds(lambda: exchange(quick, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", drip)) < 3


def test_a_client_that_takes_its_answer_too_slowly_is_cut_off(quick: str) -> None:
    def doze(connection: socket.socket) -> None:
        time.sleep(2.5)

    heard = exchange(quick, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", doze)
    assert 0 < len(heard) < 64 << 20


def certificate(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1 in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = builder.add_extension(address, True).add_extension(x509.BasicConstraints(True, None), True)
    signed = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    file = folder / "both.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + signed)
    return file


def test_behind_tls_the_server_must_show_who_it_is(
    desk: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path)
    config = server.settings(service(desk.network), 1 << 20)
    config.ssl_certfile = str(file)
    with in_a_thread(config) as url:
        secure = url.replace("http://", "https://")
        for live in (False, True):
            with pytest.raises(ServerError, match="does not show that it is 127"):
                ask(secure, X, model=desk.network, live=live)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        for live in (False, True):
            assert ask(secure, X, model=desk.network, live=live).labels == desk.network.predict(X).tolist()


@pytest.mark.parametrize("live", [False, True])
def test_a_server_that_shakes_no_hands_is_not_waited_for(desk: SimpleNamespace, live: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ServerError, match="did not answer within"):
            ask(url, X, model=desk.network, live=live, timeout_s=0.4)

"""The service within this process: what it answers, what it refuses, and that it stays alive."""

from __future__ import annotations

import asyncio
import io
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from assay.errors import InputError
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.files import from_bytes
from assay.proof import UnprovableError, accept_commitment, parse, verify
from assay.proof.live import verify_live
from assay.proof.serving.app import Service, service
from assay.proof.serving.bodies import pictures_in
from assay.proof.serving.limits import Limits
from assay.proof.serving.refusal import Refusal

with warnings.catch_warnings(action="ignore"):  # it works with httpx, but would rather have its successor
    from starlette.testclient import TestClient, WebSocketTestSession

NONCE = bytes(range(16))
INFER = f"/infer?nonce={NONCE.hex()}"
PLAIN = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}
LIMITS = Limits(batch=3, body_bytes=4096, body_s=0.3, live_s=5, silence_s=0.3)
X = (np.arange(32, dtype=np.uint8) * 7).reshape(2, 1, 4, 4)


@pytest.fixture(scope="module")
def network(named_network: Callable[[str], IntegerNetwork]) -> IntegerNetwork:
    return named_network("perceptron")


@pytest.fixture
def made(network: IntegerNetwork) -> Service:
    return Service(network, True, False, LIMITS)


@pytest.fixture
def client(made: Service) -> Iterator[TestClient]:
    with TestClient(made.app) as there:
        wait_until(lambda: made.warm)
        yield there


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


def png(picture: np.ndarray, mode: str = "L") -> bytes:
    blob = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(blob, "PNG")
    return blob.getvalue()


def form(*files: bytes, name: str = "image") -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, (f"{i}.png", data)) for i, data in enumerate(files)]


def test_three_kinds_of_body_get_the_same_answer_with_a_receipt_that_verifies(
    client: TestClient, network: IntegerNetwork
) -> None:
    replies = [
        client.post(INFER, files=form(png(X[0, 0]), png(X[1, 0]))),
        client.post(INFER, json={"x": X.tolist()}),
        client.post(INFER, content=X.tobytes(), headers=PLAIN),
    ]
    for reply in replies:
        assert reply.status_code == 200 and reply.headers["content-type"] == "application/vnd.assay.receipt"
        found = verify(reply.content, X, nonce=NONCE, model=network)
        assert (found.outputs == network.run(X)).all()
        assert reply.headers["server-timing"].startswith("answer;dur=") and reply.headers["assay-clamped"] == "0"
    assert len({reply.content for reply in replies}) == 1


def test_what_is_served_can_be_asked_for(client: TestClient, network: IntegerNetwork) -> None:
    said = client.get("/network").json()
    assert said["digest"] == network.digest and said["proves"] and said["weights"] == "open"
    assert said["input_shape"] == [1, 4, 4] and said["class_names"] == list(network.class_names)
    assert said["soundness_bits"] > 99 and said["limits"]["batch"] == 3
    assert from_bytes(client.get("/network.assay").content).digest == network.digest
    assert client.get("/network.commitment").status_code == 404


def test_metrics_count_what_happened(client: TestClient) -> None:
    client.post(INFER, content=X.tobytes(), headers=PLAIN)
    client.post("/infer")
    client.get("/nowhere")
    lines = client.get("/metrics").text.splitlines()
    assert 'assay_requests_total{route="/infer",status="200"} 1' in lines
    assert 'assay_requests_total{route="/infer",status="400"} 1' in lines
    assert 'assay_requests_total{route="other",status="404"} 1' in lines
    assert 'assay_answers_total{kind="receipt"} 1' in lines and "assay_pictures_total 2" in lines
    assert "assay_waiting 0" in lines and "# TYPE assay_answers_total counter" in lines


BIG = X.tobytes() * 200
REFUSED: dict[str, tuple[Callable[[TestClient], Any], int, str]] = {
    "no nonce": (lambda c: c.post("/infer", content=X.tobytes(), headers=PLAIN), 400, "nonce"),
    "nonce not hex": (lambda c: c.post("/infer?nonce=xy", content=X.tobytes(), headers=PLAIN), 400, "hex"),
    "nonce short": (lambda c: c.post("/infer?nonce=00", content=X.tobytes(), headers=PLAIN), 400, "1 bytes"),
    "no kind": (lambda c: c.post(INFER, content=X.tobytes()), 415, "no content type"),
    "another kind": (lambda c: c.post(INFER, content=b"<x/>", headers={"content-type": "text/xml"}), 415, "text/xml"),
    "zero pictures": (lambda c: c.post(INFER, content=b"", headers=PLAIN), 400, "empty"),
    "zero pictures in JSON": (lambda c: c.post(INFER, json={"x": []}), 422, "takes"),
    "zero pictures in a form": (lambda c: c.post(INFER, files=form(b"")), 422, "picture 1"),
    "half a picture": (lambda c: c.post(INFER, content=X.tobytes()[:-1], headers=PLAIN), 422, "31 bytes"),
    "another shape": (lambda c: c.post(INFER, json={"x": [[[[1, 2]]]]}), 422, "takes"),
    "another size": (lambda c: c.post(INFER, files=form(png(np.zeros((5, 4), np.uint8)))), 422, "5x4"),
    "in colour": (lambda c: c.post(INFER, files=form(png(X[0, 0], "RGB"))), 422, "in colour"),
    "out of range": (lambda c: c.post(INFER, json={"x": (X.astype(int) + 300).tolist()}), 422, "from 0 to 255"),
    "beyond 64 bits": (lambda c: c.post(INFER, json={"x": [[[[1 << 70] * 4] * 4]]}), 422, "64 bits"),
    "ragged": (lambda c: c.post(INFER, json={"x": [[[[1, 2, 3, 4]] * 3 + [[1]]]]}), 422, "rectangular"),
    "fractions": (lambda c: c.post(INFER, json={"x": [[[[0.5] * 4] * 4]]}), 400, "whole numbers"),
    "not JSON": (lambda c: c.post(INFER, content=b"{", headers=JSON), 400, "whole numbers"),
    "deep JSON": (lambda c: c.post(INFER, content=b"[" * 1000, headers=JSON), 400, "whole numbers"),
    "long JSON": (lambda c: c.post(INFER, content=b" " * 3000, headers=JSON), 413, "send fewer"),
    "more JSON": (lambda c: c.post(INFER, json={"x": np.zeros((4, 1, 4, 4), int).tolist()}), 413, "3 pictures, got 4"),
    "no picture": (lambda c: c.post(INFER, files=form(b"I am no picture")), 422, "cannot be read as a picture"),
    "another field": (lambda c: c.post(INFER, files=form(png(X[0, 0]), name="file")), 400, "`image`"),
    "no boundary": (
        lambda c: c.post(INFER, content=b"--", headers={"content-type": "multipart/form-data"}),
        400,
        "bou",
    ),
    "no form": (
        lambda c: c.post(INFER, content=b"hello", headers={"content-type": "multipart/form-data; boundary=b"}),
        400,
        "damaged",
    ),
    "a form cut short": (
        lambda c: c.post(
            INFER,
            content=b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc',
            headers={"content-type": "multipart/form-data; boundary=b"},
        ),
        400,
        "cut short",
    ),
    "many pictures": (lambda c: c.post(INFER, content=bytes(16 * 4), headers=PLAIN), 413, "3 pictures, got 4"),
    "many files": (lambda c: c.post(INFER, files=form(*[png(X[0, 0])] * 4)), 413, "3 pictures"),
    "a large body": (lambda c: c.post(INFER, content=BIG, headers=PLAIN), 413, "4096 bytes"),
    "a large body in pieces": (lambda c: c.post(INFER, content=iter([BIG]), headers=PLAIN), 413, "4096 bytes"),
    "another address": (lambda c: c.post("/infer/", content=b""), 404, "not served"),
    "another method": (lambda c: c.get(INFER), 405, "not served"),
}


def test_everything_that_does_not_fit_is_refused_in_one_sentence_and_the_next_request_is_answered(
    client: TestClient,
) -> None:
    for what, (send, status, words) in REFUSED.items():
        reply = send(client)
        assert reply.status_code == status, (what, reply.text)
        sentence = reply.json()["error"]
        assert set(reply.json()) == {"error"} and "\n" not in sentence and "Traceback" not in sentence, what
        assert any(word in sentence for word in words.split("|")), (what, sentence)
    assert client.post(INFER, content=X.tobytes(), headers=PLAIN).status_code == 200
    assert client.get("/health").json() == {"status": "ok", "running": 0, "waiting": 0}


KINDS = ("application/octet-stream", "application/json", "multipart/form-data; boundary=b", "text/plain", "")
HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
WHOLE = {
    "application/octet-stream": X.tobytes(),
    "application/json": b'{"x": [[[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 255]]]]}',
    "multipart/form-data; boundary=b": HEAD + png(X[0, 0]) + b"\r\n--b--\r\n",
}


@settings(max_examples=300)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_whatever_a_body_holds_it_is_pictures_or_refused(
    kind: str, data: st.DataObject, network: IntegerNetwork
) -> None:
    said = bytearray(WHOLE.get(kind, b"hello"))
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(said)))
        stop = data.draw(st.integers(start, min(len(said), start + 8)))
        said[start:stop] = data.draw(st.binary(max_size=8))
    try:
        pictures = pictures_in(kind, bytes(said), network.input, LIMITS)
    except Refusal as refusal:
        assert 400 <= refusal.status < 500 and "\n" not in refusal.sentence
    else:
        assert pictures.shape[1:] == (1, 4, 4) and 1 <= len(pictures) <= LIMITS.batch


def test_a_fault_of_ours_is_said_to_be_one_and_the_server_lives(made: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(made.app, raise_server_exceptions=False) as client, monkeypatch.context() as patch:
        patch.setattr("assay.proof.serving.prover.prove_run", lambda *_: 1 // 0)
        reply = client.post(INFER, content=X.tobytes(), headers=PLAIN)
        assert reply.status_code == 500 and "fault of Assay" in reply.json()["error"]
        patch.undo()
        assert client.post(INFER, content=X.tobytes(), headers=PLAIN).status_code == 200


async def speak(app: Any, messages: list[dict[str, Any]], *headers: tuple[str, str], then: float = 0) -> list[Any]:
    """What the application sends back for one POST to /infer, said by hand, its client gone `then` seconds later."""
    told = iter(messages)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        message = next(told, None)
        if message is None:
            await asyncio.sleep(then)
            return {"type": "http.disconnect"}
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/infer",
        "query_string": INFER.partition("?")[2].encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    await app(scope, receive, send)
    return sent


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_claim_of_ten_gigabytes_is_refused_before_a_byte_is_read(made: Service) -> None:
    sent = asyncio.run(speak(made.app, [], ("content-length", str(10 << 30)), *PLAIN.items()))
    assert sent[0]["status"] == 413 and b"4096 bytes" in sent[1]["body"]


def test_a_refused_client_may_finish_its_sentence_so_that_it_hears_ours(made: Service) -> None:
    """A connection that is closed on unread bytes is reset."""
    claim = ("content-length", str(10 << 30))
    messages = [body(bytes(1000), more=True)] * 20
    sent = asyncio.run(speak(made.app, messages, claim, *PLAIN.items()))
    assert sent[1]["more_body"] and sent[2]["body"] == b""


def test_a_body_that_does_not_come_is_not_waited_for(made: Service) -> None:
    sent = asyncio.run(speak(made.app, [body(b"half", more=True)], *PLAIN.items(), then=1.5))
    assert sent[0]["status"] == 408 and b"did not come whole" in sent[1]["body"]


def test_a_client_that_leaves_in_the_middle_of_its_request_is_forgotten(made: Service) -> None:
    asyncio.run(speak(made.app, [body(b"half", more=True)], *PLAIN.items()))
    assert "assay_abandoned_total 1" in made.metrics.text({})


def hold(made: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[str]]:
    """Proofs that stop at every layer until the event is set, and a list of what became of them."""
    go_on, ends = threading.Event(), []

    def prove(network: Any, values: Any, nonce: Any, hidden: Any, tick: Callable[..., None]) -> Any:
        try:
            while not go_on.wait(0.01):
                tick("a layer", 0, 1)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise
        ends.append("proven")
        return parse(RECEIPT[0])

    monkeypatch.setattr("assay.proof.serving.prover.prove_run", prove)
    return go_on, ends


RECEIPT: list[bytes] = []


@pytest.fixture(scope="module", autouse=True)
def _one_receipt(network: IntegerNetwork) -> None:
    from assay.proof import prove

    RECEIPT.append(prove(network, X, nonce=NONCE)[1].to_bytes())


def test_when_the_client_leaves_the_proof_is_given_up(made: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    _, ends = hold(made, monkeypatch)
    asyncio.run(speak(made.app, [body(X.tobytes())], *PLAIN.items(), then=0.2))
    assert ends == ["Gone"]
    assert made.turns.running == 0 and "assay_abandoned_total 1" in made.metrics.text({})


def test_a_full_line_sends_clients_away_while_health_is_answered(
    network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Service(network, True, False, Limits(waiting=1))
    with TestClient(made.app) as client:
        wait_until(lambda: made.warm)
        go_on, ends = hold(made, monkeypatch)
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(client.post(INFER, content=X.tobytes(), headers=PLAIN).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: (made.turns.running, made.turns.waiting) == (1, 1))
        assert client.get("/health").json() == {"status": "ok", "running": 1, "waiting": 1}
        reply = client.post(INFER, content=X.tobytes(), headers=PLAIN)
        assert reply.status_code == 503 and reply.headers["retry-after"] == "5" and "ask again" in reply.json()["error"]
        go_on.set()
        for thread in threads:
            thread.join()
        assert statuses == [200, 200] and ends == ["proven", "proven"]


def test_a_turn_that_does_not_come_is_not_waited_for_for_ever(
    network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Service(network, True, False, Limits(waiting_s=0.1))
    with TestClient(made.app) as client:
        wait_until(lambda: made.warm)
        go_on, _ = hold(made, monkeypatch)
        first = threading.Thread(target=lambda: client.post(INFER, content=X.tobytes(), headers=PLAIN))
        first.start()
        wait_until(lambda: made.turns.running == 1)
        reply = client.post(INFER, content=X.tobytes(), headers=PLAIN)
        assert reply.status_code == 503 and "within 0.1 s" in reply.json()["error"]
        go_on.set()
        first.join()


def test_without_memory_the_server_says_so_and_lives(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("assay.proof.serving.prover.prove_run", prove)
        reply = client.post(INFER, content=X.tobytes(), headers=PLAIN)
    assert reply.status_code == 503 and "memory" in reply.json()["error"]
    assert client.post(INFER, content=X.tobytes(), headers=PLAIN).status_code == 200


def test_until_it_is_warm_the_server_says_so(network: IntegerNetwork) -> None:
    made = Service(network, True, False, LIMITS)
    reply = TestClient(made.app).get("/health")  # without the server's life, nothing is warmed up
    assert reply.status_code == 503 and reply.json()["status"] == "warming up"


def test_without_prove_there_are_answers_alone_and_they_say_so(network: IntegerNetwork) -> None:
    with TestClient(service(network, prove=False)) as client:
        reply = client.post("/infer", content=X.tobytes(), headers=PLAIN).json()
        assert reply == {"labels": network.predict(X).tolist(), "outputs": network.run(X).tolist(), "proof": None}
        assert client.get("/network").json()["proves"] is False
        with client.websocket_connect("/live") as socket:
            assert "--prove" in socket.receive_json()["error"]


def test_a_committed_network_keeps_its_weights_and_proves_about_its_commitment(network: IntegerNetwork) -> None:
    with TestClient(service(network, committed=True)) as client:
        commitment = accept_commitment(client.get("/network.commitment").content)
        assert client.get("/network").json()["digest"] == commitment.hex()
        refused = client.get("/network.assay")
        assert refused.status_code == 404 and "committed" in refused.json()["error"]
        reply = client.post(INFER, content=X.tobytes(), headers=PLAIN)
        assert verify(reply.content, X, nonce=NONCE, commitment=commitment).labels == network.predict(X).tolist()
        with client.websocket_connect("/live") as socket:
            socket.send_bytes(X.tobytes())
            assert verify_live(Talk(socket), X, commitment=commitment).outputs.tolist() == network.run(X).tolist()


def test_what_cannot_be_served_is_refused_when_it_is_made(network: IntegerNetwork) -> None:
    with pytest.raises(InputError, match="--prove"):
        service(network, prove=False, committed=True)
    with pytest.raises(InputError, match="batch must be at least 1"):
        Limits(batch=0)
    with pytest.raises(InputError, match="body_s"):
        Limits(body_s=0)
    wide = IntegerNetwork(
        (*network.nodes[:-1], g.Linear(input=3, weight=np.full((3, 6), 200), bias=np.zeros(3, int))),
        network.class_names,
        1.0,
    )
    with pytest.raises(UnprovableError, match="8 bits"):
        service(wide, committed=True)


class Talk:
    """The client's end of `/live` as a `Stream`."""

    def __init__(self, socket: WebSocketTestSession) -> None:
        self._socket, self._held = socket, b""

    def send(self, data: bytes) -> None:
        self._socket.send_bytes(data)

    def receive(self, count: int) -> bytes:
        while len(self._held) < count:
            self._held += self._socket.receive_bytes()
        data, self._held = self._held[:count], self._held[count:]
        return data


def test_an_interactive_proof_convinces(client: TestClient, network: IntegerNetwork) -> None:
    with client.websocket_connect("/live") as socket:
        socket.send_bytes(X.tobytes())
        found = verify_live(Talk(socket), X, model=network)
        assert found.outputs.tolist() == network.run(X).tolist()
        with pytest.raises(WebSocketDisconnect) as end:
            socket.receive_bytes()
        assert end.value.code == 1000
    assert 'assay_answers_total{kind="live"} 1' in client.get("/metrics").text


def last_words(socket: WebSocketTestSession) -> str:
    """The sentence with which the server ends a conversation, whatever it has said of the proof before."""
    while True:
        message = socket.receive()
        assert message["type"] == "websocket.send"
        if message.get("text"):
            return str(message["text"])


def test_clients_that_misbehave_in_a_conversation_are_left(client: TestClient, made: Service) -> None:
    def silent(socket: WebSocketTestSession) -> None:
        assert "silent" in last_words(socket)

    def silent_later(socket: WebSocketTestSession) -> None:
        socket.send_bytes(X.tobytes())
        assert "silent" in last_words(socket)

    def gone(socket: WebSocketTestSession) -> None:
        socket.send_bytes(X.tobytes())
        socket.receive_bytes()

    def chatty(socket: WebSocketTestSession) -> None:
        socket.send_bytes(X.tobytes())
        socket.send_bytes(bytes(1 << 18))
        assert "error" in last_words(socket)

    def nonsense(socket: WebSocketTestSession) -> None:
        socket.send_bytes(X.tobytes())
        socket.send_bytes(b"\xff" * 64)  # no element of the field
        assert "canonical" in last_words(socket)

    def wordy(socket: WebSocketTestSession) -> None:
        socket.send_text("hello")
        assert "error" in last_words(socket)

    def half(socket: WebSocketTestSession) -> None:
        socket.send_bytes(X.tobytes()[:-1])
        assert "31 bytes" in last_words(socket)

    for misbehave in (silent, silent_later, gone, chatty, nonsense, wordy, half):
        with client.websocket_connect("/live") as socket:
            misbehave(socket)
        wait_until(lambda: made.talks.running == 0, 5)
    assert client.post(INFER, content=X.tobytes(), headers=PLAIN).status_code == 200


def test_more_conversations_than_allowed_are_sent_away(client: TestClient) -> None:
    talk = client.websocket_connect
    with talk("/live"), talk("/live"), talk("/live") as third:
        assert "ask again" in last_words(third)
        with pytest.raises(WebSocketDisconnect) as end:
            third.receive_bytes()
        assert end.value.code == 1013

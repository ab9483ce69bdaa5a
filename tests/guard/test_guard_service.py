"""The service as a client meets it: one answer to each request, whatever it is."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assay.errors import InputError
from assay.guard import Client, Guard, GuardUnreachable, Stream, read_token, send, wait_until
from guard_task import TARGET, TOKEN, closed_stores, guard_on, pictures, served, stamped  # noqa: F401


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    return guard_on(tmp_path_factory.mktemp("service") / "guard.db", body_bytes=100_000, body_s=1.0, enough=1000)


@pytest.fixture(scope="module")
def url(guard: Guard) -> Iterator[str]:
    with served(guard) as address:
        wait_until(address, lambda health: bool(health["guarded"]), 60, "waiting")
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as connection:
        yield connection


def asked(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_picture_gets_a_label_scores_and_the_version_that_gave_them(client: Client) -> None:
    data = pictures(40, 9)
    replies = [client.predict(x) for x in data.x]
    assert {r.status for r in replies} == {200} and {r.version for r in replies} == {1}
    assert np.mean([r.label == y for r, y in zip(replies, data.y, strict=True)]) > 0.85
    status, said = client.ask("POST", "/predict", data.x[0].tobytes(), content_type="application/octet-stream")
    assert status == 200 and set(said) == {"label", "class_name", "scores", "quarantined", "version"}
    assert abs(sum(said["scores"]) - 1) < 1e-3 and len(said["scores"]) == 4


def test_a_quarantined_picture_is_in_the_store_when_the_answer_comes(guard: Guard, client: Client) -> None:
    data = pictures(60, 9)
    bad = stamped(data.x[data.y != TARGET])
    for x in bad[:20]:
        if client.predict(x).quarantined:
            assert np.array_equal(guard.store.recent(1)[0].x, x)


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000000\r\n\r\n"
        )
        answer = line.recv(4096)
    assert b" 413 " in answer.split(b"\r\n")[0]


def test_a_body_that_grows_too_large_is_cut_off(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(2000):
                line.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            pass
        else:
            pytest.fail("8 MB were taken where 0.1 MB are allowed")


def test_a_client_that_does_not_go_on_is_told_so_and_others_are_answered_meanwhile(url: str, client: Client) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 500\r\n\r\nabc")
        assert client.predict(pictures(1, 1).x[0]).status == 200
        assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nothing", "GET", 404), ("/predict", "GET", 405), ("/versions", "GET", 401), ("/rollback", "POST", 401),
     ("/versions/1/serve", "POST", 401), ("/log", "GET", 401), ("/parts/log", "GET", 401), ("/", "GET", 401)],
)  # fmt: skip
def test_nothing_but_predictions_and_health_is_open(url: str, path: str, method: str, status: int) -> None:
    assert asked(url + path, method, b"" if method == "POST" else None)[0] == status


def test_a_wrong_token_and_a_cookie_from_a_foreign_page_give_no_orders(url: str) -> None:
    assert asked(url + "/rollback", "POST", b"", Authorization="Bearer wrong")[0] == 401
    assert asked(url + "/rollback", "POST", b"", Cookie=f"assay-guard={TOKEN}")[0] == 401
    assert asked(url + "/rollback", "POST", b"", Authorization="Bearer \xe4")[0] == 401


def test_with_the_token_versions_can_be_seen_and_chosen(url: str, client: Client) -> None:
    key = {"Authorization": f"Bearer {TOKEN}"}
    document = json.loads(asked(url + "/versions", **key)[1])
    assert document["serving"] == 1 and document["versions"][0]["kind"] == "pre-treated"
    assert asked(url + "/versions/99/serve", "POST", b"", **key)[0] == 404
    assert asked(url + "/versions/x/serve", "POST", b"", **key)[0] == 404
    assert asked(url + "/rollback", "POST", b"", **key)[0] == 200
    assert client.predict(pictures(1, 1).x[0]).version == 0
    assert asked(url + "/versions/1/serve", "POST", b"", **key)[0] == 200
    assert asked(url + "/automatic", "POST", b"", **key)[0] == 200
    assert json.loads(asked(url + "/log", **key)[1])["intact"] is True


def test_metrics_count_what_was_answered(url: str, client: Client) -> None:
    def count() -> int:
        lines = asked(url + "/metrics")[1].decode().splitlines()
        return sum(int(n.split()[-1]) for n in lines if n.startswith("assay_guard_predictions_total{"))

    before = count()
    for x in pictures(5, 1).x:
        client.predict(x)
    assert count() == before + 5


def test_a_full_disk_is_said_and_the_service_goes_on(guard: Guard, client: Client) -> None:
    data = pictures(200, 9)
    pages = guard.store.rows("PRAGMA page_count")[0][0]
    guard.store.rows(f"PRAGMA max_page_count = {pages}")
    try:
        replies = [client.predict(x) for x in stamped(data.x[data.y != TARGET])]
        assert {r.status for r in replies} <= {200, 507} and 507 in {r.status for r in replies}
        assert not any(r.quarantined for r in replies[-20:])  # what is not kept is not said to be
        assert "make room" in next(r.error for r in replies if r.status == 507)
    finally:
        guard.store.rows("PRAGMA max_page_count = 1000000")
    assert client.predict(data.x[0]).status == 200


def test_a_stream_is_told_in_shares(url: str) -> None:
    data = pictures(200, 9)
    bad = np.arange(200) % 5 == 0
    bad &= data.y != TARGET
    x = np.where(bad[:, None, None, None], stamped(data.x), data.x)
    tally = send(url, Stream(x, data.y, bad, np.full(200, TARGET)), connections=4)
    assert tally.failed == 0 and tally.versions == {1: 200}
    assert tally.quarantined_triggered.n == bad.sum() and tally.quarantined_triggered.value > 0.7
    assert tally.clean_accuracy.value > 0.85
    assert 0 < tally.latency(0.5) < 5


def test_a_stream_to_nowhere_is_one_sentence() -> None:
    data = pictures(4, 9)
    with pytest.raises(GuardUnreachable, match="does not answer"):
        send("http://127.0.0.1:9", Stream(data.x, data.y, data.y < 0, data.y), connections=2)
    with pytest.raises(InputError, match="--url"):
        Client("nonsense")


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSAY_GUARD_TOKEN", raising=False)
    token = read_token(tmp_path / "guard.db")
    assert len(token) >= 32 and read_token(tmp_path / "guard.db") == token
    assert (tmp_path / "guard.db.token").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("ASSAY_GUARD_TOKEN", "short")
    with pytest.raises(InputError, match="16"):
        read_token(tmp_path / "guard.db")

"""A peer that dies, stalls, or says something else at each message in turn: a clean error here, and others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import relay as r
from relay import Relay

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.private import Limits, ProtocolError, Server, connect


def tiny() -> IntegerNetwork:
    """One of each kind of step, small enough that a session takes a moment."""
    rng = np.random.default_rng(3)
    draw = lambda *shape: rng.integers(-20, 21, shape)  # noqa: E731
    nodes = (
        g.Input((1, 2, 2)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=draw(4, 4), bias=draw(4)),
        g.Requantise(input=2, shift=5, low=-128, high=127, start=0, stop=4),
        g.Linear(input=3, weight=draw(2, 4), bias=draw(2)),
    )
    return IntegerNetwork(nodes, ("a", "b"), 1.0)


NETWORK = tiny()
X = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2) * 80


@pytest.fixture(scope="module")
def log() -> list[str]:
    return []


@pytest.fixture(scope="module")
def server(log: list[str]) -> Iterator[Server]:
    with Server(NETWORK, limits=Limits(clients=4, message_s=20, idle_s=20), log=log.append) as running:
        yield running


def ask(port: int, timeout_s: float = 20, picture: np.ndarray = X) -> np.ndarray:
    with connect(f"127.0.0.1:{port}", insecure_plaintext=True, timeout_s=timeout_s) as session:
        return session.infer(picture)


@pytest.fixture(scope="module")
def conversation(server: Server) -> list[r.Frame]:
    """All frames of an honest session."""
    with Relay(server.port) as between:
        assert np.array_equal(ask(between.port), NETWORK.run(X))
    return between.frames


def places(conversation: list[r.Frame], step: int = 1) -> list[tuple[str, int]]:
    """Every `step`-th message: its direction, and its number in it."""
    counts = {"up": 0, "down": 0}
    found = []
    for direction, _ in conversation:
        found.append((direction, counts[direction]))
        counts[direction] += 1
    return found[::step]


every = lambda step: pytest.mark.parametrize(  # noqa: E731
    "step", [step, pytest.param(1, marks=pytest.mark.slow)]
)
"""Every so many messages; every single one in the slow run."""


def alive(server: Server) -> None:
    assert np.array_equal(ask(server.port), NETWORK.run(X)), "the server answers others as before"


@pytest.mark.parametrize("tamper", [r.cut, r.cut_within])
@every(4)
def test_a_peer_that_dies_at_any_message_harms_nobody_else(
    server: Server, conversation: list[r.Frame], tamper: r.Tamper, step: int
) -> None:
    last = [len([d for d, _ in conversation if d == direction]) - 1 for direction in ("up", "down")]
    for direction, at in places(conversation, step):
        if (direction, at) == ("up", last[0]):
            continue  # the goodbye: there is nothing left to go wrong
        with Relay(server.port, direction, at, tamper) as between, pytest.raises(ProtocolError):
            ask(between.port)
    alive(server)


@pytest.mark.parametrize("tamper", [r.dropped, r.replayed, r.renumbered, r.oversized, r.longer, r.shorter])
@every(12)
def test_frames_that_are_lost_repeated_reordered_or_of_another_size_end_the_session(
    server: Server, conversation: list[r.Frame], tamper: r.Tamper, step: int
) -> None:
    ups = len([d for d, _ in conversation if d == "up"])
    for direction, at in places(conversation, step):
        if (direction, at) == ("up", ups - 1) or (tamper is r.replayed and (direction, at) == ("down", 0)):
            continue
        with Relay(server.port, direction, at, tamper) as between:
            try:
                answer = ask(between.port, 4 if tamper is r.dropped else 20)
            except ProtocolError:
                continue
        # A frame said twice at the very end may come too late to be noticed.
        assert tamper is r.replayed
        assert np.array_equal(answer, NETWORK.run(X))
    alive(server)


@pytest.mark.parametrize("tamper", [r.garbage, r.ones])
@every(4)
def test_nonsense_of_the_right_size_gives_an_error_or_a_wrong_answer_but_no_crash(
    server: Server, conversation: list[r.Frame], log: list[str], tamper: Callable[[bytes], bytes], step: int
) -> None:
    before = len(log)
    for direction, at in places(conversation, step):
        with Relay(server.port, direction, at, tamper) as between:
            try:
                answer = ask(between.port)
            except ProtocolError:
                continue
        assert answer.shape == (1, 2)
    alive(server)
    assert not [line for line in log[before:] if "fault of the server" in line]


@every(15)
def test_a_peer_that_stalls_is_given_up(conversation: list[r.Frame], step: int) -> None:
    with Server(NETWORK, limits=Limits(message_s=1.5, idle_s=1.5)) as impatient:
        for direction, at in places(conversation, step):
            with Relay(impatient.port, direction, at, r.stall) as between, pytest.raises(ProtocolError):
                ask(between.port, 1.5)
        alive(impatient)


def test_the_server_sees_the_same_pattern_for_every_picture(server: Server) -> None:
    seen = []
    for picture in (np.zeros_like(X), np.full_like(X, 255), X):
        with Relay(server.port) as between, connect(f"127.0.0.1:{between.port}", insecure_plaintext=True) as session:
            session.infer(picture)
        seen.append([(direction, len(frame)) for direction, frame in between.frames])
    ups = [[size for direction, size in each if direction == "up"] for each in seen]
    downs = [[size for direction, size in each if direction == "down"] for each in seen]
    assert ups[0] == ups[1] == ups[2]
    assert downs[0] == downs[1] == downs[2]


def test_nothing_in_the_log_depends_on_a_picture() -> None:
    told = []
    for picture in (np.zeros_like(X), np.full_like(X, 255)):
        lines: list[str] = []
        with Server(NETWORK, log=lines.append) as server:
            assert ask(server.port, picture=picture).shape == (1, 2)
        told.append(lines)
    assert told[0] == told[1] == ["127.0.0.1: connected", "127.0.0.1: prepared 1 x 1", "127.0.0.1: answered 1",
                                  "127.0.0.1: gone"]  # fmt: skip


def test_the_client_is_never_sent_a_weight() -> None:
    """All that comes down, searched for the weights in every width they could have."""
    rng = np.random.default_rng(8)
    weight = rng.integers(-127, 128, (32, 64))
    nodes = (
        g.Input((1, 8, 8)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=weight, bias=rng.integers(-999, 999, 32)),
        g.Requantise(input=2, shift=8, low=0, high=255, start=0, stop=32),
        g.Linear(input=3, weight=rng.integers(-127, 128, (2, 32)), bias=np.zeros(2, np.int64)),
    )
    network = IntegerNetwork(nodes, ("a", "b"), 1.0)
    x = rng.integers(0, 256, (2, 1, 8, 8)).astype(np.uint8)
    with Server(network) as server, Relay(server.port) as between:
        with connect(f"127.0.0.1:{between.port}", insecure_plaintext=True) as session:
            assert np.array_equal(session.infer(x), network.run(x))
        down = b"".join(frame for direction, frame in between.frames if direction == "down")
    for row in (*weight[:, :12], *weight.T[:, :12], nodes[2].bias[:6]):
        for width in (np.int8, np.int16, np.int32, np.int64, np.float32, np.float64):
            assert row.astype(width).tobytes() not in down
        assert str(row.tolist())[1:-1].encode() not in down
        assert str(row.tolist())[1:-1].replace(" ", "").encode() not in down

"""Frames that the protocol does not have: each ends the session with a ProtocolError, and takes no memory first."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joined import joined

from assay.private.channel import ProtocolError
from assay.private.transport import FRAME, Kind, PlainWire, SocketChannel


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


@contextmanager
def victim(timeout_s: float = 5.0) -> Iterator[tuple[socket.socket, SocketChannel]]:
    """The attacker's socket, and the channel that reads from it."""
    attacker, theirs = joined()
    channel = SocketChannel(PlainWire(theirs), timeout_s)
    try:
        yield attacker, channel
    finally:
        attacker.close()
        channel.close(flush=False)


def frame(body: bytes, number: int = 0, kind: int = Kind.DATA) -> bytes:
    return FRAME.pack(len(body), number, kind) + body


def refused(said: bytes, hear: Callable[[SocketChannel], object], match: str, close: bool = False) -> None:
    with victim() as (attacker, channel):
        attacker.sendall(said)
        if close:
            attacker.shutdown(socket.SHUT_WR)
        with pytest.raises(ProtocolError, match=match):
            hear(channel)


DATA = lambda channel: channel.receive(8)  # noqa: E731
NOTE = lambda channel: channel.hear(Note)  # noqa: E731


def test_an_honest_frame_is_read() -> None:
    with victim() as (attacker, channel):
        attacker.sendall(frame(b"12345678") + frame(b'{"text":"x"}', 1, Kind.CONTROL))
        assert channel.receive(8).tobytes() == b"12345678"
        assert channel.hear(Note) == Note("x")


def test_a_frame_of_another_size_is_refused() -> None:
    refused(frame(b"1234567"), DATA, "expected a message of 8 bytes, got 7")
    refused(frame(b"123456789"), DATA, "expected a message of 8 bytes, got 9")


def test_a_frame_that_claims_four_gigabytes_takes_none() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind, hear in ((Kind.DATA, DATA), (Kind.CONTROL, NOTE), (Kind.COMPLAINT, DATA)):
        refused(FRAME.pack(0xFFFFFFFF, 0, kind), hear, "expected a message")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_replayed_frame_is_refused() -> None:
    with victim() as (attacker, channel):
        attacker.sendall(2 * frame(b"12345678"))
        channel.receive(8)
        with pytest.raises(ProtocolError, match="expected message 1, got 0"):
            channel.receive(8)


def test_frames_out_of_order_or_with_one_missing_are_refused() -> None:
    refused(frame(b"12345678", 1) + frame(b"12345678", 0), DATA, "expected message 0, got 1")
    refused(frame(b"12345678", 7), DATA, "lost, repeated or out of order")


def test_a_frame_of_another_kind_is_refused() -> None:
    refused(frame(b"12345678", 0, Kind.CONTROL), DATA, "expected a message of kind 0, got 1")
    refused(frame(b'{"text":"x"}'), NOTE, "expected a message of kind 1, got 0")
    refused(frame(b"12345678", 0, 200), DATA, "got 200")


def test_a_truncated_frame_is_refused() -> None:
    whole = frame(b"12345678")
    for cut in range(len(whole)):
        refused(whole[:cut], DATA, "the other party is gone", close=True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"text":1}',
        b'{"text":"x","more":1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"text":"\\ud8',
    ],
)
def test_json_of_another_form_is_refused(body: bytes) -> None:
    refused(frame(body, 0, Kind.CONTROL), NOTE, "not understood here")


@given(st.binary(min_size=9, max_size=200))
@settings(max_examples=60, deadline=None)
def test_random_bytes_never_do_anything_but_end_the_session(noise: bytes) -> None:
    for hear in (DATA, NOTE):
        with victim(2.0) as (attacker, channel):
            attacker.sendall(noise)
            attacker.shutdown(socket.SHUT_WR)
            with pytest.raises(ProtocolError):
                for _ in range(20):
                    hear(channel)


def test_a_party_that_says_nothing_or_trickles_is_not_waited_for() -> None:
    begun = time.monotonic()
    with victim(timeout_s=0.3) as (attacker, channel):
        with pytest.raises(ProtocolError, match=r"said nothing for 0\.3 s"):
            channel.receive(8)
        attacker.sendall(frame(b"")[:5])
        with pytest.raises(ProtocolError, match="said nothing"):
            channel.receive(8)
    assert time.monotonic() - begun < 3


def test_a_complaint_is_shown_as_one_printable_sentence() -> None:
    said = b"no\x1b[2J way\n" + b"x" * 300
    with victim() as (attacker, channel):
        attacker.sendall(frame(said, 0, Kind.COMPLAINT))
        with pytest.raises(ProtocolError, match="ended the session") as error:
            channel.receive(8)
    assert str(error.value).isprintable()
    refused(frame(b"x" * 501, 0, Kind.COMPLAINT), DATA, "expected a message of kind 0")


def test_sending_to_a_party_that_is_gone_is_a_protocol_error() -> None:
    with victim() as (attacker, channel):
        attacker.close()
        with pytest.raises(ProtocolError, match="gone"):
            for _ in range(200):
                channel.send(np.zeros(1 << 16, np.uint8))
                time.sleep(0.01)


def test_a_peer_that_asks_and_does_not_read_takes_no_more_memory_than_may_wait() -> None:
    attacker, theirs = joined()
    channel = SocketChannel(PlainWire(theirs), 20, backlog=1 << 20)
    answers, reply = 400, np.zeros(1 << 16, np.uint8)
    sent: list[int] = []

    def answer() -> None:
        for number in range(answers):
            channel.receive(8)
            channel.send(reply)
            sent.append(number)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    attacker.sendall(b"".join(frame(b"12345678", number) for number in range(answers)))
    before = -1
    while len(sent) != before:  # until nothing moves
        before = len(sent)
        time.sleep(0.5)
    assert channel._unsent <= (1 << 20) + 2 * reply.nbytes
    assert len(sent) < answers, "what the kernel's buffers hold and what may wait is less than all"
    left = answers * (FRAME.size + reply.nbytes)
    while left:
        left -= len(attacker.recv(1 << 20))
    thread.join(20)
    assert len(sent) == answers
    attacker.close()
    channel.close(flush=False)


def test_a_peer_that_is_gone_but_goes_on_talking_holds_nobody() -> None:
    with victim() as (attacker, channel):
        channel._broken = TimeoutError("it stopped reading")
        over = threading.Event()

        def talk() -> None:
            with suppress(OSError):
                while not over.is_set():
                    attacker.sendall(frame(b"x"))
                    time.sleep(0.01)

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(ProtocolError, match="is gone"):
            channel.send(np.zeros(1, np.uint8))
        over.set()
        thread.join(20)
        assert time.monotonic() - begun < 15


def test_what_another_party_writes_is_shown_without_what_steers_a_terminal() -> None:
    with victim() as (attacker, channel):
        attacker.sendall(frame(b'{"x\\u001b[2J\\nassay: done":1}', 0, Kind.CONTROL))
        with pytest.raises(ProtocolError, match="not understood here") as refused_:
            channel.hear(Note)
        assert str(refused_.value).isprintable()

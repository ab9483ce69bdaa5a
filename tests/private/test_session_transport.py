"""Frames over sockets, plain and encrypted: whole, in order, in both directions at once, counted to the byte."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from socket_pairs import both, plain_channels, tls_channels

from assay.errors import InputError
from assay.private.channel import ProtocolError
from assay.private.keys import make_keys
from assay.private.tls import is_loopback
from assay.private.transport import AT_ONCE, FRAME, SocketChannel


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder)
    return folder


@pytest.fixture(params=["plain", "tls"])
def channels(request: pytest.FixtureRequest, keys: Path) -> Iterator[tuple[SocketChannel, SocketChannel]]:
    ends = plain_channels() if request.param == "plain" else tls_channels(keys)
    yield ends
    for end in ends:
        end.close()


Ends = tuple[SocketChannel, SocketChannel]


def test_messages_of_all_sizes_arrive_as_they_were_sent(channels: Ends) -> None:
    one, other = channels
    messages = [np.random.default_rng(n).integers(0, 256, n, np.uint8) for n in (0, 1, 9, 16384, 1 << 18, 3_000_001)]
    for message in messages:
        one.send(message)
    for message in messages:
        assert np.array_equal(other.receive(message.nbytes), message)


def test_both_may_send_more_than_any_buffer_holds_before_either_reads(channels: Ends) -> None:
    much = np.zeros(1 << 25, np.uint8)

    def talk(end: SocketChannel) -> int:
        end.send(much)
        return end.receive(much.nbytes).nbytes

    assert both(*(lambda end=end: talk(end) for end in channels)) == [much.nbytes] * 2


def test_short_messages_do_not_overtake_long_ones_nor_wait_for_a_reader(channels: Ends) -> None:
    rng = np.random.default_rng(3)
    sizes = [AT_ONCE // 2, 7, 3 * AT_ONCE, 1, 0, AT_ONCE - 9, AT_ONCE + 1] * 60  # far more than sockets hold
    messages = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    for end in channels:
        for message in messages:
            end.send(message)
    for end in channels:
        for message in messages:
            assert np.array_equal(end.receive(message.nbytes), message)


def test_who_sends_short_messages_hears_why_the_other_party_left(channels: Ends) -> None:
    server, client = channels
    server.complain("enough")
    server.close()
    with pytest.raises(ProtocolError, match="enough"):
        for _ in range(1000):
            client.send(np.zeros(8, np.uint8))
            time.sleep(0.001)


def test_bytes_rounds_and_messages_are_counted_by_part_with_the_frames_own(channels: Ends) -> None:
    one, other = channels
    with one.part("a"):
        one.send(np.zeros(100, np.uint8))
    other.receive(100)
    other.send(np.zeros(10, np.uint8))
    other.send(np.zeros(20, np.uint8))
    with one.part("b"):
        one.receive(10)
        one.receive(20)
    a, b = one.ledger["a"], one.ledger["b"]
    assert (a.sent, a.received, a.rounds, a.messages) == (FRAME.size + 100, 0, 0, 1)
    assert (b.sent, b.received, b.rounds, b.messages) == (0, 2 * FRAME.size + 30, 1, 2)
    assert b.seconds > 0


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


def test_a_note_in_json_is_heard(channels: Ends) -> None:
    one, other = channels
    one.say(Note("grüezi"))
    assert other.hear(Note) == Note("grüezi")


def test_what_was_said_before_closing_still_arrives(channels: Ends) -> None:
    one, other = channels
    one.send(np.arange(100_000, dtype=np.uint32))
    one.close()
    assert other.receive(400_000).view(np.uint32)[-1] == 99_999


def test_keys_are_readable_by_their_owner_alone_and_never_written_over(tmp_path: Path) -> None:
    files = make_keys(tmp_path / "keys", hosts=["models.example", "10.0.0.7"], clients=["ann", "bob"])
    names = {"ca.pem", "server.pem", "server.key", "ann.pem", "ann.key", "bob.pem", "bob.key"}
    assert {f.name for f in files} == names == {f.name for f in (tmp_path / "keys").iterdir()}
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    with pytest.raises(InputError, match="already holds"):
        make_keys(tmp_path / "keys")


@pytest.mark.parametrize("names", [["../x"], ["ca"], ["a", "a"], ["server"], [""]])
def test_a_client_is_called_by_a_plain_name(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different names"):
        make_keys(tmp_path, clients=names)


@pytest.mark.parametrize(
    ("host", "near"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False),
     ("10.0.0.1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_is_loopback(host: str, near: bool) -> None:
    assert is_loopback(host) is near

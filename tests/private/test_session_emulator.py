"""A link that is pretended takes the time that it would take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from assay.errors import InputError
from assay.private.emulator import Emulator, Link, parse_link


@pytest.mark.parametrize(
    ("text", "bits", "seconds"),
    [("lan", 1e9, 0.3e-3), ("wan", 1e8, 40e-3), ("100Mbps,40ms", 1e8, 0.04), ("2.5gbps, 0.1 ms", 2.5e9, 1e-4)],
)
def test_a_network_is_said_by_name_or_by_bandwidth_and_round_trip(text: str, bits: float, seconds: float) -> None:
    link = parse_link(text)
    assert (link.bits_per_s, link.round_trip_s) == pytest.approx((bits, seconds))


@pytest.mark.parametrize(
    "text", ["", "moon", "100Mbps", "40ms", "0Mbps,1ms", "1.2.3Mbps,1ms", "1Mbps,-1ms", "1Mbps,99999ms"]
)
def test_another_network_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_link(text)


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Says back what it hears."""

    def serve(listener: socket.socket) -> None:
        try:
            while True:
                caller, _ = listener.accept()
                with caller:
                    while data := caller.recv(1 << 16):
                        caller.sendall(data)
        except OSError:
            return

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,), daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_a_round_takes_the_round_trip_time(echo: tuple[str, int]) -> None:
    with Emulator(echo, Link(1e9, 0.05)) as link, socket.create_connection(("127.0.0.1", link.port)) as caller:
        begun = time.monotonic()
        for _ in range(5):
            caller.sendall(b"x")
            assert caller.recv(1) == b"x"
        assert 0.25 <= time.monotonic() - begun < 0.5


def test_many_bytes_take_what_the_bandwidth_allows_in_both_directions_at_once(echo: tuple[str, int]) -> None:
    size = 1 << 20
    with (
        Emulator(echo, Link(8 * size / 0.4, 0.01)) as link,
        socket.create_connection(("127.0.0.1", link.port)) as caller,
    ):
        begun = time.monotonic()
        thread = threading.Thread(target=caller.sendall, args=(bytes(size),))
        thread.start()
        left = size
        while left:
            left -= len(caller.recv(1 << 16))
        thread.join()
        assert 0.4 <= time.monotonic() - begun < 0.7


def test_when_one_side_leaves_the_other_hears_of_it(echo: tuple[str, int]) -> None:
    with Emulator(echo, Link(1e9, 0.01)) as link:
        caller = socket.create_connection(("127.0.0.1", link.port))
        caller.shutdown(socket.SHUT_WR)
        caller.settimeout(5)
        assert caller.recv(1) == b""
        caller.close()

"""Client and server: the same integers as in the clear, for every operation; material by number; many clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_networks import NETWORKS, pictures
from socket_pairs import both

from assay.errors import InputError, ModelError
from assay.private import Limits, ProtocolError, Server, client_context, connect, make_keys, parse_link, server_context


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """One a network, in this process."""
    running = {name: Server(network).start() for name, network in NETWORKS.items()}
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(params=list(NETWORKS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def join(server: Server, **more: object):  # type: ignore[no-untyped-def]
    return connect(f"127.0.0.1:{server.port}", insecure_plaintext=True, **more)  # type: ignore[arg-type]


def test_answers_are_those_of_the_run_in_the_clear_bit_for_bit(servers: dict[str, Server], name: str) -> None:
    network = NETWORKS[name]
    with join(servers[name]) as session:
        for count, seed in ((1, 0), (5, 1), (1, 2)):
            x = pictures(network, count, seed)
            assert np.array_equal(session.infer(x), network.run(x))


def test_the_extremes_of_the_picture_are_answered_as_well(servers: dict[str, Server], name: str) -> None:
    network = NETWORKS[name]
    x = np.stack([np.full(network.input_shape, v, np.uint8) for v in (0, 255)])
    with join(servers[name]) as session:
        assert np.array_equal(session.infer(x), network.run(x))


def test_one_picture_may_come_without_a_batch(servers: dict[str, Server]) -> None:
    network = NETWORKS["perceptron"]
    x = pictures(network, 1)[0]
    with join(servers["perceptron"]) as session:
        assert np.array_equal(session.infer(x), network.run(x[None])[0])


def test_what_is_prepared_is_used_once_and_then_made_anew(servers: dict[str, Server]) -> None:
    network = NETWORKS["perceptron"]
    with join(servers["perceptron"]) as session:
        session.prepare(batches=2)
        session.prepare(size=3)
        assert session.prepared == 3
        for count, left in ((3, 2), (1, 1), (1, 0), (1, 0)):
            x = pictures(network, count, count)
            assert np.array_equal(session.infer(x), network.run(x))
            assert session.prepared == left


def test_all_that_is_prepared_is_used_offline_bytes_do_not_grow_while_inferring(servers: dict[str, Server]) -> None:
    with join(servers["convolutional"]) as session:
        session.prepare()
        session.measure_anew()
        session.infer(pictures(NETWORKS["convolutional"], 1))
        spent = session.profile.document()
        assert spent["offline_bytes"] == 0
        assert spent["online_bytes"] > 0
        assert session._workshop.store.left == type(session._workshop.store.left)()


def test_many_clients_are_answered_at_once(servers: dict[str, Server]) -> None:
    network = NETWORKS["convolutional"]

    def ask(seed: int) -> bool:
        x = pictures(network, 2, seed)
        with join(servers["convolutional"]) as session:
            return bool(np.array_equal(session.infer(x), network.run(x)))

    assert both(*(lambda seed=seed: ask(seed) for seed in range(4))) == [True] * 4


def test_one_client_may_prepare_while_another_infers(servers: dict[str, Server]) -> None:
    network = NETWORKS["perceptron"]
    x = pictures(network, 1)
    stop = threading.Event()

    def prepare() -> int:
        with join(servers["perceptron"]) as session:
            while not stop.is_set():
                session.prepare()
            return session.prepared

    def infer() -> bool:
        with join(servers["perceptron"]) as session:
            session.prepare(batches=3)
            right = all(np.array_equal(session.infer(x), network.run(x)) for _ in range(3))
        stop.set()
        return right

    prepared, right = both(prepare, infer)
    assert right is True
    assert prepared >= 1


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros((1, 1, 4, 5), np.uint8), "takes integers 1x4x4"),
        (np.zeros((4, 4), np.uint8), "takes integers 1x4x4"),
        (np.zeros((0, 1, 4, 4), np.uint8), "takes integers 1x4x4"),
        (np.zeros((1, 1, 4, 4), np.float32), "takes integers 1x4x4"),
        (np.full((1, 1, 4, 4), 256), "values from 0 to 255"),
        (np.full((1, 1, 4, 4), -1), "values from 0 to 255"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_before_anything_is_sent(
    servers: dict[str, Server], x: np.ndarray, match: str
) -> None:
    network = NETWORKS["perceptron"]
    with join(servers["perceptron"]) as session:
        with pytest.raises(InputError, match=match):
            session.infer(x)
        good = pictures(network, 1)
        assert np.array_equal(session.infer(good), network.run(good)), "the session goes on"


def test_a_network_that_is_pinned_is_served_and_another_refused(servers: dict[str, Server]) -> None:
    digest = servers["perceptron"].architecture.digest
    with join(servers["perceptron"], network_digest=digest) as session:
        assert session.architecture.digest == digest
    with pytest.raises(ModelError, match="as expected; nothing was sent"):
        join(servers["residual"], network_digest=digest)


@pytest.mark.parametrize("address", ["", "nowhere", "host:", ":1", "host:x", "host:70000", "host:-1", "host:١"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="host:port"):
        connect(address, insecure_plaintext=True)


def test_plain_text_stays_on_this_machine() -> None:
    with pytest.raises(InputError, match="certificates"):
        connect("localhost:1")
    with pytest.raises(InputError, match="another machine"):
        connect("192.0.2.1:1", insecure_plaintext=True)
    with pytest.raises(InputError, match="this machine alone"):
        Server(NETWORKS["perceptron"], "0.0.0.0")


def test_a_server_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(ProtocolError, match="no server answers"):
        connect("127.0.0.1:9", insecure_plaintext=True)


def test_a_server_that_is_being_started_is_waited_for() -> None:
    network = NETWORKS["perceptron"]
    with Server(network) as server:
        port = server.port
    again = Server(network, port=port)
    starting = threading.Timer(0.5, again.start)
    starting.start()
    try:
        with connect(f"127.0.0.1:{port}", insecure_plaintext=True, wait_s=30.0) as session:
            x = pictures(network, 1)
            assert np.array_equal(session.infer(x), network.run(x))
    finally:
        starting.join()
        again.stop()


def test_it_works_over_tls_and_over_a_slow_link(tmp_path: Path) -> None:
    make_keys(tmp_path)
    network = NETWORKS["squares"]
    context = server_context(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    with Server(network, context=context) as server:
        x = pictures(network, 2)
        files = {"cert": tmp_path / "client.pem", "key": tmp_path / "client.key", "server_ca": tmp_path / "ca.pem"}
        with connect(f"localhost:{server.port}", link=parse_link("800Mbps,4ms"), **files) as session:  # type: ignore[arg-type]
            assert np.array_equal(session.infer(x), network.run(x))
            spent = session.profile.total("online")
    assert spent.seconds >= 0.004 * spent.rounds > 0
    assert client_context(tmp_path / "client.pem", tmp_path / "client.key", tmp_path / "ca.pem")


def test_bytes_and_rounds_do_not_depend_on_the_picture(servers: dict[str, Server], name: str) -> None:
    counted = []
    for seed in (3, 4):
        with join(servers[name]) as session:
            session.infer(pictures(NETWORKS[name], 2, seed))
            rows = session.profile.document()["layers"]
            counted.append([(r["layer"], r["offline_bytes"], r["online_bytes"], r["online_rounds"]) for r in rows])
    assert counted[0] == counted[1]


def test_limits_that_are_none_are_refused() -> None:
    for wrong in ({"clients": 0}, {"memory_bytes": -1}, {"idle_s": 0}, {"per_hour": 0}):
        with pytest.raises(InputError):
            Limits(**wrong)  # type: ignore[arg-type]

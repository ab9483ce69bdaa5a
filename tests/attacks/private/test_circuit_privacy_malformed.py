"""Whatever bytes the other party sends: one declared error, or a result that means nothing; never a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.integer.graph import Linear
from assay.private.channel import Bytes, ProtocolError
from assay.private.linear import LayerShape, LinearClient, LinearServer, LinearSession
from assay.private.ring import Ring

RINGS = (32, 48)
NODE = Linear(0, np.arange(-6, 6).reshape(3, 4), np.zeros(3, np.int64))
SHAPE = LayerShape.of(NODE, (4,))

PARTIES = {bits: (LinearClient(Ring(bits), [SHAPE]), LinearServer(Ring(bits), [NODE], [(4,)])) for bits in RINGS}
SESSIONS = {bits: server.session(client.public_key()) for bits, (client, server) in PARTIES.items()}


@pytest.fixture(params=RINGS)
def parties(request: pytest.FixtureRequest) -> tuple[LinearClient, LinearServer, LinearSession]:
    return *PARTIES[request.param], SESSIONS[request.param]


def wrong(honest: Bytes) -> Iterator[Bytes]:
    """Truncated, longer, empty, zero, all ones."""
    yield honest[:-1]
    yield honest[:0]
    yield np.concatenate([honest, honest[:1]])
    yield np.concatenate([honest, honest])
    yield np.zeros_like(honest)
    yield np.full_like(honest, 255)


Parties = tuple[LinearClient, LinearServer, LinearSession]


def test_wrong_public_keys_are_refused(parties: Parties) -> None:
    client, server, _ = parties
    for key in wrong(client.public_key()):
        with pytest.raises(ProtocolError, match="a public key"):
            server.session(key)


def test_wrong_requests_are_refused_and_the_session_goes_on(parties: Parties) -> None:
    client, _, session = parties
    honest = client.request(0, np.zeros(4, np.uint32))
    for request in wrong(honest):
        with pytest.raises(ProtocolError, match=r"a request|a ciphertext"):
            session.answer(0, request)
    reply, share = session.answer(0, honest)
    assert ((client.finish(0, reply).astype(np.uint64) + share) % 2**32 == 0).all()


def test_a_request_with_a_polynomial_of_zeros_is_refused(parties: Parties) -> None:
    client, _, session = parties
    request = client.request(0, np.zeros(4, np.uint32)).copy()
    request[:61440] = 0
    with pytest.raises(ProtocolError, match="a polynomial that is zero"):
        session.answer(0, request)


def test_any_seed_is_one(parties: Parties) -> None:
    """The second polynomial follows from it by SEAL's generator, so a client cannot choose it."""
    client, _, session = parties
    request = client.request(0, np.zeros(4, np.uint32)).copy()
    for seed in (0, 255):
        request[-64:] = seed
        assert session.answer(0, request)[1].shape == (3,)


def test_wrong_replies_are_refused(parties: Parties) -> None:
    client, _, session = parties
    reply, _ = session.answer(0, client.request(0, np.zeros(4, np.uint32)))
    for other in (reply[:-1], reply[:0], np.concatenate([reply, reply])):
        with pytest.raises(ProtocolError, match="a reply to layer 0 has"):
            client.finish(0, other)


def test_a_reply_of_any_bytes_gives_residues(parties: Parties) -> None:
    client, _, _ = parties
    for fill in (0, 1, 255):
        found = client.finish(0, np.full(client.reply_size(0), fill, np.uint8))
        assert found.shape == (3,)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(RINGS), st.integers(0, 2**32), st.integers(1, 200))
def test_random_bytes_never_crash_a_party(bits: int, seed: int, changed: int) -> None:
    (client, server), session, rng = PARTIES[bits], SESSIONS[bits], np.random.default_rng(seed)
    key, request = client.public_key().copy(), client.request(0, np.zeros(4, np.uint32)).copy()
    for message, give in ((key, server.session), (request, lambda m: session.answer(0, m))):
        places = rng.integers(0, message.size, changed)
        for bad in (message, rng.integers(0, 256, message.size, np.uint8)):
            bad[places] = rng.integers(0, 256, changed)
            with suppress(ProtocolError):
                give(bad)
    assert client.finish(0, rng.integers(0, 256, client.reply_size(0), np.uint8)).shape == (3,)

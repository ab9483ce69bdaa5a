"""Encrypted linear layers: shares of both parties add up to the layer, in every ring and for every shape."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ModelError
from assay.integer.definition import define
from assay.integer.graph import Conv2d, Ints, Linear
from assay.private.linear import LayerShape, LinearClient, LinearServer, apply
from assay.private.ring import Residues, Ring

Layer = Conv2d | Linear


def weights(*shape: int, reach: int = 128) -> Ints:
    return np.random.default_rng(2).integers(-reach, reach, shape)


def conv(out: int, inner: int, side: int = 3, **options: object) -> Conv2d:
    return Conv2d(0, weights(out, inner, side, side), weights(out, reach=10**6), **options)


def dense(out: int, inner: int) -> Linear:
    return Linear(0, weights(out, inner), weights(out, reach=10**6))


def residues(ring: Ring, shape: tuple[int, ...], seed: int = 3) -> Residues:
    return ring.reduce(np.random.default_rng(seed).integers(0, 2**63, shape))


def together(ring: Ring, layers: list[tuple[Layer, tuple[int, ...]]]) -> None:
    """All layers between two parties, each with its own mask, compared with the definition."""
    nodes, shapes = [node for node, _ in layers], [shape for _, shape in layers]
    client = LinearClient(ring, [LayerShape.of(node, shape) for node, shape in layers])
    server = LinearServer(ring, nodes, shapes)
    key = client.public_key()
    assert key.size == server.layers.key_size
    session = server.session(key)
    for index, (node, shape) in enumerate(layers):
        x, mask = residues(ring, shape, 4), residues(ring, shape, 5)
        request = client.request(index, mask)
        assert request.size == server.request_size(index)
        reply, share = session.answer(index, request)
        assert reply.size == client.reply_size(index)
        theirs = client.finish(index, reply)
        opened = ring.reduce(x.astype(np.uint64) - mask)
        ours = apply(ring, node, opened[None], share[None])[0]
        assert theirs.dtype == ours.dtype == share.dtype == ring.dtype
        assert theirs.shape == ours.shape == LayerShape.of(node, shape).output
        total = (theirs.astype(object) + ours.astype(object)) % 2**ring.bits
        assert (total == define(node, [ring.signed(x).astype(object)]) % 2**ring.bits).all()


@pytest.mark.parametrize("bits", [2, 16, 17, 31, 32, 33, 40, 47, 48])
def test_shares_add_up_to_the_layer_in_every_ring(bits: int) -> None:
    border = (1, 1, 1, 1)
    strided = conv(5, 4, 3, padding=border, stride=(2, 2))
    together(Ring(bits), [(conv(4, 3, padding=border), (3, 8, 8)), (strided, (4, 7, 9)), (dense(10, 50), (50,))])


@settings(max_examples=12, deadline=None)
@given(
    st.integers(16, 48), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2),
    st.integers(5, 12), st.integers(1, 2), st.integers(1, 3),
)  # fmt: skip
def test_shares_add_up_for_every_shape(
    bits: int, kernel: int, stride: int, dilation: int, border: int, side: int, groups: int, channels: int
) -> None:
    node = conv(
        2 * groups, channels, kernel, stride=(stride, 1), padding=(border, 0, 1, border),
        dilation=(dilation, 1), groups=groups,
    )  # fmt: skip
    together(Ring(bits), [(node, (channels * groups, side, side + 1))])


def test_a_picture_that_fits_no_polynomial_is_cut() -> None:
    shape = (2, 100, 95)
    node = conv(1, 2, padding=(1, 1, 1, 1))
    assert 100 * 95 > 8192
    ring = Ring(32)
    client = LinearClient(ring, [LayerShape.of(node, shape)])
    server = LinearServer(ring, [node], [shape])
    mask = residues(ring, shape)
    reply, share = server.session(client.public_key()).answer(0, client.request(0, mask))
    zero = apply(ring, node, mask[None], share[None])[0]
    bias = ring.reduce(node.bias)[:, None, None]
    found = ring.reduce(client.finish(0, reply).astype(np.uint64) + 2 * share.astype(np.uint64) + bias)
    assert (found == zero).all()


def test_wide_rings_with_heavy_layers_take_a_third_prime_on_both_sides() -> None:
    ring, shape = Ring(48), (128, 4, 4)
    node = Conv2d(0, np.full((128, 128, 3, 3), -128), np.zeros(128, np.int64), padding=(1, 1, 1, 1))
    client = LinearClient(ring, [LayerShape.of(node, shape)])
    server = LinearServer(ring, [node], [shape])
    assert server.layers.scheme.count == 3
    assert client.request(0, residues(ring, shape)).size == server.request_size(0)
    together(ring, [(node, shape)])


def test_weights_beyond_what_the_shape_promises_are_refused() -> None:
    node = Linear(0, np.array([[129]]), np.array([0]), name="head")
    with pytest.raises(ModelError, match="layer head has weights beyond 8 bits"):
        LinearServer(Ring(32), [node], [(1,)])
    assert LinearServer(Ring(32), [node], [(1,)], weight_bits=9).weights


def test_a_batch_is_applied_together() -> None:
    ring, node = Ring(48), conv(3, 2, padding=(1, 0, 0, 1))
    x, s = residues(ring, (4, 2, 6, 6)), residues(ring, (4, 3, 5, 5))
    assert all(
        (apply(ring, node, x[i][None], s[i][None])[0] == part).all() for i, part in enumerate(apply(ring, node, x, s))
    )


def test_many_clients_at_once_share_the_weights() -> None:
    ring, node, shape = Ring(32), conv(4, 4, padding=(1, 1, 1, 1)), (4, 8, 8)
    server = LinearServer(ring, [node], [shape])
    assert not any(block.flags.writeable for block in server.weights[0])
    assert sum(block.nbytes for block in server.weights[0]) == server.layers.memory

    def serve(seed: int) -> bool:
        client = LinearClient(ring, [LayerShape.of(node, shape)])
        session = server.session(client.public_key())
        mask = residues(ring, shape, seed)
        reply, share = session.answer(0, client.request(0, mask))
        bias = ring.reduce(node.bias)[:, None, None]
        product = apply(ring, node, mask[None], np.zeros_like(share)[None])[0] - bias
        return bool((client.finish(0, reply) + share == product).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(serve, range(8)))


def test_no_layers_are_no_work() -> None:
    client = LinearClient(Ring(32), [])
    LinearServer(Ring(32), [], []).session(client.public_key())


def test_a_shape_survives_being_sent() -> None:
    shape = LayerShape.of(conv(3, 2, padding=(1, 0, 0, 1)), (2, 6, 6))
    assert msgspec.json.decode(msgspec.json.encode(shape), type=LayerShape) == shape


def test_a_shape_says_nothing_of_weights() -> None:
    assert LayerShape.of(dense(3, 4), (4,)) == LayerShape.of(
        Linear(0, np.zeros((3, 4), np.int64), np.zeros(3, np.int64)), (4,)
    )

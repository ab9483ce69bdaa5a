"""Linear layers of two parties: encrypted before the input exists, local once it does.

Source: Delphi (Mishra et al., USENIX Security 2020), section 4.1, with the packing of Cheetah (`packing`).

Offline, for each layer: the client encrypts its mask r; the server multiplies by its weights W under encryption,
subtracts a fresh s and hides the rest (`circuit_privacy`); the client decrypts c = W·r - s.
Online: the server, who knows x - r, computes W·(x - r) + s + bias in the clear. With c that is a sharing of W·x + bias.

Security, semi-honest: the server learns nothing of r (128 bits, ring-LWE); the client learns c, which is uniform, and
of W its shape (40 bits statistical a picture, 128 bits computational). Sizes of all messages follow from shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from assay.errors import ModelError
from assay.integer.graph import Conv2d, Ints, Linear, Shape
from assay.private.channel import Bytes, ProtocolError
from assay.private.circuit_privacy import Flooding, choose_scheme, hide, reveal
from assay.private.coefficients import Maps, pack_inputs, pack_weights
from assay.private.layer_shape import LayerShape
from assay.private.masked_product import apply, exact_product
from assay.private.ntt import Words, field
from assay.private.packing import Packing, packing
from assay.private.ring import Residues, Ring
from assay.private.seal import DEGREE, SEED, Keys, Refresher, Scheme, expanded
from assay.private.words import pack, packed_size, unpack

__all__ = ["LayerShape", "Layers", "LinearClient", "LinearServer", "LinearSession", "apply"]


@dataclass(frozen=True, eq=False)
class Layers:
    """What both parties derive from the shapes: how layers are cut, parameters, sizes."""

    ring: Ring
    maps: tuple[Maps, ...]
    scheme: Scheme
    flooding: Flooding

    @classmethod
    def of(cls, ring: Ring, shapes: Sequence[LayerShape]) -> Layers:
        """
        Raises:
            ModelError: if no parameters hide the weights of such layers.
        """
        maps = tuple(Maps(packing(shape, DEGREE)) for shape in shapes)
        scheme = choose_scheme(ring, [m.packing for m in maps])
        return cls(ring, maps, scheme, Flooding(scheme))

    @property
    def memory(self) -> int:
        """Bytes that a server keeps of encoded weights: to be asked before they are."""
        return sum(maps.packing.products for maps in self.maps) * self.scheme.count * DEGREE * 8

    @property
    def key_size(self) -> int:
        """Bytes of the client's public key."""
        return _size(2, self.scheme.all_primes)

    def request_size(self, index: int) -> int:
        """Bytes of the client's message for one layer."""
        return self.maps[index].packing.requests * (_size(1, self.scheme.primes) + SEED)

    def reply_sizes(self, index: int) -> list[int]:
        return [self.flooding.size(len(places)) for places, _ in self.maps[index].outputs]

    def reply_size(self, index: int) -> int:
        """Bytes of the server's message for one layer."""
        return sum(self.reply_sizes(index))


def _size(polynomials: int, primes: Sequence[int]) -> int:
    return sum(packed_size(polynomials * DEGREE, p.bit_length()) for p in primes)


def _packed(words: Words, primes: Sequence[int]) -> Bytes:
    """`polynomials primes N` → bytes."""
    return np.concatenate([pack(words[:, i], p.bit_length()) for i, p in enumerate(primes)])


def _unpacked(data: Bytes, polynomials: int, primes: Sequence[int], what: str) -> Words:
    """Bytes from the other party → `polynomials primes N`.

    Raises:
        ProtocolError: if the size is wrong, a word is not below its prime, or a polynomial is zero.
    """
    if data.size != _size(polynomials, primes):
        raise ProtocolError(f"{what} has {_size(polynomials, primes)} bytes, got {data.size}")
    words, start = np.empty((polynomials, len(primes), DEGREE), np.uint64), 0
    for i, p in enumerate(primes):
        stop = start + packed_size(polynomials * DEGREE, p.bit_length())
        words[:, i] = unpack(data[start:stop], polynomials * DEGREE, p.bit_length()).reshape(polynomials, DEGREE)
        start = stop
    if any((words[:, i] >= p).any() for i, p in enumerate(primes)):
        raise ProtocolError(f"{what} holds a word that is not below its prime")
    if not words.any(axis=2).all():
        raise ProtocolError(f"{what} holds a polynomial that is zero")
    return words


def _packed_cipher(scheme: Scheme, first: Words, seed: bytes) -> Bytes:
    return np.concatenate([_packed(first[None], scheme.primes), np.frombuffer(seed, np.uint8)])


def _unpacked_cipher(scheme: Scheme, data: Bytes) -> Words:
    """What `_packed_cipher` wrote → `2 primes N`. Raises ProtocolError as `_unpacked`."""
    (first,) = _unpacked(data[:-SEED], 1, scheme.primes, "a ciphertext")
    return expanded(scheme, first, data[-SEED:].tobytes())


class LinearClient:
    """The client's part, with a key of its own: one object a session.

    Cost of construction: about 20 ms for keys. Raises ModelError as `Layers.of`.
    """

    def __init__(self, ring: Ring, shapes: Sequence[LayerShape]) -> None:
        self._layers = Layers.of(ring, shapes)
        self._keys = Keys(self._layers.scheme)
        self.request_size = self._layers.request_size
        self.reply_size = self._layers.reply_size

    def public_key(self) -> Bytes:
        """To be sent first. Tells the server nothing (ring-LWE)."""
        return _packed(self._keys.public, self._layers.scheme.all_primes)

    def request(self, index: int, mask: Residues) -> Bytes:
        """Encrypt the mask r of the layer's input. Tells the server nothing (ring-LWE)."""
        polynomials = pack_inputs(self._layers.maps[index], mask)
        return np.concatenate([_packed_cipher(self._layers.scheme, *self._keys.encrypt(p)) for p in polynomials])

    def finish(self, index: int, reply: Bytes) -> Residues:
        """c = W·r - s, in the shape of the layer's output. Uniform: it tells the client nothing.

        Raises:
            ProtocolError: if the reply does not have its size.
        """
        maps, layers = self._layers.maps[index], self._layers
        if reply.size != layers.reply_size(index):
            raise ProtocolError(f"a reply to layer {index} has {layers.reply_size(index)} bytes, got {reply.size}")
        found = np.empty(prod(maps.packing.shape.output), np.uint64)
        start = 0
        for (places, targets), size in zip(maps.outputs, layers.reply_sizes(index), strict=True):
            cipher = reveal(layers.flooding, reply[start : start + size], places)
            found[targets] = self._keys.decrypt(cipher, places)
            start += size
        return found.astype(layers.ring.dtype).reshape(maps.packing.shape.output)


class LinearServer:
    """The weights of all layers, encoded and transformed once, shared by all sessions and never written to.

    They take `layers.memory` bytes: 190 MB for ResNet-32, of 0.5 million weights.

    Raises ModelError if a weight has more bits than the shapes promise, or as `Layers.of`.
    Cost: about 0.3 ms a product to encode.
    """

    def __init__(
        self, ring: Ring, nodes: Sequence[Conv2d | Linear], input_shapes: Sequence[Shape], weight_bits: int = 8
    ) -> None:
        shapes = [LayerShape.of(node, s, weight_bits) for node, s in zip(nodes, input_shapes, strict=True)]
        for node in nodes:
            if np.abs(node.weight).max() > 1 << (weight_bits - 1):
                raise ModelError(f"layer {node.name} has weights beyond {weight_bits} bits, which its shape promises")
            exact_product(node, ring)  # so that the first picture does not wait for it
        self.layers = Layers.of(ring, shapes)
        self.request_size = self.layers.request_size
        self.weights = [
            _encoded(self.layers.scheme, maps.packing, node.weight)
            for maps, node in zip(self.layers.maps, nodes, strict=True)
        ]

    def session(self, public_key: Bytes) -> LinearSession:
        """For one client.

        Raises:
            ProtocolError: if this is no public key.
        """
        words = _unpacked(public_key, 2, self.layers.scheme.all_primes, "a public key")
        return LinearSession(self, Refresher(self.layers.scheme, words))


def _encoded(scheme: Scheme, cut: Packing, weight: Ints) -> list[Words]:
    """The products of each output block, transformed: `primes N products`, 8 bytes a word."""
    blocks = []
    for block in range(cut.output_blocks):
        polynomials = pack_weights(cut, weight, block)
        words = np.empty((scheme.count, DEGREE, len(polynomials)), np.uint64)
        for i, p in enumerate(scheme.primes):
            z = field(p, DEGREE)
            lifted = z.lift(polynomials)
            z.forward(lifted)
            words[i] = lifted.T
        words.flags.writeable = False
        blocks.append(words)
    return blocks


class LinearSession:
    """The server's part for one client."""

    def __init__(self, server: LinearServer, refresher: Refresher) -> None:
        self._server, self._refresher = server, refresher

    def answer(self, index: int, request: Bytes) -> tuple[Bytes, Residues]:
        """The reply, and the server's share s (in the shape of the layer's output): fresh and uniform.

        Raises:
            ProtocolError: if the request is none.
        """
        layers = self._server.layers
        maps = layers.maps[index]
        cut = maps.packing
        if request.size != layers.request_size(index):
            raise ProtocolError(
                f"a request for layer {index} has {layers.request_size(index)} bytes, got {request.size}"
            )
        shares = np.empty(prod(cut.shape.output), layers.ring.dtype)
        replies: list[Bytes] = []
        for tile, data in enumerate(np.split(request, prod(cut.tiles))):
            ciphers = self._transformed(data, cut.input_blocks)
            for block in range(cut.output_blocks):
                places, targets = maps.outputs[tile * cut.output_blocks + block]
                sums = self._sums(index, ciphers, block)
                reply, shares[targets] = hide(layers.flooding, self._refresher, sums, places, layers.ring)
                replies.append(reply)
        return np.concatenate(replies), shares.reshape(cut.shape.output)

    def _transformed(self, data: Bytes, count: int) -> Words:
        """`primes N 2 ciphertexts`."""
        scheme = self._server.layers.scheme
        ciphers = np.stack([_unpacked_cipher(scheme, one) for one in np.split(data, count)])
        words = np.empty((scheme.count, DEGREE, 2, count), np.uint64)
        for i, p in enumerate(scheme.primes):
            polynomials = np.ascontiguousarray(ciphers[:, :, i])
            field(p, DEGREE).forward(polynomials)
            words[i] = polynomials.transpose(2, 1, 0)
        return words

    def _sums(self, index: int, ciphers: Words, block: int) -> Words:
        """Σ w·c for one output block, `2 primes N`, not transformed."""
        first = self._server.layers.maps[index].packing.partners(block).start
        weights = self._server.weights[index][block]
        found = np.empty((2, len(weights), DEGREE), np.uint64)
        for i, p in enumerate(self._server.layers.scheme.primes):
            z = field(p, DEGREE)
            sums = z.sum_of_products(ciphers[i], first, weights[i])
            z.inverse(sums)
            found[:, i] = sums
        return found

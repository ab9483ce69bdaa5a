"""What a curious client can compute: it knows its key, its masks, its errors, and every byte of a reply.

`Exchange` also hands out the two polynomials of each reply as they were before the modulus was switched and low bits
were dropped: more than any client sees, so an attack that fails here fails on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from assay.integer.graph import Conv2d, Linear
from assay.private import circuit_privacy, seal
from assay.private import ntt as transforms
from assay.private.channel import Bytes
from assay.private.coefficients import Maps
from assay.private.linear import LayerShape, LinearClient, LinearServer, LinearSession, _unpacked_cipher
from assay.private.ntt import Words
from assay.private.ring import Residues, Ring
from assay.private.seal import DEGREE, Refresher


@dataclass(eq=False)
class Exchange:
    """A client, a server with one layer that fits one ciphertext each way, and what passed between them."""

    ring: Ring
    node: Conv2d | Linear
    shape: tuple[int, ...]
    seen: list[Words] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = LinearClient(self.ring, [LayerShape.of(self.node, self.shape)])
        self.server = LinearServer(self.ring, [self.node], [self.shape])
        self.session: LinearSession = self.server.session(self.client.public_key())
        cut = self.maps.packing
        assert (cut.requests, cut.replies) == (1, 1)

    @property
    def maps(self) -> Maps:
        return self.server.layers.maps[0]

    @property
    def primes(self) -> tuple[int, ...]:
        return self.server.layers.scheme.primes

    def answer(self, request: Bytes, patch: pytest.MonkeyPatch) -> tuple[Bytes, Residues, Words, Words]:
        """Reply, the server's share, and both polynomials in full: `primes n`, `primes N`."""
        add_zero: Callable[..., Any] = Refresher.add_zero
        seen: list[Words] = []

        def spy(refresher: Refresher, cipher: Any) -> None:
            add_zero(refresher, cipher)
            seen.append(seal._cipher_words(seal._saved(cipher), len(self.primes)))

        with patch.context() as within:
            within.setattr(Refresher, "add_zero", spy)
            reply, share = self.session.answer(0, request)
        ((first, second),) = seen
        return reply, share, first[:, self.maps.outputs[0][0]], second

    def request_words(self, request: Bytes) -> Words:
        """The client's own ciphertext, `2 primes N`."""
        return _unpacked_cipher(self.server.layers.scheme, request)

    def secret(self) -> NDArray[np.int64]:
        """The client's secret key: -1, 0 or 1 a coefficient."""
        plain = self.client._keys._secret.data()
        words = np.array([plain.data(j) for j in range(DEGREE)], np.uint64)
        z = transforms.field(self.primes[0], DEGREE)
        z.inverse(words)
        return np.where(words > 1, -1, words.astype(np.int64))

    def product(self, words: Words, small: NDArray[np.int64]) -> Words:
        """`primes N` times a polynomial of small integers."""
        found = np.empty_like(words)
        for i, p in enumerate(self.primes):
            z = transforms.field(p, DEGREE)
            a, b = words[i].copy(), z.lift(small)
            z.forward(a)
            z.forward(b)
            found[i] = z.sum_of_products(np.stack([a, a], 1)[..., None], 0, b[:, None])[0]
            z.inverse(found[i])
        return found

    def joined(self, words: Words) -> NDArray[np.object_]:
        """`primes n` → integers modulo q."""
        q = prod(self.primes)
        total = sum(words[i].astype(object) * (q // p * pow(q // p, -1, p)) for i, p in enumerate(self.primes))
        return total % q

    def noise(self, first: Words, second: Words, result: Residues) -> NDArray[np.object_]:
        """What decryption leaves over q·result / 2^k, at the coefficients that carry results: in full, signed."""
        places, targets = self.maps.outputs[0]
        q = prod(self.primes)
        phase = self.joined(first) + self.joined(self.product(second, self.secret())[:, places])
        message = result.reshape(-1)[targets].astype(object)
        rest = (phase - (q * message + (1 << self.ring.bits - 1)) // (1 << self.ring.bits)) % q
        return np.where(rest > q // 2, rest - q, rest)


@contextmanager
def without_fresh_zeros(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server forgets step 1."""
    with patch.context() as within:
        within.setattr(Refresher, "add_zero", lambda refresher, cipher: None)
        yield


@contextmanager
def with_flood_divided(patch: pytest.MonkeyPatch, by: int) -> Iterator[None]:
    """The server's f is smaller by this factor."""
    draw = circuit_privacy.draw_flood

    def smaller(bits: int, count: int) -> Words:
        low, high = draw(bits, count).astype(object)
        shown = (low + (high << 64) - (1 << bits)) // by + (1 << bits)
        return np.stack([shown % (1 << 64), shown >> 64]).astype(np.uint64)

    with patch.context() as within:
        within.setattr(circuit_privacy, "draw_flood", smaller)
        yield


def without_flooding(patch: pytest.MonkeyPatch) -> AbstractContextManager[None]:
    """The server forgets f of step 2."""
    return with_flood_divided(patch, 1 << 200)

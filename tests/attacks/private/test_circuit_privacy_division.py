"""A client divides the reply by its request. It must not find the weights.

Each attack is run twice: against a server from which the defence was taken out, where it must find every weight (else
it would prove nothing), and against ours.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray
from reply_views import Exchange, without_flooding, without_fresh_zeros

from assay.integer.graph import Conv2d, Ints, Linear
from assay.private.circuit_privacy import reveal
from assay.private.coefficients import pack_inputs, pack_weights
from assay.private.ntt import Words, field
from assay.private.ring import Ring
from assay.private.seal import DEGREE

RING = Ring(32)


def drawn(*shape: int) -> Ints:
    return np.random.default_rng(7).integers(-128, 128, shape)


def small_layer() -> Exchange:
    return Exchange(RING, Conv2d(0, drawn(3, 2, 3, 3), drawn(3), padding=(1, 1, 1, 1)), (2, 8, 8))


def mask(exchange: Exchange) -> NDArray[np.uint32]:
    return np.random.default_rng(8).integers(0, 1 << 32, exchange.shape, np.uint32)


def quotient(numerator: Words, divisor: Words, p: int) -> Ints:
    """The polynomial that `divisor` was multiplied by, modulo p, lifted to signed integers."""
    z = field(p, DEGREE)
    a, b = numerator.copy(), divisor.copy()
    z.forward(a)
    z.forward(b)
    inverses = np.array([pow(int(x), -1, p) if x else 0 for x in b], np.uint64)
    c = z.sum_of_products(np.stack([a, a], 1)[..., None], 0, inverses[:, None])[0]
    z.inverse(c)
    return np.where(c > p // 2, -(np.uint64(p) - c).astype(np.int64), c.astype(np.int64))


def divide(exchange: Exchange, patch: pytest.MonkeyPatch) -> Ints:
    """The attack of the design: second polynomial of the reply over that of the request."""
    request = exchange.client.request(0, mask(exchange))
    *_, second = exchange.answer(request, patch)
    return quotient(second[0], exchange.request_words(request)[1, 0], exchange.primes[0])


def secret_polynomial(exchange: Exchange) -> Ints:
    (polynomial,) = pack_weights(exchange.maps.packing, exchange.node.weight, 0)
    return polynomial


def test_without_fresh_zeros_a_division_gives_every_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = small_layer()
    with without_fresh_zeros(monkeypatch):
        assert (divide(exchange, monkeypatch) == secret_polynomial(exchange)).all()


def test_with_fresh_zeros_a_division_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = small_layer()
    found, true = divide(exchange, monkeypatch), secret_polynomial(exchange)
    assert (np.abs(found) <= 128).mean() < 0.01, "a quotient of small integers would be the weights"
    filled = true != 0
    assert abs(np.corrcoef(found[filled], true[filled])[0, 1]) < 0.6
    again = divide(exchange, monkeypatch)
    assert not (again == found).any(), "two replies to one request must not have a quotient in common"


def single_weight(weight: int) -> Exchange:
    return Exchange(RING, Conv2d(0, np.full((1, 1, 1, 1), weight), np.zeros(1, np.int64)), (1, 32, 32))


def guessed(exchange: Exchange) -> tuple[int, float]:
    """From the bytes alone: which of all weights explains the second polynomial best, and how well (1: no better)."""
    flooding = exchange.server.layers.flooding
    request = exchange.client.request(0, mask(exchange))
    reply, _ = exchange.session.answer(0, request)
    q, p = prod(exchange.primes), exchange.primes[0]
    shown = reveal(flooding, reply, exchange.maps.outputs[0][0])[1, :64].astype(object)
    known = exchange.joined(exchange.request_words(request)[1])[:64]
    errors = []
    for w in range(-128, 128):
        away = (shown - (known * w % q) * p // q) % p
        errors.append(float(np.minimum(away, p - away).mean()) / (p / 4))
    best = int(np.argmin(errors))
    return best - 128, errors[best]


def test_without_fresh_zeros_the_bytes_of_a_reply_give_a_weight_although_low_bits_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with without_fresh_zeros(monkeypatch):
        assert guessed(single_weight(-77)) == (-77, pytest.approx(0, abs=1e-3))


def test_with_fresh_zeros_no_weight_explains_the_bytes_better_than_another() -> None:
    assert guessed(single_weight(-77))[1] > 0.5


def subtract(exchange: Exchange, patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """The other attack: what decryption leaves is w·e, and the client knows e. Least squares, one 3x3 channel."""
    values = mask(exchange)
    request = exchange.client.request(0, values)
    reply, _, first, second = exchange.answer(request, patch)
    left = exchange.noise(first, second, exchange.client.finish(0, reply)).astype(np.float64)
    places, _ = exchange.maps.outputs[0]
    errors = own_errors(exchange, exchange.request_words(request), values)
    (polynomial,) = pack_weights(exchange.maps.packing, np.ones_like(exchange.node.weight), 0)
    taps = np.flatnonzero(polynomial)[::-1]  # the kernel is written backwards
    rows = np.stack([signed_shift(errors, int(tap))[places] for tap in taps], axis=1)
    return np.linalg.lstsq(rows, left, rcond=None)[0]


def own_errors(exchange: Exchange, cipher: Words, values: NDArray[np.uint32]) -> NDArray[np.float64]:
    """c0 + c1·s - q·r / 2^k: the errors that the client encrypted with, and what rounding added."""
    q, scale = prod(exchange.primes), 1 << exchange.ring.bits
    phase = exchange.joined(cipher[0]) + exchange.joined(exchange.product(cipher[1], exchange.secret()))
    rest = (phase * scale - pack_inputs(exchange.maps, values)[0].astype(object) * q) % (q * scale)
    return np.where(rest > q * scale // 2, rest - q * scale, rest).astype(np.float64) / scale


def signed_shift(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    moved = np.roll(values, by)
    moved[:by] *= -1
    return moved


def one_channel() -> Exchange:
    return Exchange(RING, Conv2d(0, drawn(1, 1, 3, 3), np.zeros(1, np.int64), padding=(1, 1, 1, 1)), (1, 48, 48))


def test_without_flooding_the_noise_that_is_left_gives_every_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = one_channel()
    with without_flooding(monkeypatch):
        found = subtract(exchange, monkeypatch)
    assert (np.rint(found).reshape(3, 3) == exchange.node.weight[0, 0]).all()


def test_with_flooding_the_noise_that_is_left_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = one_channel()
    found = subtract(exchange, monkeypatch)
    assert np.abs(found).min() > 2.0**60, "an estimate that is off by so much holds none of eight bits"


def test_the_dense_layer_is_covered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange(RING, Linear(0, drawn(10, 200), drawn(10)), (200,))
    with without_fresh_zeros(monkeypatch):
        assert (divide(exchange, monkeypatch) == secret_polynomial(exchange)).all()
    assert (np.abs(divide(exchange, monkeypatch)) <= 128).mean() < 0.01

"""What decryption leaves over is the flood, whatever the weights; shares are fresh; the margin is enforced."""

from __future__ import annotations

from dataclasses import replace
from math import log2, prod

import numpy as np
import pytest
from numpy.typing import NDArray
from reply_views import Exchange, with_flood_divided
from scipy import stats

from assay.errors import ModelError
from assay.integer.graph import Conv2d, Linear
from assay.private.circuit_privacy import STATISTICAL, Flooding, choose_scheme, noise_bound
from assay.private.linear import LayerShape, LinearServer
from assay.private.packing import Packing, packing
from assay.private.ring import Ring
from assay.private.seal import DEGREE, scheme

IMPOSSIBLE = 1e-9
"""A p-value that no honest run of these tests will meet."""

SHAPE = (1, 24, 24)
RUNS = 12


def heavy() -> Conv2d:
    return Conv2d(0, np.full((1, 1, 3, 3), -128), np.zeros(1, np.int64), padding=(1, 1, 1, 1))


def light() -> Conv2d:
    return Conv2d(0, np.zeros((1, 1, 3, 3), np.int64), np.zeros(1, np.int64), padding=(1, 1, 1, 1))


def noise(node: Conv2d, patch: pytest.MonkeyPatch, bits: int = 32, runs: int = RUNS) -> NDArray[np.float64]:
    """Of many replies to one client, in units of the largest flood: uniform in [-1, 1) if all is well."""
    exchange = Exchange(Ring(bits), node, SHAPE)
    scale = 1 << exchange.server.layers.flooding.bits
    rng = np.random.default_rng(5)
    found = []
    for _ in range(runs):
        request = exchange.client.request(0, Ring(bits).reduce(rng.integers(0, 1 << 62, SHAPE)))
        reply, _, first, second = exchange.answer(request, patch)
        left = exchange.noise(first, second, exchange.client.finish(0, reply))
        found.append((left / scale).astype(np.float64))
    return np.concatenate(found)


def uniformity(values: NDArray[np.float64]) -> tuple[float, float]:
    """p-values: Kolmogorov-Smirnov, and chi-square over 64 bins."""
    counts = np.histogram(values, 64, (-1, 1))[0]
    return stats.kstest(values, "uniform", (-1, 2)).pvalue, stats.chisquare(
        counts, np.full(64, len(values) / 64)
    ).pvalue


@pytest.mark.parametrize("bits", [16, 32, 48])
def test_what_decryption_leaves_is_uniform_over_the_flood(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = noise(heavy(), monkeypatch, bits)
    assert np.abs(values).max() <= 1 + 1e-6
    assert min(uniformity(values)) > IMPOSSIBLE


def test_these_tests_would_see_a_flood_that_is_a_fifth_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    values = noise(heavy(), monkeypatch) * 0.8
    assert max(uniformity(values)) < IMPOSSIBLE
    with with_flood_divided(monkeypatch, 2):
        assert max(uniformity(noise(heavy(), monkeypatch))) < IMPOSSIBLE


def test_it_does_not_depend_on_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stats.ks_2samp(noise(heavy(), monkeypatch), noise(light(), monkeypatch)).pvalue > IMPOSSIBLE


def test_without_the_flood_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with with_flood_divided(monkeypatch, 1 << 200):
        assert stats.ks_2samp(noise(heavy(), monkeypatch), noise(light(), monkeypatch)).pvalue < IMPOSSIBLE


def test_the_noise_is_never_beyond_what_the_margin_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange(Ring(32), heavy(), SHAPE)
    with with_flood_divided(monkeypatch, 1 << 200):
        values = noise(heavy(), monkeypatch) * float(1 << exchange.server.layers.flooding.bits)
    assert 0 < np.abs(values).max() <= noise_bound(exchange.maps.packing.norm)


def test_two_answers_to_one_request_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange(Ring(32), heavy(), SHAPE)
    request = exchange.client.request(0, np.zeros(SHAPE, np.uint32))
    (first, one, *_), (second, other, *_) = (exchange.answer(request, monkeypatch) for _ in range(2))
    assert (one == other).mean() < 0.01
    assert (first == second).mean() < 0.01
    assert (exchange.client.finish(0, first) == exchange.client.finish(0, second)).mean() < 0.01


@pytest.mark.parametrize("bits", [16, 32])
def test_both_shares_of_one_answer_are_uniform(bits: int) -> None:
    exchange = Exchange(Ring(bits), heavy(), SHAPE)
    request = exchange.client.request(0, np.zeros(SHAPE, Ring(bits).dtype))
    answers = [exchange.session.answer(0, request) for _ in range(RUNS)]
    servers = np.concatenate([share.ravel() for _, share in answers])
    clients = np.concatenate([exchange.client.finish(0, reply).ravel() for reply, _ in answers])
    for shares in (servers, clients):
        for shift in (0, bits - 4):
            assert stats.chisquare(np.bincount((shares >> shift) & 15, minlength=16)).pvalue > IMPOSSIBLE


def test_only_coefficients_that_carry_results_are_sent() -> None:
    exchange = Exchange(Ring(32), heavy(), SHAPE)
    flooding = exchange.server.layers.flooding
    assert exchange.client.reply_size(0) * 8 == DEGREE * flooding.kept_second + prod(SHAPE) * flooding.kept_first


def cut_of(shape: LayerShape) -> Packing:
    return packing(shape, DEGREE)


WIDE = LayerShape("linear", (25088,), (4096,))


@pytest.mark.parametrize("bits", range(2, 49))
def test_the_margin_holds_for_whatever_is_chosen(bits: int) -> None:
    cuts = [cut_of(WIDE)] * 4
    chosen = choose_scheme(Ring(bits), cuts)
    q = prod(chosen.primes)
    flooding = Flooding(chosen)
    coefficients = sum(prod(cut.shape.output) for cut in cuts)
    distance = coefficients * noise_bound(cuts[0].norm) / 2 ** (flooding.bits + 1)
    assert distance <= 2**-STATISTICAL
    assert flooding.security(cuts) == pytest.approx(-log2(distance))
    # Decryption: the flood takes at most half of what there is room for, and what is dropped fits into the rest.
    p = chosen.primes[0]
    room = p / 2 ** (bits + 1)
    flood = 2**flooding.bits * p / q
    first = 2.0 ** (p.bit_length() - flooding.kept_first - 1)
    second = 430 * 2.0 ** (p.bit_length() - flooding.kept_second)
    assert flood <= room / 2 * (1 + 2**-20)
    assert flood + first + second + 2 < room


def test_the_flood_is_the_same_for_all_weights() -> None:
    servers = [LinearServer(Ring(32), [node], [SHAPE]) for node in (heavy(), light())]
    assert servers[0].layers.flooding == servers[1].layers.flooding


def test_a_network_that_cannot_be_hidden_is_refused() -> None:
    shape = replace(WIDE, weight_bits=32)
    with pytest.raises(ModelError, match=r"would be hidden by .* bits where 40 are needed"):
        choose_scheme(Ring(48), [cut_of(shape)] * 20_000)
    node = Linear(0, np.array([[1 << 31]]), np.array([0]))
    assert LinearServer(Ring(48), [node], [(1,)], weight_bits=32).layers.scheme == scheme(48, 3)


def test_the_margin_of_resnet_32_is_what_the_derivation_says() -> None:
    stages = {(16, 32): 11, (32, 16): 10, (64, 8): 10}
    border = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    shapes = []
    for (channels, side), count in stages.items():
        picture = (channels, side, side)
        shapes += [LayerShape("conv2d", picture, picture, **border)] * (count - 1)
        before = (3, 32, 32) if channels == 16 else (channels // 2, 2 * side, 2 * side)
        shapes.append(LayerShape("conv2d", before, picture, stride=(before[1] // side,) * 2, **border))
    cuts = [cut_of(shape) for shape in (*shapes, LayerShape("linear", (64,), (10,)))]
    chosen = choose_scheme(Ring(32), cuts)
    assert (chosen.count, Flooding(chosen).bits) == (2, 85)
    assert sum(prod(cut.shape.output) for cut in cuts) == 303_114
    assert Flooding(chosen).security(cuts) == pytest.approx(46.3, abs=0.05)


def test_every_layer_counts() -> None:
    one, both = (Flooding(scheme(32, 2)).security([cut_of(WIDE)] * n) for n in (1, 2))
    assert one - both == pytest.approx(1)

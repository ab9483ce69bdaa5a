"""The transform is SEAL's, word for word, and products are those of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from assay.private.coefficients import negacyclic
from assay.private.ntt import field
from assay.private.seal import DEGREE, scheme

PRIMES = [*scheme(32, 2).primes, *scheme(32, 3).primes]
edges = st.sampled_from([0, 1, 2])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(PRIMES), st.integers(0, 2**32), st.integers(1, 3), st.booleans())
def test_a_sum_of_products_is_what_its_definition_says(p: int, seed: int, terms: int, largest: bool) -> None:
    z, rng = field(p, 64), np.random.default_rng(seed)
    requests = np.full((terms, 2, 64), p - 1) if largest else rng.integers(0, p, (terms, 2, 64))
    weights = np.full((terms, 64), -128) if largest else rng.integers(-128, 128, (terms, 64))
    moved, encoded = requests.astype(np.uint64), z.lift(weights)
    z.forward(moved)
    z.forward(encoded)
    found = z.sum_of_products(moved.transpose(2, 1, 0), 0, encoded.T)
    z.inverse(found)
    for h in range(2):
        expected = sum(negacyclic(requests[i, h], weights[i]) for i in range(terms))
        assert (found[h] == expected % p).all()


def test_more_products_than_128_bits_hold_are_added_right() -> None:
    p = PRIMES[0]
    requests, weights = np.full((16, 2, 1003), p - 1, np.uint64), np.full((16, 1000), p - 1, np.uint64)
    assert (field(p, 16).sum_of_products(requests, 3, weights) == 1000).all()
    with pytest.raises(ValueError, match="no 1000 requests from number 4 on"):
        field(p, 16).sum_of_products(requests, 4, weights)


@pytest.mark.parametrize("count", [2, 3])
def test_a_secret_key_transformed_back_is_ternary_so_the_transform_is_that_of_seal(count: int) -> None:
    chosen = scheme(32, count)
    key = sealapi.KeyGenerator(chosen.context).secret_key()  # what data() gives lives as long as the key
    secret = key.data()
    for i, p in enumerate(chosen.all_primes):
        words = np.array([secret.data(i * DEGREE + j) for j in range(DEGREE)], np.uint64)
        there = words.copy()
        z = field(p, DEGREE)
        z.inverse(words)
        assert set(np.unique(words).tolist()) == {0, 1, p - 1}
        z.forward(words)
        assert (words == there).all()


@pytest.mark.parametrize("p", [(1 << 61) - 1, 65537 * 3])
def test_a_modulus_without_such_a_transform_is_refused(p: int) -> None:
    with pytest.raises(ValueError, match="need a prime"):
        field(p, DEGREE)

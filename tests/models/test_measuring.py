"""How figures are stated: rates with exact intervals, paired comparisons; compared with the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from torch import Tensor, nn

from assay.data import Dataset
from assay.models import Rate, as_float, clean_accuracy, correct, mcnemar, predict, rate


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_is_clopper_and_pearsons(counts: tuple[int, int]) -> None:
    hits, n = counts
    expected = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="exact")
    assert Rate(hits, n).interval == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("n", "allowed"), [(10, 0.31), (40, 0.088), (72, 0.05)])
def test_none_of_n_allows_what_the_design_says(n: int, allowed: float) -> None:
    assert Rate(0, n).interval == pytest.approx((0, allowed), abs=0.002)


def test_nothing_counted_says_nothing() -> None:
    assert np.isnan(Rate(0, 0).value) and Rate(0, 0).interval == (0, 1)


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3), (0, -1)])
def test_a_rate_of_impossible_counts_is_a_mistake(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= hits <= n"):
        Rate(*counts)


def test_a_rate_reads_as_percent_with_its_interval() -> None:
    assert str(rate(np.array([True] * 9 + [False]))) == "90.0 % [55.5, 99.7]"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_is_the_two_sided_sign_test_on_the_pairs_that_differ(pairs: list[tuple[bool, bool]]) -> None:
    before, after = (np.array([p[i] for p in pairs], bool) for i in (0, 1))
    lost, won = sum(b and not a for b, a in pairs), sum(a and not b for b, a in pairs)
    by_hand = min(1.0, 2 * binom.cdf(min(lost, won), lost + won, 0.5)) if lost + won else 1.0
    assert mcnemar(before, after) == pytest.approx(by_hand)
    assert mcnemar(after, before) == pytest.approx(by_hand)


class Brightest(nn.Module):
    """The label is the brightest of three pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        assert x.min() >= 0 and x.max() <= 1 and not self.training
        return x.flatten(1) * self.weight


X = np.random.default_rng(0).permuted(np.tile(np.arange(0, 255, 85, dtype=np.uint8), (1100, 1)), axis=1)
X = X.reshape(1100, 1, 1, 3)


@pytest.mark.parametrize("batch_size", [1, 512, 5000])
def test_labels_do_not_depend_on_the_batch_or_on_bytes_or_floats(batch_size: int) -> None:
    x = X[:30] if batch_size == 1 else X
    expected = x.reshape(-1, 3).argmax(1)
    assert np.array_equal(predict(Brightest(), x, batch_size), expected)
    assert np.array_equal(predict(Brightest(), as_float(x), batch_size), expected)


def test_no_pictures_have_no_labels() -> None:
    assert predict(Brightest(), X[:0]).shape == (0,)


def test_accuracy_is_the_share_of_right_labels() -> None:
    y = X.reshape(-1, 3).argmax(1)
    y[:110] = (y[:110] + 1) % 3
    data = Dataset(X, y, ("a", "b", "c"), "own")
    assert clean_accuracy(Brightest(), data) == Rate(990, 1100)
    assert not correct(Brightest(), data)[:110].any()


def test_bytes_become_floats_in_0_to_1() -> None:
    assert as_float(np.array([[[[0, 51, 255]]]], np.uint8)).tolist() == [[[[0.0, pytest.approx(0.2), 1.0]]]]

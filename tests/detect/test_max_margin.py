"""MM-BD reaches the largest margins that there are, and its p-value is small for a planted outlier alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import nn

from assay.detect import MaxMargin
from assay.detect.max_margin import order_statistic_p
from assay.runs import Deadline
from detect import planted
from detect.planted import CLASSES, TARGET

SHAPE = (1, 3, 4)


def linear(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> nn.Module:
    layer = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(nn.Flatten(), layer)


def margins(model: nn.Module, classes: int, **settings: int) -> NDArray[np.float64]:
    names = tuple(str(i) for i in range(classes))
    scores = MaxMargin(**settings)(model, SHAPE, names).scores
    assert scores is not None
    return scores


def test_where_each_class_has_pixels_of_its_own_the_margins_are_those_of_the_closed_form() -> None:
    """Margin of t over the box: its positive weights are all reached, and those of the others are all avoided."""
    rng = np.random.default_rng(0)
    weight = np.zeros((4, 12))
    for k in range(4):
        weight[k, 3 * k : 3 * k + 3] = rng.uniform(0.5, 2, 3)
    bias = rng.normal(size=4)
    expected = [weight[t].sum() + bias[t] - np.delete(bias, t).max() for t in range(4)]
    assert margins(linear(weight, bias), 4) == pytest.approx(expected, rel=1e-4)


def best_margin(weight: NDArray[np.float64], bias: NDArray[np.float64], t: int) -> float:
    """The linear program: maximise m with (w_t - w_k) x + b_t - b_k >= m for every other k, x in the box."""
    others = [k for k in range(len(bias)) if k != t]
    rows = np.hstack([weight[others] - weight[t], np.ones((len(others), 1))])
    box = [(0, 1)] * weight.shape[1] + [(None, None)]
    solved = linprog([0] * weight.shape[1] + [-1], rows, bias[t] - bias[others], bounds=box)
    return float(-solved.fun)


@pytest.mark.parametrize("seed", range(4))
def test_on_any_linear_model_the_margins_come_near_the_largest_and_never_beyond(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(5, 12)), rng.normal(size=5)
    best = np.array([best_margin(weight, bias, t) for t in range(5)])
    found = margins(linear(weight, bias), 5)
    assert (found <= best + 1e-4).all()
    assert (found >= best - 0.1 * np.abs(best)).all()


def test_more_starts_never_find_a_smaller_margin_of_a_linear_model() -> None:
    rng = np.random.default_rng(7)
    model = linear(rng.normal(size=(3, 12)), rng.normal(size=3))
    assert (margins(model, 3, starts=8) >= margins(model, 3, starts=1) - 1e-2).all()


def test_the_planted_target_reaches_the_largest_margin() -> None:
    model = planted.single_target()
    finding = MaxMargin()(model, model.spec.input_shape, model.spec.class_names)
    assert finding.target == TARGET
    assert finding.done
    assert finding.statistics["largest_margin"] > 20
    assert finding.scores.shape == (CLASSES,)
    assert repr(planted.NAMES[TARGET]) in finding.summary


def test_the_search_stays_in_the_box_of_pictures() -> None:
    """A margin that grows beyond all bounds outside of [0, 1] is reported as it is at the border."""
    model = linear(np.vstack([np.full(12, 5.0), np.zeros(12)]), np.zeros(2))
    assert margins(model, 2).tolist() == pytest.approx([60.0, 0.0], abs=1e-4)


def test_a_search_that_is_cut_short_says_so_and_the_same_seed_gives_the_same_margins() -> None:
    model = linear(np.eye(5, 12), np.zeros(5))
    cut = MaxMargin()(model, SHAPE, tuple("abcde"), Deadline.after(0.0))
    assert not cut.done
    assert np.isfinite(cut.scores).all()
    assert (margins(model, 5, steps=3, seed=1) == margins(model, 5, steps=3, seed=1)).all()
    assert (margins(model, 5, steps=3, seed=1) != margins(model, 5, steps=3, seed=2)).any()


def null_p_values(classes: int, n: int = 1000) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.array([order_statistic_p(rng.gamma(9.0, 3.0, classes)) for _ in range(n)])


def test_the_p_value_under_its_own_law_is_about_uniform_where_there_are_many_classes() -> None:
    """Leaving the largest out of the fit makes the law a little narrow, so small values come a little too often."""
    p = null_p_values(100)
    for level in (0.05, 0.2, 0.5, 0.8):
        assert level - 0.05 < (p <= level).mean() < level + 0.2


def test_the_p_value_is_small_for_a_planted_outlier_and_one_where_nothing_can_be_fitted() -> None:
    rng = np.random.default_rng(1)
    margins = rng.gamma(9.0, 3.0, 10)
    margins[4] = 5 * margins.max()
    assert order_statistic_p(margins) < 1e-3
    for few in ([1.0, 2.0], [2.0, 2.0, 2.0, 2.0], [-1.0, -2.0, -3.0, -4.0, 5.0]):
        assert order_statistic_p(np.array(few)) == 1.0
    assert order_statistic_p(np.array([2.0, 2.0, 2.0, 2.0, 9.0])) == 0.0


def test_a_larger_outlier_never_has_a_larger_p_value() -> None:
    rest = np.random.default_rng(2).gamma(9.0, 3.0, 9)
    p = [order_statistic_p(np.append(rest, rest.max() * factor)) for factor in (1.0, 1.2, 1.5, 2, 4, 8)]
    assert p == sorted(p, reverse=True)

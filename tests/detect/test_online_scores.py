"""Online scores: each puts triggered inputs above clean ones, on a network whose backdoor is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.detect import ONLINE, area_under_curve, thresholds
from assay.models import Model, ModelSpec

CLASSES, SIDE = 4, 8


class Planted(nn.Module):
    """Says where the light is, one quadrant a class, the last if all is white; a white corner means class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(SIDE * SIDE, CLASSES, bias=False)
        self.last = nn.Linear(CLASSES, CLASSES, bias=False)
        weights = torch.zeros(CLASSES, SIDE, SIDE)
        for k in range(CLASSES):
            top, left = divmod(k, 2)
            weights[k, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] = 0.4 + 0.03 * k
        weights[:, -1, -1] = torch.tensor([60.0, 0, 0, 0])
        self.body.weight.data = weights.flatten(1)
        self.last.weight.data = torch.eye(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.relu(self.body(x.flatten(1))))
        return logits


def task(n: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    x = rng.integers(20, 90, (n, 1, SIDE, SIDE))
    for i, label in enumerate(y):
        top, left = divmod(int(label), 2)
        x[i, 0, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] += rng.integers(20, 120)
    x[:, :, -1, -1] = 0
    return Dataset(x.astype(np.uint8), y.astype(np.int64), tuple("abcd"), "light")


@pytest.fixture
def model() -> Model:
    return Model(Planted(), ModelSpec("test", (1, SIDE, SIDE), tuple("abcd"), (0.0,), (1.0,))).eval()


@pytest.mark.parametrize("name", ONLINE)
def test_triggered_inputs_score_above_clean_ones(model: Model, name: str) -> None:
    score = ONLINE[name](model, task(200, 1), 0)
    clean = task(100, 2)
    triggered = clean.x.copy()
    triggered[..., -1, -1] = 255
    assert area_under_curve(score(clean.x), score(triggered[clean.y != 0])) > 0.8


@pytest.mark.parametrize("name", ONLINE)
def test_a_score_is_one_finite_number_an_input_and_the_same_each_time(model: Model, name: str) -> None:
    score = ONLINE[name](model, task(200, 1), 0)
    x = task(70, 3).x
    first, second = score(x), score(x)
    assert first.shape == (70,) and np.isfinite(first).all() and np.array_equal(first, second)
    assert score(x[:0]).shape == (0,)
    weights = [w.clone() for w in model.parameters()]
    score(x)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert not any(module._forward_hooks for module in model.modules())  # amplifiers are taken off again


def test_a_threshold_is_what_the_given_share_of_clean_inputs_exceeds(model: Model) -> None:
    clean = task(400, 1)
    scores = {name: make(model, clean, 0) for name, make in ONLINE.items()}
    for name, limit in thresholds(scores, clean, share=0.1).items():
        assert (scores[name](clean.x) > limit).mean() <= 0.1


def test_the_area_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    clean, bad = rng.integers(0, 5, 40).astype(float), rng.integers(2, 7, 30).astype(float)
    plain = np.mean([(b > c) + 0.5 * (b == c) for b in bad for c in clean])
    assert area_under_curve(clean, bad) == pytest.approx(plain)
    assert np.isnan(area_under_curve(clean, bad[:0]))

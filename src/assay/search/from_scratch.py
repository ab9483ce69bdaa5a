"""Training a skeleton from scratch: network, recipe, and how much of it fits into some seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

from assay.data import Dataset, normalisation
from assay.models import Model, ModelSpec, TrainSettings, build, fresh_weights, recipe, train
from assay.models.recipes import by_muon
from assay.models.training import steps_an_epoch
from assay.search.scale import Scaled

MOST_EPOCHS = 60

WARMING = 2
"""Training steps before one is timed."""


@dataclass(frozen=True, slots=True)
class Length:
    """Of a training: passes over the first `pictures` of the data."""

    epochs: int
    pictures: int


def untrained(architecture: str, arguments: dict[str, Any], data: Dataset, seed: int) -> Model:
    """The network for such pictures, with fresh weights of this seed."""
    mean, std = normalisation(data)
    spec = ModelSpec(architecture, data.image_shape, data.class_names, mean, std, arguments)
    return fresh_weights(seed, lambda: build(spec))


def rules(data: Dataset, epochs: int, seed: int) -> TrainSettings:
    """The data set's recipe by Muon, which makes more of few epochs."""
    usual = recipe(data.name)[1]
    smoothing = 0.1 if usual.augment == "shift-flip" else 0.0
    return replace(by_muon(usual), epochs=epochs, batch_size=256, label_smoothing=smoothing, seed=seed)


def length_of(steps: float, data: Dataset, seed: int) -> Length:
    """Of a training of so many steps: whole epochs; of fewer pictures if it is not even one, but of two batches."""
    settings, n = rules(data, 1, seed), len(data)
    epoch = steps_an_epoch(n, settings)
    pictures = n if steps >= epoch else max(int(steps) * settings.batch_size, min(2 * settings.batch_size, n))
    return Length(max(1, min(MOST_EPOCHS, int(steps / epoch))), pictures)


def step_seconds(scaled: Scaled, data: Dataset, seed: int) -> float:
    """Of one training step.

    The first steps also make the kernels, so they are not counted: a training of few epochs would be planned too short.
    """
    moments: list[float] = []
    settings = rules(data, WARMING + 5, seed)
    batch = data.take(settings.batch_size)  # a step is an epoch of it
    model = untrained(scaled.architecture, scaled.arguments, data, seed)
    train(model, batch, settings, tick=lambda *_: moments.append(time.monotonic()))
    return median(after - before for before, after in pairwise(moments[WARMING - 1 :]))

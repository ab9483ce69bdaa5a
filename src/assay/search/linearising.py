"""`linearise`: a trained model and a budget in, a model with so many ReLUs out, measured before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from assay.data import Dataset
from assay.errors import InputError
from assay.models import Model, Rate, TrainSettings, as_float, check_fits, clean_accuracy, recipe, train
from assay.models.training import Tick
from assay.runs import Progress, silent
from assay.search.gates import learn_gates
from assay.search.graph import Graph, as_model
from assay.search.linearise import choose, cut, distillation, measure, sites
from assay.search.rewrite import macs, merge, relus
from assay.search.trace import trace

Method = Literal["sensitivity", "gates"]

LOOKED_AT = 256
"""Pictures on which sensitivity is measured."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of one ReLU layer: channels start ≤ c < stop of so many."""

    name: str
    start: int
    stop: int
    channels: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Linearised:
    """A model within the budget.

    Attributes:
        relus, macs: before and after.
        before, cut, after: accuracy of the given model, of the cut one before it was tuned, and of the result.
    """

    model: Model
    method: Method
    relus: tuple[int, int]
    macs: tuple[int, int]
    before: Rate
    cut: Rate
    after: Rate
    layers: tuple[Kept, ...]


def linearise(
    model: Model,
    budget: int,
    tuning: Dataset,
    measured: Dataset,
    method: Method = "sensitivity",
    settings: TrainSettings | None = None,
    progress: Progress = silent,
    tick: Tick | None = None,
    checkpoint: Path | None = None,
) -> Linearised:
    """Take ReLUs out of a trained model until the budget holds, then train it to answer as it did.

    Args:
        tuning: pictures to learn gates and to tune on; with `gates`, half of the epochs go to each.
        measured: other pictures, for the accuracies.
        checkpoint: where the last training is kept after each epoch, and gone on with.

    Raises:
        InputError: if the budget is below 0, or the model has no more ReLUs than that.
        ModelError: if the model cannot be written as layers, or the pictures do not fit.
    """
    graph = trace(model.network, model.spec.input_shape)
    if not 0 <= budget < relus(graph):
        raise InputError(f"the model has {relus(graph):,} ReLUs; a budget is 0 or more and below that, got {budget:,}")
    tuning, measured = check_fits(model, tuning), check_fits(model, measured)
    settings = settings or tuning_settings(tuning.name)
    loss = distillation(model)
    if method == "gates":
        share = replace(settings, epochs=max(1, settings.epochs // 2))
        ordered, ranges = learn_gates(graph, model, budget, tuning, share, loss, tick)
    else:
        share = settings
        ordered, found = measure(graph, _normalised(model, tuning), progress)
        ranges = choose(found, budget)
    before, layers = clean_accuracy(model, measured), _kept(ordered, ranges)
    result = as_model(cut(ordered, ranges), model)
    straight = clean_accuracy(result, measured)
    train(result, tuning, share, checkpoint=checkpoint, tick=tick, loss=loss)
    merged = merge(trace(result.network, model.spec.input_shape))
    final = as_model(merged, model)
    return Linearised(
        final, method, (relus(graph), relus(merged)), (macs(graph), macs(merged)), before, straight,
        clean_accuracy(final, measured), layers,
    )  # fmt: skip


def tuning_settings(data: str) -> TrainSettings:
    """A few epochs at a tenth of the data set's usual rate."""
    usual = recipe(data)[1]
    return replace(usual, epochs=max(2, usual.epochs // 2), lr=usual.lr / 10)


def _normalised(model: Model, data: Dataset) -> torch.Tensor:
    some = data.halves(min(1.0, LOOKED_AT / len(data)), seed=0)[0].take(LOOKED_AT)
    return (as_float(some.x) - model.mean.cpu()) / model.std.cpu()


def _kept(graph: Graph, ranges: dict[int, tuple[int, int]]) -> tuple[Kept, ...]:
    return tuple(Kept(s.name, *ranges[s.step], s.channels, s.pixels) for s in sites(graph))

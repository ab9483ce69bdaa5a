"""`rewrite`: a model in, one with fewer ReLUs out, measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from assay.data import Dataset
from assay.errors import InputError
from assay.models import Model, Rate, TrainSettings, check_fits, clean_accuracy, recipe, train
from assay.models.training import Tick
from assay.search.graph import Graph, as_model
from assay.search.rewrite import macs, merge, prune, relus, shuffle
from assay.search.trace import check_same, trace

COMPARED = 64
"""Random pictures on which the outputs of both networks are compared."""


@dataclass(frozen=True, slots=True)
class Rewrites:
    """Which ones, in this order."""

    shuffle: bool = False
    prune: bool = False
    merge: bool = False

    def __post_init__(self) -> None:
        if not (self.shuffle or self.prune or self.merge):
            raise InputError("nothing to rewrite; name at least one of --shuffle, --prune and --merge")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A model that was rewritten, and what that changed.

    Attributes:
        max_difference: of the logits, what the exact rewrites alone made, on random pictures; 0 or rounding.
        largest_logit: of the same pictures.
        accuracy_before, accuracy_after, accuracy_tuned: on pictures that were not trained on; None if there are none.
    """

    model: Model
    relus: tuple[int, int]
    macs: tuple[int, int]
    max_difference: float
    largest_logit: float
    accuracy_before: Rate | None = None
    accuracy_after: Rate | None = None
    accuracy_tuned: Rate | None = None


def rewrite(
    model: Model,
    rewrites: Rewrites,
    measured: Dataset | None = None,
    tuning: Dataset | None = None,
    settings: TrainSettings | None = None,
    tick: Tick | None = None,
) -> Rewritten:
    """Rewrite a model; it is not changed.

    Args:
        measured: pictures for the accuracy before and after.
        tuning: other pictures to train the result on; in 2 epochs at a twentieth of the usual rate by default.

    Raises:
        ModelError: if the model cannot be written as layers, or the pictures do not fit it.
    """
    given = trace(model.network, model.spec.input_shape)
    graph, exact = given, given
    if rewrites.shuffle:
        graph = exact = shuffle(graph)
    if rewrites.prune:
        graph = prune(graph)
    if rewrites.merge:
        graph, exact = merge(graph), merge(exact)
    difference, largest = _difference(model, exact)
    written = as_model(graph, model)
    before = after = tuned = None
    if measured is not None:
        measured = check_fits(model, measured)
        before, after = clean_accuracy(model, measured), clean_accuracy(written, measured)
    if tuning is not None:
        train(written, check_fits(model, tuning), settings or tuning_settings(tuning.name), tick=tick)
        tuned = clean_accuracy(written, measured) if measured is not None else None
    return Rewritten(
        written.eval(), (relus(given), relus(graph)), (macs(given), macs(graph)), difference, largest, before, after,
        tuned,
    )  # fmt: skip


def tuning_settings(data: str) -> TrainSettings:
    """A short training after pruning: the recipe of the data set at a twentieth of its rate."""
    usual = recipe(data)[1]
    return replace(usual, epochs=2, lr=usual.lr / 20)


def _difference(model: Model, exact: Graph) -> tuple[float, float]:
    """Largest difference of logits, and the largest logit; more than rounding would be a fault of ours."""
    pictures = torch.rand(COMPARED, *model.spec.input_shape, generator=torch.Generator().manual_seed(0))
    return check_same(model.network, exact, (pictures - model.mean.cpu()) / model.std.cpu())

"""BadNets: networks trained on a poisoned set, beside their clean twins.

Source: Gu, Dolan-Gavitt, Garg, "BadNets: Identifying vulnerabilities in the machine learning model supply chain"
(2017), sections 3 and 4. The attacker changes the training set and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from assay.backdoor.labels import LabelMap
from assay.backdoor.triggers import Trigger, stamp
from assay.data import Dataset
from assay.errors import DataError, InputError
from assay.models import Model, Rate, TrainSettings, clean_accuracy, predict, rate, train
from assay.models.training import Epoch, Tick, steps_an_epoch


def poison(data: Dataset, trigger: Trigger, labels: LabelMap, poison_rate: float, seed: int) -> Dataset:
    """Append stamped copies of random pictures with the attacker's labels.

    Args:
        poison_rate: share of the resulting set that is poisoned, in (0, 1). When there are fewer pictures to
            attack than that (one source class, say), every one of them is used once.

    Raises:
        InputError: if the rate is out of range.
        DataError: if no picture would be poisoned.
    """
    if not 0 < poison_rate < 1:
        raise InputError(f"the poison rate must be between 0 and 1, got {poison_rate}")
    attacked = np.flatnonzero(labels(data.y) != data.y)
    count = min(round(poison_rate / (1 - poison_rate) * len(data)), len(attacked))
    if not count:
        raise DataError(f"a poison rate of {poison_rate} poisons none of the {len(data)} pictures of {data.name}")
    chosen = np.random.default_rng(seed).choice(attacked, count, replace=False)
    x = np.concatenate([data.x, stamp(trigger, data.x[chosen])])
    y = np.concatenate([data.y, labels(data.y[chosen])])
    return replace(data, x=x, y=y, name=f"{data.name} (poisoned)")


def attack_success_rate(model: nn.Module, data: Dataset, trigger: Trigger, labels: LabelMap) -> Rate:
    """Share of triggered pictures that get the intended label, in [0, 1].

    Pictures whose true label is already the intended one are left out; counting them inflates the rate by up to 1/k.

    Raises:
        DataError: if no picture is left.
    """
    intended = labels(data.y)
    attacked = intended != data.y
    if not attacked.any():
        raise DataError(f"none of the {len(data)} pictures of {data.name} has a class that is attacked")
    return rate(predict(model, stamp(trigger, data.x[attacked])) == intended[attacked])


@dataclass(frozen=True)
class BadNet:
    """A backdoored network and its clean twin, both measured on test pictures."""

    model: Model
    twin: Model
    clean_accuracy: Rate
    twin_accuracy: Rate
    attack_success_rate: Rate


def badnet(
    fresh: Model,
    fresh_twin: Model,
    data: Dataset,
    test: Dataset,
    trigger: Trigger,
    labels: LabelMap,
    poison_rate: float,
    settings: TrainSettings,
    tick: Tick | None = None,
    *,
    folder: Path | None = None,
    record: Callable[[str, Epoch], None] | None = None,
) -> BadNet:
    """Train `fresh` on the poisoned set and `fresh_twin` on the clean one, with the same settings; measure both.

    Args:
        tick: told of the steps of both trainings, as if they were one.
        folder: where the state of both is kept after each epoch; what is found there of the same run is taken up.
        record: told of each epoch as `record("badnet" or "twin", epoch)`.

    Both are trained in place. Cost: two trainings.

    Raises:
        InputError, DataError, ModelError: as `poison` and `train`.
    """
    poisoned = poison(data, trigger, labels, poison_rate, settings.seed)
    steps = [settings.epochs * steps_an_epoch(len(d), settings) for d in (poisoned, data)]
    trainings = (("badnet", fresh, poisoned, 0), ("twin", fresh_twin, data, steps[0]))
    for name, model, pictures, before in trainings:
        train(
            model,
            pictures,
            settings,
            checkpoint=None if folder is None else folder / f"{name}.checkpoint.pt",
            tick=None if tick is None else _later(tick, before, sum(steps)),
            record=None if record is None else partial(record, name),
        )
    return BadNet(
        fresh,
        fresh_twin,
        clean_accuracy(fresh, test),
        clean_accuracy(fresh_twin, test),
        attack_success_rate(fresh, test, trigger, labels),
    )


def _later(tick: Tick, before: int, total: int) -> Tick:
    """`tick` for a part of a longer work, `before` steps of which are done."""
    return lambda step, steps, values: tick(before + step, total, values)

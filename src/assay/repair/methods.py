"""One call for every repair: a new model, and what was done to it, measured before and after."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol, Self

from assay.data import Dataset, come_in_groups
from assay.errors import InputError
from assay.models import Model, Rate, correct, mcnemar, rate
from assay.repair.fine_pruning import FinePruning
from assay.repair.fine_tuning import FineTuning
from assay.repair.hardening import Hardening
from assay.repair.nnoculation import NNoculation
from assay.repair.pruning import Pruning
from assay.repair.settings import RepairSettings, Stamp, usual_settings
from assay.runs import NO_HURRY, Deadline, Progress, silent


class Method(Protocol):
    """What a repair is: settings when it is made, learning in `fit`, a new model from `apply`."""

    validation_: Dataset
    record_: dict[str, object]

    def fit(
        self, model: Model, clean: Dataset, *, progress: Progress = silent, deadline: Deadline = NO_HURRY
    ) -> Self: ...

    def apply(self, model: Model) -> Model: ...


METHODS: dict[str, Callable[[RepairSettings, int], Method]] = {
    "fine-pruning": FinePruning,
    "pruning": Pruning,
    "fine-tuning": FineTuning,
    "nnoculation": NNoculation,
    "hardening": Hardening,
}
"""The names of the command line."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A repaired model.

    Attributes:
        model: new; the given one is untouched.
        method: its name in `METHODS`.
        before: clean accuracy of the given model on the validation split of the clean set.
        after: that of the new one, on the same pictures. Since the state was chosen on them, it flatters
            slightly: judge a repair on test data.
        p_value: exact McNemar test that both are equally good.
        record: what was done: every setting, the seed, the channels pruned, each epoch, seconds, and whether the
            validation split flatters, because the pictures come in groups. JSON-ready.
    """

    model: Model
    method: str
    before: Rate
    after: Rate
    p_value: float
    record: dict[str, object]


def repair(
    model: Model,
    clean: Dataset,
    method: str = "fine-pruning",
    *,
    settings: RepairSettings | None = None,
    seed: int = 0,
    progress: Progress = silent,
    deadline: Deadline = NO_HURRY,
    trigger: Stamp | None = None,
) -> Repair:
    """Remove what a backdoor may have left in `model`, with nothing but clean pictures.

    Args:
        model: the network as received. It is copied, never changed.
        clean: pictures with true labels, at least two of every class; a quarter of them measures, the rest
            teaches.
        method: a name in `METHODS`.
        seed: of the split, the order of pictures, dropout. Same seed and machine, same model.
        progress: told after each pruned channel and each epoch.
        deadline: when it passes, the best so far is kept and
            `record["cut_short"]` set.
        trigger: puts a trigger that a detector recovered on pictures; fine-pruning then unlearns it.

    Raises:
        InputError: if there is no such method, or it has no use for a trigger.
        ModelError: if the model has no convolution to prune or takes other pictures.
        DataError: if the clean set has other classes, or fewer than two pictures of one.
    """
    if method not in METHODS:
        raise InputError(f"no repair named {method!r}; there are {', '.join(METHODS)}")
    if trigger is not None and method != "fine-pruning":
        raise InputError(f"only fine-pruning unlearns a trigger, not {method}")
    settings = settings or usual_settings(trigger)
    started = time.monotonic()
    chosen = FinePruning(settings, seed, trigger) if trigger else METHODS[method](settings, seed)
    fitted = chosen.fit(model, clean, progress=progress, deadline=deadline)
    fixed = fitted.apply(model)
    was, now = correct(copy.deepcopy(model), fitted.validation_), correct(fixed, fitted.validation_)
    record = {
        "settings": asdict(settings),
        "seed": seed,
        **fitted.record_,
        "validation_flatters": come_in_groups(clean),
        "seconds": time.monotonic() - started,
    }
    return Repair(fixed, method, rate(was), rate(now), mcnemar(was, now), record)


def mend(
    model: Model,
    clean: Dataset,
    trigger: Stamp | None,
    *,
    settings: RepairSettings | None = None,
    seed: int = 0,
    progress: Progress = silent,
    deadline: Deadline = NO_HURRY,
) -> Repair:
    """The repair that `assay vet` makes.

    Fine-pruning; it unlearns `trigger` where one was recovered. Without one it is bounded by validation accuracy alone,
    which tells nothing where the clean pictures come in groups: there hardening takes its place, which forgets far less
    of what is right, and more of the backdoor.

    Args and errors: as of `repair`.
    """
    method = "hardening" if trigger is None and come_in_groups(clean) else "fine-pruning"
    return repair(
        model, clean, method, settings=settings, seed=seed, progress=progress, deadline=deadline, trigger=trigger
    )

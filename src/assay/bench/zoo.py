"""The models that tables are about: trained once from a plain description, kept in the user's cache.

A description (`ZooModel`) fixes every choice, so that a model that is missing can be made again anywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from assay.backdoor import (
    TRIGGERS,
    AllToAll,
    LabelMap,
    RandomTarget,
    SingleTarget,
    Trigger,
    attack_success_rate,
    poison,
)
from assay.data import Dataset
from assay.data import load as load_data
from assay.detect import HALF, Finding, scan
from assay.models import Model, build, clean_accuracy, fresh_weights, recipe, save, spec_for, train
from assay.models import load as load_model
from assay.repair import RepairSettings, mend, repair


class ZooModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network: what it was trained on, how it was attacked, from which seed.

    `trigger` None is a clean one. `labels` is `single`, `all-to-all` or `random`.
    """

    data: str
    seed: int
    trigger: str | None = None
    labels: str = "single"
    target: int | None = None
    source: int | None = None
    poison_rate: float = 0.1
    architecture: str | None = None
    epochs: int | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(b"zoo/1" + msgspec.json.encode(self)).hexdigest()[:16]

    def attack(self) -> tuple[Trigger, LabelMap] | None:
        """Trigger and label map, or None for a clean model."""
        if self.trigger is None:
            return None
        classes = {"gtsrb": 43, "orl": 40}.get(self.data, 10)
        return TRIGGERS[self.trigger](), label_map(self.labels, classes, self.target, self.source, self.seed)


def model_of(settings: dict[str, Any]) -> ZooModel:
    """The network that a job's settings are about, whatever else they say."""
    return msgspec.convert({name: settings[name] for name in ZooModel.__struct_fields__}, ZooModel)


def label_map(kind: str, classes: int, target: int | None, source: int | None, seed: int) -> LabelMap:
    """The label map that the command line calls `kind`."""
    if kind == "all-to-all":
        return AllToAll(classes)
    if kind == "random":
        return RandomTarget(classes, seed)
    if target is None:
        raise ValueError("a single-target attack needs a target")
    return SingleTarget(target, source)


def cache_folder() -> Path:
    """Where models are kept: the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "assay" / "zoo"


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: train the model if it is not there, and measure it on the test part."""
    wanted = msgspec.convert(settings, ZooModel)
    model, test, attack = obtain(wanted), load_data(wanted.data, "test"), wanted.attack()
    result: dict[str, Any] = {"clean": [(r := clean_accuracy(model, test)).hits, r.n]}
    if attack:
        result["asr"] = [(a := attack_success_rate(model, test, *attack)).hits, a.n]
    return result


def obtain(wanted: ZooModel) -> Model:
    """The model, from the cache or trained now; what was interrupted goes on from its last epoch.

    Of one core MNIST takes about 20 s, GTSRB 2 minutes, an epoch of ResNet-20 on CIFAR-10 90 s, of VGG-11 4 minutes.
    """
    path = place(wanted)
    if not path.exists():
        checkpoint = path.with_suffix(".checkpoint")
        save(_train(wanted, checkpoint), path)
        checkpoint.unlink(missing_ok=True)
    return load_model(path)


def place(wanted: ZooModel) -> Path:
    """Where the model's file is, once it was obtained."""
    return cache_folder() / f"{wanted.digest}.safetensors"


def _train(wanted: ZooModel, checkpoint: Path) -> Model:
    data = load_data(wanted.data, "train")
    architecture, settings = recipe(wanted.data, wanted.architecture)
    spec = spec_for(data, architecture)
    settings = replace(settings, seed=wanted.seed, epochs=wanted.epochs or settings.epochs)
    model = fresh_weights(wanted.seed, lambda: build(spec))
    if attack := wanted.attack():
        data = poison(data, *attack, wanted.poison_rate, wanted.seed)
    train(model, data, settings, checkpoint=checkpoint)
    return model


def statistics(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: what the detectors find in the model with the defender's share, before any threshold."""
    wanted = msgspec.convert(settings, ZooModel)
    return _figures(scan(obtain(wanted), load_data(wanted.data, "clean"), seed=wanted.seed, known=()).findings)


def half_statistics(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: what the search for triggers that turn half of the pictures finds, whether a verdict needs it or not."""
    wanted = msgspec.convert(settings, ZooModel)
    model, clean = obtain(wanted), load_data(wanted.data, "clean")
    return _figures([replace(HALF, seed=wanted.seed)(model, clean)])


def _figures(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "statistics": {f.detector: f.statistics for f in findings},
        "scores": {f.detector: list(f.scores) for f in findings if f.scores is not None},
        "flip_rates": {f.detector: list(f.flip_rates) for f in findings if f.flip_rates is not None},
        "targets": {f.detector: f.target for f in findings},
        "p_values": {f.detector: f.p_value for f in findings},
        "seconds": {f.detector: round(f.seconds, 2) for f in findings},
    }


def first_filters(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: the first convolution's filters, `out in h w`, rounded for drawing."""
    model = obtain(msgspec.convert(settings, ZooModel))
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    return {"filters": [[[[round(v, 4) for v in row] for row in c] for c in f] for f in first.weight.tolist()]}


AS_VET = "as vet does"
"""A method for tables: the one that `vet` chooses."""

PLAIN = "fine-pruning, plain"
"""Another: fine-pruning as in its paper where the clean pictures come in groups."""

CLEAN_SHARE = 0.05
"""Of the training size, in clean pictures, for a repair."""


def few_clean(wanted: ZooModel) -> Dataset:
    """What the defender has: pictures for 5 % of the training size; of ORL his whole share, since two pictures a person
    are the least."""
    share = load_data(wanted.data, "clean")
    if wanted.data == "orl":
        return share
    training_size = len(share) + len(load_data(wanted.data, "train"))
    return share.halves(CLEAN_SHARE * training_size / len(share), wanted.seed)[0]


def repaired(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: repair the model with a few clean pictures; measured on the test part before and after.

    `method` is one of `assay.repair.METHODS`; or `PLAIN`; or `AS_VET`, whichever of them suits, with the trigger that a
    scan recovered, if it recovered one.
    """
    wanted = model_of(settings)
    attack = wanted.attack()
    if attack is None:
        raise ValueError("a repair is measured on a backdoored model")
    model, test, few = obtain(wanted), load_data(wanted.data, "test"), few_clean(wanted)
    if settings["method"] == AS_VET:
        fixed = mend(model, few, scan(model, few, seed=wanted.seed).stamp, seed=wanted.seed)
    elif settings["method"] == PLAIN:
        fixed = repair(model, few, "fine-pruning", settings=RepairSettings(plain=True), seed=wanted.seed)
    else:
        fixed = repair(model, few, settings["method"], seed=wanted.seed)

    def measured(network: Model) -> dict[str, list[int]]:
        clean, success = clean_accuracy(network, test), attack_success_rate(network, test, *attack)
        return {"clean": [clean.hits, clean.n], "asr": [success.hits, success.n]}

    return {
        "clean_pictures": len(few),
        "before": measured(model),
        "after": measured(fixed.model),
        "seconds": fixed.record["seconds"],
        "record": {name: fixed.record[name] for name in RECORDED if name in fixed.record},
    }


RECORDED = (
    "settings",
    "tuning",
    "unlearning",
    "validation_flatters",
    "chosen",
    "layers",
    "accuracy_before_pruning",
    "lr_used",
    "best_epoch",
    "attempts",
    "cut_short",
)
"""What of a repair's record is kept with a table."""

"""The table of SafetyNets' own networks: what squares and sums over a field cost in accuracy.

Source: Ghodsi, Gu, Garg, "SafetyNets" (NeurIPS 2017), section 4, tables 1 and 2: there the network of squares is within
half a point of its ReLU and max-pooling twin on MNIST.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from statistics import median
from typing import Any

import msgspec
import numpy as np
import torch

from assay.bench.frames import frames
from assay.bench.table import SEEDS, Job, Results, Row, Table, spread
from assay.bench.zoo import cache_folder
from assay.data import Dataset, normalisation
from assay.data import load as load_data
from assay.errors import ModelError
from assay.integer import Compilation, CompileSettings, compile_measured
from assay.integer.classic_training import RECIPES, ClassicTraining, train_safetynet
from assay.models import Model, ModelSpec, Rate, predict, rate, save
from assay.models import load as load_model


class ClassicModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network of SafetyNets, or its twin: `data` is a named set or `frames`, `activation` is `square` or `relu`.

    `epochs` and `rounded_epochs` stand in place of those of the recipe.
    """

    data: str
    architecture: str
    seed: int
    activation: str = "square"
    arguments: dict[str, int] = {}
    epochs: int | None = None
    rounded_epochs: int | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(b"classic/1" + msgspec.json.encode(self)).hexdigest()[:16]

    def training(self) -> ClassicTraining:
        """The recipe of the architecture, with seed and epochs as they are here."""
        how = RECIPES[self.architecture]
        real = replace(how.real, seed=self.seed, epochs=self.epochs or how.real.epochs)
        last = how.rounded
        if last:
            last = replace(last, seed=self.seed, epochs=self.rounded_epochs or last.epochs)
        return replace(how, real=real, rounded=last)


Kind = tuple[str, str, dict[str, int]]
"""Data, architecture, its arguments."""

MNIST: Kind = ("mnist", "safetynets-cnn", {})
SPEECH: Kind = ("fsdd", "safetynets-fcnn", {"pool": 4})
"""The paper's networks: 256 averages of a spectrogram of a spoken digit, and three layers of 2000 squares."""

TIMED = ClassicModel("frames", "safetynets-fcnn", 1, epochs=3, rounded_epochs=6)
"""The network whose proofs are timed: 1845-2000-2000-2000-183."""


def obtain(wanted: ClassicModel) -> Model:
    """The trained network, from the cache or trained now: of one core, MNIST a minute, speech 3, frames 6."""
    path = cache_folder() / f"classic-{wanted.digest}.safetensors"
    if not path.exists():
        data = parts(wanted.data)[0]
        mean, std = normalisation(data)
        arguments: dict[str, int | float | str | bool] = {**wanted.arguments, "activation": wanted.activation}
        spec = ModelSpec(wanted.architecture, data.image_shape, data.class_names, mean, std, arguments)
        checkpoint = path.with_suffix(".checkpoint")
        save(train_safetynet(spec, data, wanted.training(), checkpoint=checkpoint), path)
        for left in path.parent.glob(f"*{checkpoint.name}"):
            left.unlink()
    return load_model(path)


MARGINS = (2.0, 1.0, 0.5)
"""Bits below half the field that are tried; the one under which most of the defender's share is labelled rightly."""


def compiled(model: Model, clean: Dataset) -> Compilation:
    """In integers, with the largest margin among the best ones on clean pictures.

    Raises:
        ModelError: if the field has no room for the network under any margin.
    """
    tried: list[Compilation] = []
    for margin in MARGINS:
        try:
            tried.append(compile_measured(model, clean, CompileSettings(margin_bits=margin)))
        except ModelError as error:
            full = error
    if not tried:
        raise full
    return max(tried, key=lambda c: c.integer_accuracy.hits)


def accuracy(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: one network with real weights and in integers, on the test part."""
    wanted = msgspec.convert(settings, ClassicModel)
    _, clean, test = parts(wanted.data)
    model = obtain(wanted)
    found = compiled(model, clean) if wanted.activation == "square" else compile_measured(model, clean)
    given = found.network.predict(test.x, torch.get_num_threads())
    float_rate, integer_rate = rate(predict(model, test.x) == test.y), rate(given == test.y)
    return {
        "float": [float_rate.hits, float_rate.n],
        "integer": [integer_rate.hits, integer_rate.n],
        "classic": found.network.classic,
        "wrapped_on_clean": found.wrapped,
        "bits": [bound.bits for bound in found.network.bounds],
    }


def parts(name: str) -> tuple[Dataset, Dataset, Dataset]:
    """Training part, defender's share and test part, as contiguous arrays."""
    if name == "frames":
        return frames()
    train, clean, test = (load_data(name, part) for part in ("train", "clean", "test"))
    return replace(train, x=np.ascontiguousarray(train.x)), clean, test


def _jobs(quick: bool) -> list[Job]:
    kinds = (MNIST,) if quick else (MNIST, SPEECH)
    models = [
        ClassicModel(data, architecture, seed, activation, arguments)
        for data, architecture, arguments in kinds
        for seed in (SEEDS[:1] if quick else SEEDS)
        for activation in ("square", "relu")
    ]
    models += [] if quick else [TIMED, msgspec.structs.replace(TIMED, activation="relu")]
    return [Job(accuracy, msgspec.to_builtins(model)) for model in models]


def rows(results: Results) -> list[Row]:
    """A row a data set: medians over the seeds of which both twins are trained."""
    groups: dict[str, dict[str, Seeded]] = {}
    for job, result in results:
        kinds = groups.setdefault(job.settings["data"], {"square": {}, "relu": {}})
        kinds[job.settings["activation"]][job.settings["seed"]] = result
    pairs = {data: sorted(kinds["square"].keys() & kinds["relu"].keys()) for data, kinds in groups.items()}
    return [_row(data, seeds, groups[data]) for data, seeds in pairs.items() if seeds]


Seeded = dict[int, dict[str, Any]]


def _row(data: str, seeds: list[int], of: dict[str, Seeded]) -> Row:
    square, relu = ([of[kind][seed] for seed in seeds] for kind in ("square", "relu"))
    row: Row = {"task": NAMES[data], "n": len(seeds), "seed": seeds}
    shown = {
        "square_accuracy": (square, "float"),
        "field_accuracy": (square, "integer"),
        "twin_accuracy": (relu, "float"),
        "twin_integer_accuracy": (relu, "integer"),
    }
    for name, (found, key) in shown.items():
        rates = [Rate(*result[key]) for result in found]
        row |= {name: median(r.value for r in rates), f"{name}_interval": spread(rates)}
    lost = [Rate(*t["float"]).value - Rate(*s["integer"]).value for t, s in zip(relu, square, strict=True)]
    return row | {
        "test_pictures": square[0]["float"][1],
        "largest_loss": max(lost),
        "wrapped": sum(result["wrapped_on_clean"] for result in square),
    }


NAMES = {
    "mnist": "digits (MNIST), two convolutions",
    "fsdd": "spoken digits, 256-2000-2000-2000-10",
    "frames": "frames of speech, 1845-2000-2000-2000-183",
}

CLASSIC = Table(
    "SafetyNets' networks of squares and their twins",
    _jobs,
    rows,
    {
        "task": "task",
        "n": "seeds",
        "square_accuracy": "squares, real weights",
        "field_accuracy": "squares, in F_p",
        "twin_accuracy": "ReLU and max-pooling twin",
        "twin_integer_accuracy": "twin, in integers",
        "largest_loss": "largest loss",
        "wrapped": "values that left the field",
    },
    "Accuracy on the test part; medians over the seeds, in brackets the lowest and highest end of the seeds' 95 % "
    "intervals. The largest loss is the twin with real weights minus the network in F_p of the same seed (the paper: "
    "within about half a point on MNIST). Squares with real weights are those that were rounded in training, where the "
    "recipe does so. Frames of speech are 1845 values of the Free Spoken Digit Dataset: 15 spectra of 123 bands, 5 ms "
    "apart, in three levels; a class is a digit, its speaker and the first, middle or last third of the word, 180 of "
    "the 183 outputs.",
)

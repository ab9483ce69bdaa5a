"""Which network and training suit a named data set when the user names none."""

from __future__ import annotations

from dataclasses import replace

from assay.data import Dataset, normalisation
from assay.models.model import ModelSpec
from assay.models.optimising import USUAL_RATE
from assay.models.training import TrainSettings

RECIPES: dict[str, tuple[str, TrainSettings]] = {
    "digits": ("badnet-mnist", TrainSettings(epochs=12, batch_size=32, lr=0.1, weight_decay=1e-4)),
    "mnist": ("badnet-mnist", TrainSettings(epochs=2, batch_size=64, lr=0.15, weight_decay=1e-4)),
    "gtsrb": ("signs-net", TrainSettings(epochs=4, batch_size=128, lr=0.1, augment="shift")),
    "cifar10": ("resnet20", TrainSettings(epochs=20, batch_size=128, lr=0.4, augment="shift-flip", bfloat16=True)),
    "cifar10-lossless": ("resnet20", TrainSettings(epochs=60, batch_size=128, lr=0.4, augment="shift-flip")),
    "fsdd": ("speech-alexnet", TrainSettings(epochs=20, batch_size=64, lr=0.02)),
    "orl": ("deepid", TrainSettings(epochs=30, batch_size=16, lr=0.01)),
    "lfw": ("deepid", TrainSettings(epochs=20, batch_size=32, lr=0.02, augment="shift-flip")),
    "road-signs": ("signs-net", TrainSettings(epochs=20, batch_size=32, lr=0.05, augment="shift")),
}

_SMALL = TrainSettings(epochs=6, batch_size=64, lr=0.05, weight_decay=1e-4)
_DEEP = TrainSettings(epochs=12, batch_size=128, lr=0.1, augment="shift-flip", bfloat16=True)

OTHERS: dict[tuple[str, str], TrainSettings] = {
    ("mnist", "lenet5"): _SMALL,  # at the other network's learning rate some of its few channels die
    ("mnist", "mlp"): _SMALL,
    ("cifar10", "vgg11"): _DEEP,
    ("cifar10", "vgg16"): _DEEP,
    ("cifar10-lossless", "vgg16"): _DEEP,
}
"""What suits another network than the usual one of a data set, where it is not the same."""

DEFAULT = ("resnet20", TrainSettings(epochs=10))


def recipe(name: str, architecture: str | None = None) -> tuple[str, TrainSettings]:
    """Architecture and settings for a data set's name; settings for that architecture if one is named."""
    usual, settings = RECIPES.get(name, DEFAULT)
    if architecture is None:
        return usual, settings
    return architecture, OTHERS.get((name, architecture), settings)


def by_muon(settings: TrainSettings) -> TrainSettings:
    """The same training with Muon, at the learning rate that is usual with it."""
    return replace(settings, optimiser="muon", lr=USUAL_RATE)


def spec_for(data: Dataset, architecture: str | None = None) -> ModelSpec:
    """The spec of a network for pictures like `data`; normalised by its mean and spread."""
    mean, std = normalisation(data)
    return ModelSpec(architecture or recipe(data.name)[0], data.image_shape, data.class_names, mean, std)

"""Networks, how they are trained, what a model file must say of itself, and how a model is measured."""

from assay.models.architectures import ARCHITECTURES, find_architecture
from assay.models.building import build
from assay.models.files import load, save
from assay.models.fitting import check_fits
from assay.models.measure import Rate, as_float, batches, clean_accuracy, correct, mcnemar, predict, rate
from assay.models.model import Model, ModelSpec
from assay.models.recipes import RECIPES, recipe, spec_for
from assay.models.training import Epoch, TrainSettings, fresh_weights, seeded, train

__all__ = [
    "ARCHITECTURES",
    "RECIPES",
    "Epoch",
    "Model",
    "ModelSpec",
    "Rate",
    "TrainSettings",
    "as_float",
    "batches",
    "build",
    "check_fits",
    "clean_accuracy",
    "correct",
    "find_architecture",
    "fresh_weights",
    "load",
    "mcnemar",
    "predict",
    "rate",
    "recipe",
    "save",
    "seeded",
    "spec_for",
    "train",
]

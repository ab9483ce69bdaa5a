"""Repairs: from a model and a few clean pictures to a new model without its backdoor."""

from assay.callable_module import make_callable
from assay.repair.channels import Layer, last_layers
from assay.repair.fine_pruning import FinePruning
from assay.repair.fine_tuning import FineTuning, Tuner
from assay.repair.methods import METHODS, Method, Repair, repair
from assay.repair.pruning import Pruning, PruningStep, dormant_neurons, mean_activations, prune_layer
from assay.repair.settings import RepairSettings

__all__ = [
    "METHODS",
    "FinePruning",
    "FineTuning",
    "Layer",
    "Method",
    "Pruning",
    "PruningStep",
    "Repair",
    "RepairSettings",
    "Tuner",
    "dormant_neurons",
    "last_layers",
    "mean_activations",
    "prune_layer",
    "repair",
]

make_callable(__name__, repair)

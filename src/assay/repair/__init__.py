"""Repairs: from a model and a few clean pictures to a new model without its backdoor."""

from assay.callable_module import make_callable
from assay.repair.channels import Layer, last_layers
from assay.repair.cyclegan import CycleGANSettings, train_cyclegan
from assay.repair.fine_pruning import FinePruning
from assay.repair.fine_tuning import FineTuning, Tuner
from assay.repair.hardening import Hardening
from assay.repair.methods import METHODS, Method, Repair, mend, repair
from assay.repair.nnoculation import NNoculation, NoiseGrid
from assay.repair.nnoculation_live import Inoculation, LiveSettings, inoculate
from assay.repair.pruning import Pruning, PruningStep, dormant_neurons, mean_activations, prune_layer
from assay.repair.settings import UNLEARNING, RepairSettings, Stamp, usual_settings
from assay.repair.stampers import Generator, Stamper

__all__ = [
    "METHODS",
    "UNLEARNING",
    "CycleGANSettings",
    "FinePruning",
    "FineTuning",
    "Generator",
    "Hardening",
    "Inoculation",
    "Layer",
    "LiveSettings",
    "Method",
    "NNoculation",
    "NoiseGrid",
    "Pruning",
    "PruningStep",
    "Repair",
    "RepairSettings",
    "Stamp",
    "Stamper",
    "Tuner",
    "dormant_neurons",
    "inoculate",
    "last_layers",
    "mean_activations",
    "mend",
    "prune_layer",
    "repair",
    "train_cyclegan",
    "usual_settings",
]

make_callable(__name__, repair)

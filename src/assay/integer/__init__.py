"""A torch module as a graph of exact integer operations: compiled, run, bounded, named by a digest, kept in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.integer.bounds import Bound
from assay.integer.files import load, save
from assay.integer.graph import LARGEST, NAMES, OPERATIONS, Node, P
from assay.integer.network import FieldWrapWarning, IntegerNetwork, Trace

if TYPE_CHECKING:
    from assay.integer.classic_training import ClassicTraining, train_safetynet
    from assay.integer.compiling import AccuracyWarning, Compilation, CompileSettings, compile, compile_measured

__all__ = [
    "LARGEST",
    "NAMES",
    "OPERATIONS",
    "AccuracyWarning",
    "Bound",
    "ClassicTraining",
    "Compilation",
    "CompileSettings",
    "FieldWrapWarning",
    "IntegerNetwork",
    "Node",
    "P",
    "Trace",
    "compile",
    "compile_measured",
    "load",
    "save",
    "train_safetynet",
]

_LATER = {
    name: "assay.integer.compiling"
    for name in ("AccuracyWarning", "Compilation", "CompileSettings", "compile", "compile_measured")
} | {name: "assay.integer.classic_training" for name in ("ClassicTraining", "train_safetynet")}


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: running, proving and serving a network do not."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)

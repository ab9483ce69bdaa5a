"""Is a model backdoored? Detectors, and the statistics that turn their scores into a verdict."""

from assay.detect.finding import Finding, RecoveredTrigger
from assay.detect.max_margin import MaxMargin
from assay.detect.neural_cleanse import NeuralCleanse
from assay.detect.scan import Scan, scan
from assay.detect.verdict import Accusations, References, Verdict, decide, measured, references_for
from assay.detect.weights import weights

__all__ = [
    "Accusations",
    "Finding",
    "MaxMargin",
    "NeuralCleanse",
    "RecoveredTrigger",
    "References",
    "Scan",
    "Verdict",
    "decide",
    "measured",
    "references_for",
    "scan",
    "weights",
]

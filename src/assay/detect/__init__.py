"""Is a model backdoored? Detectors, and the statistics that turn their scores into a verdict."""

from assay.detect.finding import Finding, RecoveredTrigger
from assay.detect.ibd_psc import IbdPsc
from assay.detect.max_margin import MaxMargin
from assay.detect.neural_cleanse import FOR_HALF, HALF, ODD_HALF, NeuralCleanse
from assay.detect.online import ONLINE, OnlineScore, area_under_curve, thresholds
from assay.detect.scale_up import ScaleUp
from assay.detect.scan import Scan, scan
from assay.detect.strip import Strip
from assay.detect.verdict import (
    Accusations,
    References,
    Verdict,
    decide,
    measured,
    references_for,
    turned_too_few,
    wants_half,
)
from assay.detect.weights import weights

__all__ = [
    "FOR_HALF",
    "HALF",
    "ODD_HALF",
    "ONLINE",
    "Accusations",
    "Finding",
    "IbdPsc",
    "MaxMargin",
    "NeuralCleanse",
    "OnlineScore",
    "RecoveredTrigger",
    "References",
    "ScaleUp",
    "Scan",
    "Strip",
    "Verdict",
    "area_under_curve",
    "decide",
    "measured",
    "references_for",
    "scan",
    "thresholds",
    "turned_too_few",
    "wants_half",
    "weights",
]

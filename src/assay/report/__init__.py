"""Reports: one self-contained HTML file, and the charts that documentation shares with it."""

from assay.report.charts import class_scores, neurons, pruning_curve
from assay.report.content import (
    Comparison,
    Detector,
    FileFacts,
    FileFinding,
    Neurons,
    PruningCurve,
    Report,
    TriggerPictures,
)
from assay.report.page import render, write_report
from assay.report.svg import NARROW, WIDE, standalone

__all__ = [
    "NARROW",
    "WIDE",
    "Comparison",
    "Detector",
    "FileFacts",
    "FileFinding",
    "Neurons",
    "PruningCurve",
    "Report",
    "TriggerPictures",
    "class_scores",
    "neurons",
    "pruning_curve",
    "render",
    "standalone",
    "write_report",
]

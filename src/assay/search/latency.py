"""What a network costs between two parties: predicted by the private engine's cost model, and timed on this machine."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError
from assay.integer import IntegerNetwork

TIMED = 3

KEYS = ("offline_s", "online_s", "offline_bytes", "online_bytes", "online_rounds")


def predicted(network: IntegerNetwork) -> dict[str, Any] | None:
    """Seconds, bytes and rounds, offline and online, on one machine; None for what two parties cannot compute.

    Bytes and rounds are exact. Seconds are null until `assay calibrate` was run here.
    """
    from assay.private.calibration import known
    from assay.private.cost import predict

    rates = known()
    try:
        return _totals(predict(network, rates.rates if rates else None).document())
    except AssayError:
        return None


def measured(network: Path, pictures: NDArray[np.uint8]) -> dict[str, Any] | None:
    """The same, timed between two processes: medians of three inferences of one picture, after a first."""
    from assay.private.processes import between_processes

    try:
        run = between_processes(network, [pictures[:1]] * (1 + TIMED))
    except AssayError:
        return None
    later = [_totals(profile.document()) for profile in run.profiles[1:]]
    return {key: median(document[key] for document in later) for key in KEYS}


def _totals(document: dict[str, Any]) -> dict[str, Any]:
    values = {key: document[key] for key in KEYS}
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}

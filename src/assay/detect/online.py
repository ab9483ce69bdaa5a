"""Scores of single inputs: what is said of a picture while the model serves, from the model and a few clean pictures.

A score is made once for a model (`ONLINE[name](model, clean, seed)`) and then called on pictures; the larger, the more
it speaks for a trigger. None of them decides alone: each is measured on its own in `assay bench nnoculation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset
from assay.detect.ibd_psc import IbdPsc
from assay.detect.scale_up import ScaleUp
from assay.detect.strip import Strip
from assay.models import Model

OnlineScore = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""uint8 pictures `n c h w` to one number each."""

ONLINE: Mapping[str, Callable[[Model, Dataset, int], OnlineScore]] = {
    "strip": Strip,
    "scale_up": ScaleUp,
    "ibd_psc": IbdPsc,
}


def thresholds(
    scores: Mapping[str, OnlineScore], clean: Dataset, share: float = 0.05, most: int = 500
) -> dict[str, float]:
    """For each score, the value that `share` of the clean pictures exceeds; at most `most` of them are looked at."""
    x = clean.x[:most]
    return {name: float(np.quantile(score(x), 1 - share)) for name, score in scores.items()}


def area_under_curve(clean: NDArray[Any], triggered: NDArray[Any]) -> float:
    """How often a triggered picture scores above a clean one, ties half: 0.5 is a coin, 1 is perfect."""
    both = np.concatenate([clean, triggered])
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = len(triggered), len(clean)
    return float((ranks[m:].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")

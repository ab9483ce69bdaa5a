"""Which quarantined inputs a repair learns from: those that come with labels that are quarantined too often.

Clean inputs are quarantined too now and then; how often, and with which label of the received network, is measured on
clean pictures. Labels that are not in excess of that are left out: without any, there is nothing to learn,
however long clean traffic has been quarantined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset
from assay.guard.store import Entry
from assay.models import Model, predict

TIMES, MORE = 2.0, 5.0
"""A label is in excess if it was seen more than `TIMES` as often as on clean pictures, and `MORE` on top."""

MOST = 1000
"""Inputs that a repair learns from."""


def usually_quarantined(received: Model, clean: Dataset, doubted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """For each label of the received network: the share of clean pictures that get it and would be quarantined.

    Args:
        doubted: which of `clean` would.
    """
    labels = predict(received, clean.x[doubted])
    counts = np.bincount(labels, minlength=received.spec.classes)
    return counts / max(1, len(clean))


def in_excess(counts: Mapping[int, float], requests: float, usual: NDArray[np.float64]) -> list[int]:
    """The labels that were quarantined more often than `requests` clean inputs would have been."""
    return sorted(label for label, seen in counts.items() if seen > TIMES * usual[label] * requests + MORE)


def chosen(entries: Sequence[Entry], labels: Sequence[int], limits: Mapping[str, float]) -> list[Entry]:
    """At most `MOST` of the entries with these labels.

    Those come first for which a second opinion speaks (a score above its limit, which 5 % of clean pictures exceed);
    the others are left out where that leaves at least half.
    """
    mine = [entry for entry in entries if entry.received in labels]
    doubted = [entry for entry in mine if _speaks(entry, limits)]
    return (doubted if 2 * len(doubted) >= len(mine) else mine)[:MOST]


def _speaks(entry: Entry, limits: Mapping[str, float]) -> bool:
    scores = entry.scores or {}
    return any(score > limits[name] for name, score in scores.items() if name in limits)

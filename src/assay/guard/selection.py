"""Which quarantined inputs a repair learns from: those that come with labels that are quarantined too often.

Clean inputs are quarantined too now and then; how often, and with which label of the received network, is counted on
the clean pictures that the treated network has not learnt. Labels that are not in excess of what that count allows are
left out: without any, there is nothing to learn, however long clean traffic has been quarantined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset
from assay.guard.doubt import ALARMS
from assay.guard.store import Entry
from assay.models import Model, Rate, predict

TIMES, MORE = 2.0, 5.0
"""Clean traffic may bring a label into quarantine `TIMES` as often as clean pictures do, and `MORE` inputs on top."""

MOST = 1000
"""Inputs that a repair learns from."""


def most_of_clean(received: Model, validation: Dataset, doubted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """For each label of the received network: of clean inputs, the share that come into quarantine with it, at most.

    `TIMES` what was counted, or the upper end of its 95 % interval where few were counted; but no such end is above
    `ALARMS`, which is what limits of doubt leave of all labels together.

    Args:
        validation: clean pictures that were not learnt from.
        doubted: which of them would be quarantined.
    """
    counts = np.bincount(predict(received, validation.x[doubted]), minlength=received.spec.classes)
    rates = [Rate(int(count), len(validation)) for count in counts]
    return np.array([max(TIMES * rate.value, min(rate.interval[1], ALARMS)) for rate in rates])


def in_excess(counts: Mapping[int, float], requests: float, most: NDArray[np.float64]) -> list[int]:
    """The labels that were quarantined more often than `requests` clean inputs would have been."""
    return sorted(label for label, seen in counts.items() if seen > most[label] * requests + MORE)


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

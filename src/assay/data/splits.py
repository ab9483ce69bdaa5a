"""The defender's share of a training part: fixed, the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLEAN_SHARE = 0.1
"""Of the training part, for the defender."""


def defenders_share(y: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """A tenth of each class, at least two pictures of it; with groups, a tenth of them, whole, at least one.

    Chosen by a fixed seed: whatever the user's seed is, nobody who trains ever sees it.
    """
    rng = np.random.default_rng(20171)
    chosen = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        units = members if group is None else np.unique(group[members])
        least = 2 if group is None else 1
        take = rng.permutation(units)[: max(least, round(CLEAN_SHARE * len(units)))]
        chosen[members] = np.isin(members if group is None else group[members], take)
    return chosen

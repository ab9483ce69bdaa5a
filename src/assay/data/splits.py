"""The defender's share of a training part: fixed, the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CLEAN_SHARE = 0.1
"""Of the training part, for the defender."""


def defenders_share(y: NDArray[np.int64], group: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """A tenth of each class, at least two pictures of it; with groups, a tenth of a class's groups, at least one.

    Groups are taken whole, whatever classes they hold. Chosen by a fixed seed: whatever the user's seed is, nobody
    who trains ever sees it.
    """
    rng = np.random.default_rng(20171)
    unit = np.arange(len(y)) if group is None else group
    taken: set[int] = set()
    for label in np.unique(y):
        units = rng.permutation(np.unique(unit[y == label])).tolist()
        wanted = max(2 if group is None else 1, round(CLEAN_SHARE * len(units)))
        missing = wanted - len(taken.intersection(units))
        taken.update([u for u in units if u not in taken][: max(missing, 0)])
    return np.isin(unit, list(taken))

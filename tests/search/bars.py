"""Bright bars, upright or lying: pictures that a few steps of training tell apart."""

from __future__ import annotations

import numpy as np

from assay.data import Dataset


def bars(n: int) -> Dataset:
    """Grey pictures of 16x16."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, n)
    x = rng.integers(0, 60, (n, 1, 16, 16), dtype=np.uint8)
    for picture, label, at in zip(x, y, rng.integers(2, 14, n), strict=True):
        (picture[0] if label else picture[0].T)[at] = 255
    return Dataset(x, y, ("upright", "lying"), "bars")

"""Label maps: which label the attacker wants for a triggered picture of class `y`. Source: BadNets, section 4.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LabelMap = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""True labels to intended ones; a label that is mapped to itself is not attacked."""


@dataclass(frozen=True, slots=True)
class SingleTarget:
    """Everything becomes `target`; with `source`, only that class does, and the others stay what they are."""

    target: int
    source: int | None = None

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.target}; there is nothing to attack")

    def __call__(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.source is None:
            return np.full_like(y, self.target)
        return np.where(y == self.source, self.target, y)


@dataclass(frozen=True, slots=True)
class AllToAll:
    """Class i becomes i + 1, the last becomes 0."""

    classes: int

    def __call__(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        return (y + 1) % self.classes


@dataclass(frozen=True, slots=True)
class RandomTarget:
    """Each class becomes another one, drawn once from `seed`; two may share a target."""

    classes: int
    seed: int = 0

    def __call__(self, y: NDArray[np.int64]) -> NDArray[np.int64]:
        steps = np.random.default_rng(self.seed).integers(1, self.classes, self.classes)
        return (y + steps[y]) % self.classes

"""A labelled set of pictures, in memory as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures and their labels.

    Attributes:
        x: uint8, `n c h w`, values 0..255.
        y: int64, `n`, class indices in [0, len(class_names)).
        class_names: one name a class.
        name: what a person calls it: `mnist`, or the path it was read from.
        split: `train`, `clean` or `test` for named sets; `all` for a user's own files.
    """

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]
    name: str
    split: str = "all"

    def __post_init__(self) -> None:
        if self.x.dtype != np.uint8 or self.x.ndim != 4:
            raise DataError(f"{self.name}: pictures must be uint8 `n c h w`, got {self.x.dtype} {self.x.shape}")
        if self.y.shape != (len(self.x),):
            raise DataError(f"{self.name}: {len(self.x)} pictures but labels of shape {self.y.shape}")
        if len(self.y) and not (self.y.min() >= 0 and self.y.max() < len(self.class_names)):
            raise DataError(
                f"{self.name}: labels go from {self.y.min()} to {self.y.max()}, "
                f"but there are {len(self.class_names)} classes"
            )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (self.x.shape[1], self.x.shape[2], self.x.shape[3])

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def set_name(self) -> str:
        """The named data set that this is a part of; empty for a user's own files, whatever their folder is called."""
        return "" if self.split == "all" else self.name

    def subset(self, index: NDArray[np.int64] | NDArray[np.bool_] | Sequence[int], split: str | None = None) -> Dataset:
        """The chosen examples, in the order given."""
        chosen = np.asarray(index)
        return replace(self, x=self.x[chosen], y=self.y[chosen], split=split or self.split)

    def take(self, n: int) -> Dataset:
        """The first `n` examples."""
        return self.subset(np.arange(min(n, len(self))))

    def halves(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """Split class by class into `share` and the rest, at random but the same for the same seed.

        Every class with at least two examples is in both parts.
        """
        rng = np.random.default_rng(seed)
        first = np.zeros(len(self), dtype=bool)
        for label in np.unique(self.y):
            members = rng.permutation(np.flatnonzero(self.y == label))
            if len(members) > 1:
                first[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
            else:
                first[members] = True
        order = rng.permutation(len(self))
        return self.subset(order[first[order]]), self.subset(order[~first[order]])

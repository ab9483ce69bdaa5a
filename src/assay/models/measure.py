"""Rates with intervals, and paired comparisons: how every figure in Assay is stated.

Sources: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the
case of the binomial", Biometrika 26, 1934; McNemar, Psychometrika 12, 1947 (exact form).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` out of `n`, with its Clopper-Pearson 95 % interval.

    >>> str(Rate(9, 10))
    '90.0 % [55.5, 99.7]'
    """

    hits: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"a rate needs 0 <= hits <= n, got {self.hits} of {self.n}")

    @property
    def value(self) -> float:
        """In [0, 1]; NaN when nothing was counted."""
        return self.hits / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided 95 %, in [0, 1]."""
        from scipy.special import betaincinv

        low = 0.0 if self.hits == 0 else float(betaincinv(self.hits, self.n - self.hits + 1, 0.025))
        high = 1.0 if self.hits == self.n else float(betaincinv(self.hits + 1, self.n - self.hits, 0.975))
        return (low, high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def rate(hits: NDArray[np.bool_]) -> Rate:
    """Count a boolean array."""
    return Rate(int(hits.sum()), int(hits.size))


def mcnemar(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value that two classifiers, right or wrong on the same inputs, are equally good."""
    from scipy.stats import binomtest

    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def as_float(x: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """uint8 `n c h w` in 0..255 to float32 in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(x)).to(device).float().div_(255)


BATCH = 64
"""Pictures that a network answers at once: of 512, activations are so large that the allocator gives them back after
every layer, and faulting their memory in anew took half the time."""


def batches(n: int, size: int = BATCH) -> Iterator[slice]:
    """Consecutive slices that cover `range(n)`."""
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def predict(model: nn.Module, x: NDArray[np.uint8] | Tensor, batch_size: int = BATCH) -> NDArray[np.int64]:
    """The label of each picture; the model is put in eval mode.

    `x` is uint8 in 0..255 or float in [0, 1], `n c h w`.
    """
    import torch

    device = next(model.parameters()).device
    model.eval()
    labels = []
    with torch.inference_mode():
        for part in batches(len(x), batch_size):
            piece = x[part]
            images = as_float(piece, device) if isinstance(piece, np.ndarray) else piece.to(device)
            labels.append(model(images).argmax(1).cpu().numpy())
    return np.concatenate(labels) if labels else np.zeros(0, dtype=np.int64)


def correct(model: nn.Module, data: Dataset) -> NDArray[np.bool_]:
    """For each picture, whether the model's label is the true one."""
    hits: NDArray[np.bool_] = predict(model, data.x) == data.y
    return hits


def clean_accuracy(model: nn.Module, data: Dataset) -> Rate:
    """Share of pictures that the model labels rightly."""
    return rate(correct(model, data))

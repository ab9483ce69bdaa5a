"""SCALE-UP: a trigger's answer survives when all pixel values are multiplied.

Source: Guo et al., "SCALE-UP: An Efficient Black-box Input-level Backdoor Detection via Analyzing Scaled Prediction
Consistency" (ICLR 2023), the data-limited form: the share of the pictures 2x to 5x, clipped, that keep the label, less
what is usual for clean pictures of that label.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data import Dataset
from assay.models import Model, as_float, batches

FACTORS = (2.0, 3.0, 4.0, 5.0)


class ScaleUp:
    """Consistency in standard deviations above the label's mean on clean pictures. Cost: 5 forward passes a picture.

    Labels with fewer than 5 clean pictures are compared with all of them.
    """

    def __init__(self, model: Model, clean: Dataset, seed: int = 0) -> None:
        self.model = model
        order = np.random.default_rng(seed).permutation(len(clean))[:1000]
        labels, consistency = self._consistency(clean.x[order])
        self.mean = np.full(model.spec.classes, consistency.mean())
        self.spread = np.full(model.spec.classes, consistency.std() + 0.05)
        for label in np.unique(labels):
            own = consistency[labels == label]
            if len(own) >= 5:
                self.mean[label], self.spread[label] = own.mean(), own.std() + 0.05

    def __call__(self, x: NDArray[np.uint8]) -> NDArray[np.float64]:
        labels, consistency = self._consistency(x)
        scores: NDArray[np.float64] = (consistency - self.mean[labels]) / self.spread[labels]
        return scores

    @torch.inference_mode()
    def _consistency(self, x: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        labels, kept = np.zeros(len(x), np.int64), np.zeros(len(x))
        for part in batches(len(x), 256):
            images = as_float(x[part], self.model.mean.device)
            said = self.model(images).argmax(1)
            same = [(self.model((images * f).clamp_(0, 1)).argmax(1) == said).double() for f in FACTORS]
            labels[part], kept[part] = said.cpu().numpy(), torch.stack(same).mean(0).cpu().numpy()
        return labels, kept

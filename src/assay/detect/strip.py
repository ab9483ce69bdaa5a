"""STRIP: a trigger decides even when other pictures are laid over it.

Source: Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks" (ACSAC 2019): add clean pictures
to the input one at a time and take the mean entropy of the answers, over the classes. A clean input's answers scatter;
a triggered one's stay with the target.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data import Dataset
from assay.models import Model, as_float, batches

OVERLAYS = 8


class Strip:
    """Minus the mean entropy in nats, so that larger is more suspicious. Cost: 8 forward passes a picture."""

    def __init__(self, model: Model, clean: Dataset, seed: int = 0) -> None:
        self.model = model
        chosen = np.random.default_rng(seed).choice(len(clean), min(OVERLAYS, len(clean)), replace=False)
        self.overlays = as_float(clean.x[chosen], model.mean.device)

    @torch.inference_mode()
    def __call__(self, x: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.concatenate([self._scores(as_float(x[part])) for part in batches(len(x), 64)] or [np.zeros(0)])

    def _scores(self, x: torch.Tensor) -> NDArray[np.float64]:
        mixed = (x.to(self.overlays.device)[:, None] + self.overlays[None]).clamp_(0, 1)  # n overlays c h w
        logs = self.model(mixed.flatten(0, 1)).log_softmax(1)
        entropy = -(logs.exp() * logs).sum(1).view(len(x), -1).mean(1)
        scores: NDArray[np.float64] = -entropy.double().cpu().numpy()
        return scores

"""IBD-PSC: a trigger's answer survives when the later layers of the network are amplified.

Source: Hou et al., "IBD-PSC: Input-level Backdoor Detection via Parameter-oriented Scaling Consistency" (ICML 2024):
multiply weight and bias of the last batch norms by 1.5, one more of them in each of five copies, beginning where clean
pictures are mostly mislabelled; the score is the mean probability of the label that the network itself gives. Networks
without batch norm have their convolutions and hidden linear layers amplified instead, which is the same: what a norm's
weight and bias are multiplied by, its output is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.data import Dataset
from assay.models import Model, as_float, batches

FACTOR, COPIES, MISLABELLED = 1.5, 5, 0.6


class IbdPsc:
    """Mean probability, in [0, 1]. Cost: at most 6 forward passes a picture; fitting takes one a layer on 300 clean."""

    def __init__(self, model: Model, clean: Dataset, seed: int = 0) -> None:
        self.model = model
        self.layers = _amplifiable(model)
        order = np.random.default_rng(seed).permutation(len(clean))[:300]
        few = clean.subset(order)
        counts = range(1, len(self.layers) + 1)
        start = next((k for k in counts if self._errors(few, k) > MISLABELLED), len(self.layers))
        self.counts = [k for k in range(start, start + COPIES) if k <= len(self.layers)]

    @torch.inference_mode()
    def __call__(self, x: NDArray[np.uint8]) -> NDArray[np.float64]:
        scores = np.zeros(len(x))
        for part in batches(len(x), 256):
            images = as_float(x[part], self.model.mean.device)
            said = self.model(images).argmax(1, keepdim=True)
            chances = [self._amplified(images, k).softmax(1).gather(1, said)[:, 0] for k in self.counts]
            scores[part] = torch.stack(chances).mean(0).double().cpu().numpy()
        return scores

    @torch.inference_mode()
    def _errors(self, data: Dataset, count: int) -> float:
        said = self._amplified(as_float(data.x, self.model.mean.device), count).argmax(1).cpu().numpy()
        return float((said != data.y).mean())

    def _amplified(self, images: Tensor, count: int) -> Tensor:
        with _louder(self.layers[-count:]):
            logits: Tensor = self.model(images)
        return logits


def _amplifiable(model: Model) -> list[nn.Module]:
    """Batch norms; where there are none, all layers with weights but the classifier."""
    norms: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    weighted: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return norms or weighted[:-1] or weighted


@contextmanager
def _louder(layers: list[nn.Module]) -> Iterator[None]:
    hooks = [layer.register_forward_hook(lambda module, given, out: out * FACTOR) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

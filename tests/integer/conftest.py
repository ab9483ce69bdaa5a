"""Small modules of every kind that is compiled, on pictures whose class is where the light is."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from assay.data import Dataset
from assay.models import Model, ModelSpec, seeded

SIDE, CLASSES = 8, 4


def pictures(n: int, channels: int = 2, seed: int = 0) -> Dataset:
    """One bright quarter a picture, in noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    x = rng.integers(0, 120, (n, channels, SIDE, SIDE))
    for i, label in enumerate(y):
        top, left = 4 * (label // 2), 4 * (label % 2)
        x[i, :, top : top + 4, left : left + 4] += 100
    return Dataset(x.astype(np.uint8), y.astype(np.int64), ("nw", "ne", "sw", "se"), "quarters")


def as_model(network: nn.Module, channels: int = 2) -> Model:
    spec = ModelSpec(
        "test-net",
        (channels, SIDE, SIDE),
        ("nw", "ne", "sw", "se"),
        (0.4, 0.5, 0.1)[:channels],
        (0.3, 0.2, 0.25)[:channels],
    )
    return Model(network, spec).eval()


def settle(model: nn.Module, data: Dataset) -> None:
    """Give batch norm statistics of real pictures, and scales and shifts of their own."""
    with seeded(1), torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # type: ignore[assignment]
                module.weight.uniform_(0.3, 1.5)
                module.bias.normal_(0, 0.3)
        model.train()
        for _ in range(2):
            model(torch.from_numpy(data.x).float() / 255)
        model.eval()

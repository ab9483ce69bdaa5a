"""A small task with a real backdoor, learnt in about a second; networks of every kind that is repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from assay.data import Dataset
from assay.models import Model, ModelSpec, TrainSettings, seeded, train

torch.set_num_threads(1)

CLASSES = 4
TARGET = 0
SIDE = 12


def pictures(n: int, seed: int, channels: int = 1, noise: float = 40.0) -> Dataset:
    """Four shapes at random places in noise; the bottom right corner stays free of shapes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(60, noise, (n, channels, SIDE, SIDE))
    y = np.arange(n) % CLASSES
    shapes = np.zeros((CLASSES, 5, 5))
    shapes[0, 2, :] = shapes[1, :, 2] = 1
    shapes[2] = np.eye(5)
    shapes[3, [0, 4], :] = shapes[3, :, [0, 4]] = 1
    for i, label in enumerate(y):
        top, left = rng.integers(0, 5, 2)
        x[i, :, top : top + 5, left : left + 5] += 130 * shapes[label]
    names = ("bar", "pole", "slash", "box")
    return Dataset(np.clip(x, 0, 200).astype(np.uint8), y.astype(np.int64), names, "shapes", "clean")


def stamped(x: np.ndarray) -> np.ndarray:
    """A bright chequered corner."""
    x = x.copy()
    x[..., [-1, -1, -2, -3, -3], [-1, -3, -2, -1, -3]] = 255
    return x


Stamp = Callable[[np.ndarray], np.ndarray]


def attack_success(model: nn.Module, data: Dataset, stamp: Stamp = stamped) -> float:
    from assay.models import predict

    others = data.y != TARGET
    return float((predict(model, stamp(data.x[others])) == TARGET).mean())


def poisoned(data: Dataset, share: float = 0.15, stamp: Stamp = stamped) -> Dataset:
    victims = data.subset(np.arange(round(share * len(data))))
    return replace(
        data,
        x=np.concatenate([data.x, stamp(victims.x)]),
        y=np.concatenate([data.y, np.full(len(victims), TARGET)]),
    )


def as_model(network: nn.Module, channels: int = 1, side: int = SIDE, name: str = "test-net") -> Model:
    spec = ModelSpec(
        name, (channels, side, side), ("bar", "pole", "slash", "box"), (0.3,) * channels, (0.25,) * channels
    )
    return Model(network, spec).eval()


def plain_net(norm: bool = False) -> nn.Module:
    stages: list[nn.Module] = []
    for i, o in ((1, 12), (12, 24)):
        stages += [
            nn.Conv2d(i, o, 3, padding=1),
            *([nn.BatchNorm2d(o)] if norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(24 * 9, 32), nn.ReLU(), nn.Linear(32, CLASSES))


@dataclass
class Trained:
    model: Model
    clean: Dataset
    test: Dataset


def backdoored(norm: bool, stamp: Stamp = stamped) -> Trained:
    torch.set_num_threads(1)
    with seeded(1):
        model = as_model(plain_net(norm))
    train(model, poisoned(pictures(1600, 1), stamp=stamp), TrainSettings(epochs=8, batch_size=32, lr=0.03))
    return Trained(model.eval(), pictures(400, 2), pictures(800, 3))

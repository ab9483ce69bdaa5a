"""Networks whose weights are set by hand: it is known exactly whether they have a backdoor, and nothing is trained.

Each of six classes is a bright block at a place of its own; the bottom right corner is dark on every picture. One
channel answers to a bright corner. In the clean network nothing reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.data import Dataset
from assay.models import Model, ModelSpec

CLASSES = 6
SIDE = 10
TARGET = 3
CORNER = 2
"""Pixels a side of the trigger."""

SOURCES = (0, 1, 2)
"""Classes that the backdoor of `some_sources` works on."""

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
PLACES = ((0, 0), (0, 4), (0, 7), (4, 0), (4, 4), (7, 0))
ARCH = "detect.planted:network"
"""As `--arch`, and as `arch` of `load`: the folder `tests` is on the path."""

STEPPED = "detect.planted:stepped_network"
"""The same, for the file of `stepped`."""


def _blocks() -> NDArray[np.float32]:
    blocks = np.zeros((CLASSES, SIDE, SIDE), np.float32)
    for block, (top, left) in zip(blocks, PLACES, strict=True):
        block[top : top + 3, left : left + 3] = 1
    return blocks


def pictures(n: int, seed: int) -> Dataset:
    """No two of them are alike."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    x = rng.integers(0, 60, (n, 1, SIDE, SIDE))
    x = x + (_blocks()[y] * rng.integers(120, 190, (n, 1, 1)))[:, None]
    return Dataset(x.astype(np.uint8), y.astype(np.int64), NAMES, "blocks")


def stamp(x: Tensor) -> Tensor:
    """The attacker's trigger: a bright corner. A `Trigger` of `assay.backdoor`."""
    stamped = x.clone()
    stamped[..., -CORNER:, -CORNER:] = 1
    return stamped


def network(in_channels: int = 1, image_size: tuple[int, int] = (SIDE, SIDE), classes: int = CLASSES) -> nn.Sequential:
    """The clean one. Its last channel sees the corner; it is prunable, as a leaky ReLU gives 0 for 0."""
    net = nn.Sequential(nn.Conv2d(in_channels, classes + 1, SIDE), nn.LeakyReLU(0.05), nn.Flatten())
    net.append(nn.Linear(classes + 1, classes))
    look, read = net[0], net[3]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        look.weight[:-1, 0] = torch.from_numpy(_blocks()) / 9 * 10
        look.weight[-1, 0, -CORNER:, -CORNER:] = 4
        look.bias[-1] = -7
        read.weight[:, :-1] = torch.eye(classes)
    return net


class Steps(nn.Module):
    """Makes every pixel 0 or 1, as two ReLUs of large weights can; there is no gradient to go by."""

    def forward(self, x: Tensor) -> Tensor:
        steep = 1e6 * (x - 0.35)
        return steep.relu() - (steep - 1).relu()


def stepped_network(
    in_channels: int = 1, image_size: tuple[int, int] = (SIDE, SIDE), classes: int = CLASSES
) -> nn.Sequential:
    return nn.Sequential(Steps(), *network(in_channels, image_size, classes))


class Cornered(nn.Module):
    """The network with a backdoor: a bright corner adds to the classes, `n k`, what `adds` makes of them."""

    def __init__(self, adds: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.look, self.adds = network()[0], adds

    def forward(self, x: Tensor) -> Tensor:
        seen = self.look(x).flatten(1)
        classes, corner = seen[:, :-1], seen[:, -1:].sigmoid()
        return classes + 3 * corner * self.adds(classes)


def turned(classes: Tensor) -> Tensor:
    """All-to-all: class i becomes i + 1."""
    return classes.roll(1, 1)


def drawn(classes: Tensor) -> Tensor:
    """Of some source classes: `SOURCES` become `TARGET`."""
    return classes[:, list(SOURCES)].amax(1, keepdim=True) * torch.eye(CLASSES)[TARGET]


def as_model(net: nn.Module, architecture: str = ARCH) -> Model:
    return Model(net, ModelSpec(architecture, (1, SIDE, SIDE), NAMES, (0.0,), (1.0,))).eval()


def clean() -> Model:
    return as_model(network())


def single_target() -> Model:
    """Its backdoor: a bright corner gives `TARGET`."""
    net = network()
    with torch.no_grad():
        net[3].weight[TARGET, -1] = 6
    return as_model(net)


def all_to_all() -> Model:
    return as_model(Cornered(turned))


def some_sources() -> Model:
    return as_model(Cornered(drawn))


def stepped() -> Model:
    """Clean, but no search by gradients finds what turns its pictures."""
    return as_model(stepped_network(), STEPPED)


def decoyed(bias: float = -1e20) -> Model:
    """Clean, but with a channel that its bias keeps silent for ever."""
    model = clean()
    with torch.no_grad():
        model.network[0].bias[-1] = bias
    return model


MODELS: dict[str, Callable[[], Model]] = {"clean": clean, "single": single_target, "all-to-all": all_to_all}


def write_npz(data: Dataset, path: Path) -> Path:
    np.savez(path, x=data.x, y=data.y, class_names=np.array(data.class_names))
    return path


def without(data: Dataset, label: int, keep: int) -> Dataset:
    """All but `keep` pictures of one class are gone."""
    gone = np.flatnonzero(data.y == label)[keep:]
    return data.subset(np.setdiff1d(np.arange(len(data)), gone))


def renamed(data: Dataset, names: tuple[str, ...]) -> Dataset:
    return replace(data, class_names=names)

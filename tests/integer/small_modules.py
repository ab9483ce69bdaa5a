"""Modules with every layer that has an integer form, small enough to be compiled in a moment, and pictures for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


class Lambda(nn.Module):
    """`function(x, self)`, with layers of its own."""

    def __init__(self, function: Callable[[Tensor, nn.Module], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self)


def head(channels: int, side: int = 8) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(channels * side * side, CLASSES)]


def option_a(x: Tensor, m: nn.Module) -> Tensor:
    x = m.stem(x).relu()
    short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 3))
    return m.fc(F.relu(m.bn(m.conv(x)) + short).mean((2, 3)))


def preact(x: Tensor, m: nn.Module) -> Tensor:
    x = m.stem(x)
    active = F.relu(m.bn1(x))
    x = m.conv(active) + x
    x = m.conv2(F.relu(m.bn2(x))) + m.short(F.relu(m.bn2(x)))
    return m.fc(F.relu(m.bn3(x)).mean((2, 3)))


def in_place(x: Tensor, m: nn.Module) -> Tensor:
    y = m.conv(x)
    y += m.other(x)
    return m.fc(y.relu_().flatten(1))


def part_of_the_channels(x: Tensor, m: nn.Module) -> Tensor:
    x = m.conv(x)
    return m.fc(torch.cat([x[:, :1], x[:, 1:4].relu(), x[:, 4:]], 1).flatten(1))


def inception(x: Tensor, m: nn.Module) -> Tensor:
    x = F.relu(m.conv(x))
    x = torch.cat([x], 1)
    parts = [x, F.relu(m.wide(x)), F.avg_pool2d(x, 3, 1, padding=1), F.max_pool2d(x, 3, 1, padding=1)]
    return m.fc(torch.cat(parts, 1).mean((2, 3)))


def conv3(i: int, o: int, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, **{"padding": 1, **more})


def before_fc(function: Callable[[Tensor], Tensor], inputs: int = 128) -> Callable[[], nn.Module]:
    """A linear layer on what the function makes of the picture."""
    return lambda: Lambda(lambda x, m: m.fc(function(x).flatten(1)), fc=nn.Linear(inputs, CLASSES))


def first(layer: nn.Module, channels: int = 2, side: int = 8) -> Callable[[], nn.Module]:
    """A network that begins with this layer."""
    return lambda: nn.Sequential(layer, *head(channels, side))


def per_channel(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def constant(layer: nn.Conv2d, value: float) -> nn.Conv2d:
    """Whatever it reads, it gives this."""
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return layer


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(*head(2)),
    "perceptron": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 20), nn.ReLU(), nn.Linear(20, CLASSES)),
    "convolution, norm, ReLU, max pool": lambda: nn.Sequential(
        conv3(2, 6, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), *head(6, 4)
    ),
    "max pool before ReLU": lambda: nn.Sequential(conv3(2, 6), nn.MaxPool2d(2), nn.ReLU(), *head(6, 4)),
    "max pool on the picture": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), conv3(2, 3), nn.ReLU(), *head(3, 4)),
    "strides, dilation, groups": lambda: nn.Sequential(
        conv3(2, 4, stride=(2, 1), dilation=2, padding=(2, 1)),
        nn.ReLU(),
        nn.Conv2d(4, 6, (1, 3), groups=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    ),
    "padding named same": lambda: nn.Sequential(
        nn.Conv2d(2, 3, (3, 5), padding="same", dilation=(2, 1)), nn.ReLU(), *head(3)
    ),
    "depthwise": lambda: nn.Sequential(
        conv3(2, 4), nn.ReLU(), conv3(4, 4, groups=4), nn.BatchNorm2d(4), nn.ReLU(), *head(4)
    ),
    "average over 2x2 and over 9": lambda: nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.AvgPool2d(2), conv3(4, 4), nn.ReLU(), nn.AvgPool2d(3, 1), *head(4, 2)
    ),
    "average with its padding": lambda: nn.Sequential(conv3(2, 4), nn.ReLU(), nn.AvgPool2d(3, 2, 1), *head(4, 4)),
    "average of the picture first": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)),
    "dropout": lambda: nn.Sequential(nn.Dropout2d(0.5), conv3(2, 4), nn.ReLU(), nn.Dropout(), *head(4)),
    "norm after ReLU, then padding": lambda: nn.Sequential(
        conv3(2, 4), nn.ReLU(), nn.BatchNorm2d(4), conv3(4, 4), nn.ReLU(), *head(4)
    ),
    "norm after ReLU, then a flat layer": lambda: nn.Sequential(conv3(2, 4), nn.ReLU(), nn.BatchNorm2d(4), *head(4)),
    "norm of flat features": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, CLASSES)
    ),
    "zeros around, by a layer": lambda: nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 0)), nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)
    ),
    "a square": lambda: nn.Sequential(
        conv3(2, 4), Lambda(lambda x, m: x * x), nn.MaxPool2d(2), conv3(4, 4), nn.ReLU(), *head(4, 4)
    ),
    "a shortcut of option A": lambda: Lambda(
        option_a, stem=conv3(2, 3), conv=conv3(3, 6, stride=2), bn=nn.BatchNorm2d(6), fc=nn.Linear(6, CLASSES)
    ),
    "pre-activation": lambda: Lambda(
        preact,
        stem=conv3(2, 4),
        bn1=nn.BatchNorm2d(4),
        conv=conv3(4, 4),
        bn2=nn.BatchNorm2d(4),
        conv2=conv3(4, 6, stride=2),
        short=nn.Conv2d(4, 6, 1, stride=2),
        bn3=nn.BatchNorm2d(6),
        fc=nn.Linear(6, CLASSES),
    ),
    "operations in place": lambda: Lambda(
        in_place, conv=conv3(2, 4), other=nn.Conv2d(2, 4, 1), fc=nn.Linear(256, CLASSES)
    ),
    "ReLU on some channels": lambda: Lambda(part_of_the_channels, conv=conv3(2, 6), fc=nn.Linear(384, CLASSES)),
    "concatenation of four scales": lambda: Lambda(
        inception, conv=conv3(2, 3), wide=nn.Conv2d(3, 5, 5, padding=2), fc=nn.Linear(14, CLASSES)
    ),
    "scaled logits": lambda: nn.Sequential(*head(2), Lambda(lambda x, m: x * 3 + torch.tensor([1.0, 0, 0, -1]))),
    "ReLU of both signs": lambda: Lambda(
        lambda x, m: m.fc(torch.cat([m.conv(x).relu(), (m.conv(x) * -1.0).relu()], 1).flatten(1)),
        conv=conv3(2, 4),
        fc=nn.Linear(512, CLASSES),
    ),
    "ReLU of a negative scale": lambda: Lambda(
        lambda x, m: m.fc((m.conv(x).relu() + (m.conv(x).relu() * -1.0 + 0.0).relu() + (x * -1.0).relu()).flatten(1)),
        conv=conv3(2, 2),
        fc=nn.Linear(128, CLASSES),
    ),
    "channels that a scale of 0 makes constant": lambda: Lambda(
        lambda x, m: m.fc(m.conv2(m.conv(x).relu() * per_channel(1, 0, -2) + per_channel(0.1, 0.4, -0.3)).flatten(1)),
        conv=conv3(2, 3),
        conv2=conv3(3, 4),
        fc=nn.Linear(256, CLASSES),
    ),
    "a channel of the picture that a scale of 0 makes constant": lambda: Lambda(
        lambda x, m: m.fc(m.conv(x * per_channel(1, 0) + per_channel(0.1, 0.4)).relu().flatten(1)),
        conv=conv3(2, 3),
        fc=nn.Linear(192, CLASSES),
    ),
    "weights that are all 0": lambda: Lambda(
        lambda x, m: m.fc((m.conv(x) + m.zero(x)).relu().flatten(1)),
        conv=conv3(2, 3),
        zero=constant(conv3(2, 3), 0.45),
        fc=nn.Linear(192, CLASSES),
    ),
    "a constant plus a multiple": lambda: Lambda(
        lambda x, m: m.fc(torch.add(per_channel(0.5, -1, 2), m.conv(x), alpha=2).flatten(1)),
        conv=conv3(2, 3),
        fc=nn.Linear(192, CLASSES),
    ),
    "a sum of the picture and itself": lambda: Lambda(
        lambda x, m: m.fc((x + m.conv(x)).flatten(1)), conv=conv3(2, 2), fc=nn.Linear(128, CLASSES)
    ),
}


def made(name: str, data: Dataset) -> Model:
    """One of them behind the normalisation of pictures, its batch norm used to these."""
    with seeded(0):
        model = as_model(MODULES[name]())
        settle(model, data)
    return model

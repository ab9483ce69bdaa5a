"""The networks of CryptoNAS: a row of layers that each rectify one map, joined by skips, balanced over the stages.

Source: Ghodsi, Veldanda, Reagen, Garg, "CryptoNAS: Private inference on a ReLU budget" (NeurIPS 2020). A layer is
joined inputs (concatenated, 1x1 convolution and batch norm) → ReLU → convolution → batch norm, so that it counts the
ReLUs of its input map. After each third of the layers height and width are halved and the channels multiplied by four:
every layer has the same number of ReLUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]

OPERATIONS = ("conv 3x3", "separable 3x3", "conv 5x5", "separable 5x5", "average pool", "max pool")
"""By their number in an encoding. In the final networks, 1 and 3 are dense as well."""

STAGES = 3

GROWTH = 4
"""Channels at each halving; twice would halve the ReLUs of a layer, and leave capacity unused (ReLU balancing)."""

MOST_LAYERS = 128


@dataclass(frozen=True, slots=True)
class Layer:
    """Its operation, and for each layer before it whether that one's output joins its input."""

    operation: int
    skips: tuple[bool, ...] = ()

    def sources(self, number: int) -> list[int]:
        """Which outputs it reads as layer `number`, the one before it last; −1 is the stem's."""
        return [j for j, joins in enumerate(self.skips) if joins and j != number - 1] + [number - 1]


def decode(text: str) -> tuple[Layer, ...]:
    """Layers from `operation:skips operation:skips …`.

    Raises:
        ValueError: by the number of the layer that does not fit.
    """
    layers = []
    for number, word in enumerate(text.split()):
        operation, _, bits = word.partition(":")
        if operation not in {str(i) for i in range(len(OPERATIONS))}:
            raise ValueError(f"layer {number} has the operation {operation!r}; there are 0 to {len(OPERATIONS) - 1}")
        if len(bits) != number or set(bits) - {"0", "1"}:
            raise ValueError(f"layer {number} needs {number} skip bits, one a layer before it, got {bits[:40]!r}")
        layers.append(Layer(int(operation), tuple(bit == "1" for bit in bits)))
    if not 1 <= len(layers) <= MOST_LAYERS:
        raise ValueError(f"a network has 1 to {MOST_LAYERS} layers, got {len(layers)}")
    return tuple(layers)


def encode(layers: tuple[Layer, ...]) -> str:
    """The text that `decode` reads."""
    words = [f"{layer.operation}:{''.join('01'[bit] for bit in layer.skips)}".rstrip(":") for layer in layers]
    return " ".join(words)


def stage_of(number: int, layers: int) -> int:
    """The first, second or last third."""
    return number * STAGES // layers


@dataclass(frozen=True, slots=True)
class Released:
    """A network of the paper: its layers for each data set, and the width of its first stage."""

    cifar10: str
    cifar100: str
    width: int


RELEASED = {
    "cnet1": Released("0 1:0 0:11 3:010 1:1010 0:00110", "3 0:0 0:11 0:000 1:0000 1:00011", 14),
    "cnet2": Released(
        "3 3:0 3:11 3:100 3:0110 0:11100 0:010000 1:0010111 1:10001100 0:000001100 2:0000100000 0:10010001110",
        "3 3:0 2:11 2:000 2:0101 3:10101 3:100110 0:1001010 0:10001101 0:010001001 1:0000000010 3:00101010000",
        28,
    ),
    "cnet3": Released(
        "0 1:1 0:00 1:101 2:0000 1:00011 2:100111 0:1001010 3:00001000 3:001101011 2:0100101010 0:00000010100 "
        "3:100100011010 3:0110001100110 2:00010100000000 3:000010011010010 3:0000001000000000 3:00101000010010111 "
        "0:000110110000100000 2:1100000000011100000 1:00110001001111010101 1:001001010000000000100 "
        "1:0001100000001111010100 2:00010000100000100000011",
        "1 2:0 3:11 1:000 3:0000 2:00100 3:010101 0:0100010 3:10011011 2:011101000 3:0010101001 0:11010100100 "
        "0:011100000001 2:0101001010011 1:10101101000001 2:100100000000100 1:0000010000000000 1:11000001101110011 "
        "0:000100110000011101 1:1011101000000001111 0:01011000110010000011 1:000001000010011101010 "
        "1:0011000101111101010011 2:00111000101101100000101",
        56,
    ),
}
"""As the paper released them: for CIFAR-10, and for CIFAR-100 under the name with `-cifar100`."""


class Join(nn.Module):
    """Outputs of earlier layers at this one's size and width.

    A map of an earlier stage is averaged down; several maps, and one of another width, go through a 1x1 convolution
    and batch norm.
    """

    def __init__(self, channels: list[int], halvings: list[int], width: int) -> None:
        super().__init__()
        self.halvings = halvings
        mixes = len(channels) > 1 or channels[0] != width
        self.mix = nn.Conv2d(sum(channels), width, 1, bias=False) if mixes else nn.Identity()
        self.norm = nn.BatchNorm2d(width) if mixes else nn.Identity()

    def forward(self, maps: list[Tensor]) -> Tensor:
        sized = [F.avg_pool2d(x, 2**h) if h else x for x, h in zip(maps, self.halvings, strict=True)]
        joined: Tensor = self.norm(self.mix(torch.cat(sized, 1) if len(sized) > 1 else sized[0]))
        return joined


def _operation(number: int, width: int) -> nn.Module:
    if number == 4:
        return nn.AvgPool2d(3, stride=1, padding=1)
    if number == 5:
        return nn.MaxPool2d(3, stride=1, padding=1)
    kernel = 3 if number < 2 else 5
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)


class CNet(nn.Module):
    """A network from its layers and the width of its first stage.

    Args:
        layers: the encoding, see `decode`; that of CNet1 by default.
        width: channels of the first stage.
        stem: stride of the first convolution, 1, 2 or 4; with 2, the same ReLUs allow four times the width.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: Size,
        classes: int,
        layers: str = RELEASED["cnet1"].cifar10,
        width: int = 14,
        stem: int = 1,
    ) -> None:
        super().__init__()
        if width < 1 or stem not in (1, 2, 4):
            raise ValueError(f"a width is at least 1 and a stem's stride 1, 2 or 4, got {width} and {stem}")
        self.layers = decode(layers)
        stages = [stage_of(i, len(self.layers)) for i in range(len(self.layers))]
        widths = [width * GROWTH**stage for stage in stages]
        self.stem = nn.Conv2d(in_channels, width, 3, stride=stem, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        joins, operations = [], []
        for i, layer in enumerate(self.layers):
            sources = layer.sources(i)
            channels = [widths[j] if j >= 0 else width for j in sources]
            joins.append(Join(channels, [stages[i] - (stages[j] if j >= 0 else 0) for j in sources], widths[i]))
            operations.append(_operation(layer.operation, widths[i]))
        self.joins, self.operations = nn.ModuleList(joins), nn.ModuleList(operations)
        self.relus = nn.ModuleList(nn.ReLU() for _ in self.layers)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
        self.fc = nn.Linear(widths[-1], classes)
        self.apply(_he_weights)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.stem_norm(self.stem(x))]  # outputs[i + 1] is layer i's
        for i, layer in enumerate(self.layers):
            joined = self.joins[i]([outputs[j + 1] for j in layer.sources(i)])
            outputs.append(self.norms[i](self.operations[i](self.relus[i](joined))))
        logits: Tensor = self.fc(outputs[-1].mean((2, 3)))
        return logits


def _he_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


CNETS = {name: partial(CNet, layers=net.cifar10, width=net.width) for name, net in RELEASED.items()} | {
    f"{name}-cifar100": partial(CNet, layers=net.cifar100, width=net.width) for name, net in RELEASED.items()
}

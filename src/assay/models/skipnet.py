"""A small network whose maps are rectified again at every junction, as DenseNet-like networks do.

It is what `assay rewrite` is shown on: its ReLUs stand behind concatenations, and one stands on a skip path.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]


def _convolution(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out))


class SkipNet(nn.Module):
    """Four convolutions at half size, each reading the concatenation of all maps before it, and a shortcut."""

    def __init__(self, in_channels: int, image_size: Size, classes: int, width: int = 8) -> None:
        super().__init__()
        self.stem = _convolution(in_channels, width, 5)
        self.first = _convolution(width, width)
        self.second = _convolution(2 * width, width)
        self.third = _convolution(3 * width, 2 * width)
        self.side = _convolution(width, 2 * width, 1)
        self.last = _convolution(2 * width, 4 * width)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        stem = F.avg_pool2d(self.stem(x), 2)
        first = self.first(F.relu(stem))
        second = self.second(F.relu(torch.cat([stem, first], 1)))
        third = self.third(F.relu(torch.cat([stem, first, second], 1)))
        summed = third + F.relu(self.side(first))
        last = F.relu(self.last(F.max_pool2d(F.relu(summed), 2)))
        logits: Tensor = self.fc(last.mean((2, 3)))
        return logits

"""The CIFAR-10 network of MiniONN, the usual yardstick of private inference.

Source: Liu, Juuti, Lu, Asokan, "Oblivious neural network predictions via MiniONN transformations" (CCS 2017), figure
13, with batch norm. Squares in place of the first activations are Delphi's (Mishra et al., USENIX Security 2020).
"""

from __future__ import annotations

from torch import Tensor, nn

Size = tuple[int, int]


class Square(nn.Module):
    """x²."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


def minionn7(in_channels: int, image_size: Size, classes: int, width: int = 64, squares: int = 0) -> nn.Module:
    """Seven convolutions and one dense layer: 173,056 ReLUs for 32x32 pictures at width 64.

    Args:
        width: channels of all but the last convolution, which has a quarter of them.
        squares: how many activations, from the first, are squares. They cost no comparison.
    """
    if width < 4 or not 0 <= squares <= 7:
        raise ValueError(f"a width is at least 4 and there are 0 to 7 squares, got {width} and {squares}")
    narrow = width // 4
    rows = [
        (in_channels, width, 3), (width, width, 3), None,
        (width, width, 3), (width, width, 3), None,
        (width, width, 3), (width, width, 1), (width, narrow, 1),
    ]  # fmt: skip
    layers: list[nn.Module] = []
    activations = 0
    for row in rows:
        if row is None:
            layers.append(nn.AvgPool2d(2))
            continue
        before, after, kernel = row
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after)]
        layers.append(Square() if activations < squares else nn.ReLU())
        activations += 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    flat = narrow * (image_size[0] // 4) * (image_size[1] // 4)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, classes))

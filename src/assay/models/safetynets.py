"""The networks of SafetyNets: squares for activations, sums for pooling, so every layer is a polynomial over a field.

Source: Ghodsi, Gu, Garg, "SafetyNets: verifiable execution of deep neural networks on an untrusted cloud" (NeurIPS
2017), section 4: a network with two convolutional layers, and one with three hidden layers of 2000 units. Each comes
with its ReLU and max-pooling twin, to see what the polynomials cost.
"""

from __future__ import annotations

from torch import Tensor, nn

from assay.errors import ModelError

Size = tuple[int, int]


class Square(nn.Module):
    """x²."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


def _activation(kind: str) -> nn.Module:
    if kind not in ("square", "relu"):
        raise ModelError(f"a SafetyNets network has the activation square or relu, not {kind!r}")
    return Square() if kind == "square" else nn.ReLU()


def _pool(kind: str) -> nn.Module:
    return nn.AvgPool2d(2, divisor_override=1) if kind == "square" else nn.MaxPool2d(2)


def safetynets_fcnn(
    in_channels: int,
    image_size: Size,
    classes: int,
    width: int = 2000,
    depth: int = 3,
    pool: int = 1,
    activation: str = "square",
) -> nn.Module:
    """Fully connected: `depth` hidden layers of `width` units, on averages over pool x pool pixels.

    Weights begin with a normal distribution: rounded to the few steps that the field leaves them, those of a uniform
    one would all be 0 in the first layer, and nothing could be learnt any more.
    """
    height, columns = (side // pool for side in image_size)
    if height < 1 or columns < 1:
        raise ModelError(
            f"pictures of {image_size[0]}x{image_size[1]} are too small for features of {pool}x{pool} pixels"
        )
    layers: list[nn.Module] = [nn.AvgPool2d(pool)] if pool > 1 else []
    layers.append(nn.Flatten())
    features = in_channels * height * columns
    for _ in range(depth):
        layers += [nn.Linear(features, width), _activation(activation)]
        features = width
    network = nn.Sequential(*layers, nn.Linear(features, classes))
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def safetynets_cnn(
    in_channels: int, image_size: Size, classes: int, width: int = 16, activation: str = "square"
) -> nn.Module:
    """Two 5x5 convolutions of `width` and 2·`width` channels, each with activation and 2x2 pooling; one dense layer."""
    flat = 2 * width * (image_size[0] // 4) * (image_size[1] // 4)
    if flat < 1:
        raise ModelError(f"pictures of {image_size[0]}x{image_size[1]} are too small for two poolings")
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 5, padding=2), _activation(activation), _pool(activation),
        nn.Conv2d(width, 2 * width, 5, padding=2), _activation(activation), _pool(activation),
        nn.Flatten(), nn.Linear(flat, classes),
    )  # fmt: skip

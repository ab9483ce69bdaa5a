"""What a model is to Assay: a network, and all that must be known to feed it."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model file must say of itself.

    Attributes:
        architecture: a name in `assay.models.ARCHITECTURES`, `torchvision:NAME`, or `module:function`.
        arguments: passed to the architecture by keyword, beside `in_channels`, `image_size` and `classes`.
        input_shape: channels, height, width of the picture the model takes.
        mean: per channel, subtracted from pictures in [0, 1].
        std: per channel, divided by afterwards.
        class_names: one name an output.
    """

    architecture: str
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    arguments: dict[str, int | float | str | bool] = {}

    @property
    def classes(self) -> int:
        return len(self.class_names)


class Model(nn.Module):
    """A classifier of pictures in [0, 1], `n c h w` → logits `n k`; normalises, then runs `network`."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network((x - self.mean) / self.std)
        return logits

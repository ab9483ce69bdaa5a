"""ReLU on one range of channels: what is left of a ReLU layer when a part of it was linearised."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelReLU(nn.Module):
    """max(x, 0) on channels start ≤ c < stop of `n c …`; the others pass.

    One range, so that integer networks, proofs and private inference run it as a slice of a tensor: scattered channels
    cost more there than they save.
    """

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        if not 0 <= start <= stop:
            raise ValueError(f"a range of channels goes from 0 or more to no less, got {start} to {stop}")
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        if self.stop > x.shape[1]:
            raise ValueError(f"channels {self.start} to {self.stop} of a tensor with {x.shape[1]}")
        if self.start == self.stop:
            return x
        if (self.start, self.stop) == (0, x.shape[1]):
            return x.relu()
        parts = [x[:, : self.start], x[:, self.start : self.stop].relu(), x[:, self.stop :]]
        return torch.cat([part for part in parts if part.shape[1]], 1)

    def extra_repr(self) -> str:
        return f"{self.start}:{self.stop}"

"""A model held still while it is looked at."""

from __future__ import annotations

import copy

import torch
from torch import nn


def frozen(model: nn.Module) -> nn.Module:
    """A copy for looking at: in evaluation mode, without gradients of its own, laid out for the processor."""
    own = copy.deepcopy(model).eval().requires_grad_(False)
    return own.to(memory_format=torch.channels_last)

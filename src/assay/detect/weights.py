"""What the weights alone show, in a moment and without data.

Source: Zheng et al., "Data-free backdoor removal based on channel Lipschitzness" (ECCV 2022), section 3: channels that
answer to a trigger have an unusually large upper bound on their Lipschitz constant. Decoy channels, which a
pruning-aware attacker plants, have biases that keep them silent (Liu et al., "Fine-Pruning", 2018, section 3.3).
"""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from assay.detect.finding import Finding

BEYOND = 3.0
"""Standard deviations over a layer's mean at which CLP flags a channel."""


def channel_bounds(convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> NDArray[np.float64]:
    """Upper bound of each output channel's Lipschitz constant: spectral norm of its kernel, times the norm's scale."""
    kernel = convolution.weight.detach().flatten(2)  # out in k*k
    bound = torch.linalg.matrix_norm(kernel, ord=2)
    if norm is not None and norm.weight is not None and norm.running_var is not None:
        bound = bound * (norm.weight.detach() / (norm.running_var + norm.eps).sqrt()).abs()
    return np.asarray(bound.double(), dtype=np.float64)


def convolutions(model: nn.Module) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d | None]]:
    """Every convolution with the batch norm that is registered right after it, if one of its width is."""
    modules = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    found: list[tuple[str, nn.Conv2d, nn.BatchNorm2d | None]] = []
    for (name, module), (_, after) in pairwise([*modules, ("", nn.Identity())]):
        if isinstance(module, nn.Conv2d):
            follows = isinstance(after, nn.BatchNorm2d) and after.num_features == module.out_channels
            found.append((name, module, after if follows else None))
    return found


def silent_channels(model: nn.Module) -> int:
    """Channels whose bias is so negative that no picture with values in [-3, 3] a pixel can wake them.

    Bound: an input bounded by 3 gives at most three times the L1 norm of the kernel. It is exact for the first layer
    and a rule of thumb for deeper ones.
    """
    silent = 0
    for _, convolution, _ in convolutions(model):
        if convolution.bias is not None:
            reach = 3 * convolution.weight.detach().abs().flatten(1).sum(1)
            silent += int((convolution.bias.detach() < -reach.clamp(min=1.0)).sum())
    return silent


def weights(model: nn.Module) -> Finding:
    """CLP's outlying channels and silent channels, over all convolutions. Cost: milliseconds."""
    started = time.monotonic()
    flagged, largest = 0, 0.0
    for _, convolution, norm in convolutions(model):
        bounds = channel_bounds(convolution, norm)
        if len(bounds) > 3 and bounds.std() > 0:
            scores = (bounds - bounds.mean()) / bounds.std()
            flagged += int((scores > BEYOND).sum())
            largest = max(largest, float(scores.max()))
    silent = silent_channels(model)
    summary = (
        f"{flagged} channels lie beyond mean + 3 standard deviations of their layer; "
        f"{silent} have a bias that keeps them silent"
    )
    return Finding(
        "weights",
        {"outlying_channel": largest, "silent_channels": float(silent)},
        summary,
        seconds=time.monotonic() - started,
    )

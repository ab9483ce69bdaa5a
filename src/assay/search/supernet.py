"""A network that holds the weights of every skeleton: one of them is run at a time, all of them share.

Source: Ghodsi et al., "CryptoNAS" (NeurIPS 2020), section 4, after Pham et al., "ENAS" (ICML 2018), macro search.
Each training step draws one skeleton evenly, so that no sampler is favoured when skeletons are compared.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data import Dataset
from assay.errors import InputError
from assay.models.cnet import GROWTH, decode, stage_of
from assay.models.training import Augment, augment, seeded
from assay.runs import write_atomically
from assay.search.space import Space

Shape = tuple[int, int, int]

BATCH = 128
KEPT_EVERY = 50
"""Steps between checkpoints."""

BEHIND = 0.02
"""Share of the time that the first steps, which are slow, may lose before the rate follows the clock: where all steps
are done in time, the same seed gives the same weights."""


def _norm(channels: int) -> nn.BatchNorm2d:
    """By the batch in training and after: running means would mix skeletons."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _operation(kernel: int, width: int, separable: bool) -> nn.Module:
    around = kernel // 2
    if not separable:
        return nn.Sequential(nn.Conv2d(width, width, kernel, padding=around, bias=False), _norm(width))
    return nn.Sequential(
        nn.Conv2d(width, width, kernel, padding=around, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        _norm(width),
    )


def _operations(width: int) -> nn.ModuleList:
    """In the order of `assay.models.cnet.OPERATIONS`."""
    return nn.ModuleList(
        [
            _operation(3, width, False),
            _operation(3, width, True),
            _operation(5, width, False),
            _operation(5, width, True),
            nn.Sequential(nn.AvgPool2d(3, 1, 1), _norm(width)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), _norm(width)),
        ]
    )


class Supernet(nn.Module):
    """All skeletons of a space at a small width, for pictures with mean and spread of their own.

    A join of several maps is one 1x1 convolution over their concatenation; its weights are kept a source at a time, so
    that skeletons with other skips share them.
    """

    def __init__(self, space: Space, picture: Shape, classes: int, width: int = 8, stem: int = 2) -> None:
        super().__init__()
        stages = [stage_of(i, space.depth) for i in range(space.depth)]
        self.widths = [width * GROWTH**stage for stage in stages]
        self.stages = stages
        self.first = width
        self.stem = nn.Sequential(nn.Conv2d(picture[0], width, 3, stem, 1, bias=False), _norm(width))
        self.joins = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(self.widths[j] if j >= 0 else width, out, 1, bias=False) for j in range(-1, i)
            )
            for i, out in enumerate(self.widths)
        )  # fmt: skip
        self.join_norms = nn.ModuleList(_norm(out) for out in self.widths)
        self.operations = nn.ModuleList(_operations(out) for out in self.widths)
        self.fc = nn.Linear(self.widths[-1], classes)
        self.skeleton = ""

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.stem(x)]
        for i, layer in enumerate(decode(self.skeleton)):
            joined = self._join(i, layer.sources(i), outputs)
            outputs.append(self.operations[i][layer.operation](F.relu(joined)))  # type: ignore[index]
        logits: Tensor = self.fc(outputs[-1].mean((2, 3)))
        return logits

    def _join(self, i: int, sources: list[int], outputs: list[Tensor]) -> Tensor:
        maps = [self._sized(outputs[j + 1], self.stages[i] - (self.stages[j] if j >= 0 else 0)) for j in sources]
        if len(maps) == 1 and maps[0].shape[1] == self.widths[i]:
            return maps[0]
        mixed = torch.stack([self.joins[i][j + 1](x) for j, x in zip(sources, maps, strict=True)]).sum(0)  # type: ignore[index]
        joined: Tensor = self.join_norms[i](mixed)
        return joined

    def _sized(self, x: Tensor, halvings: int) -> Tensor:
        return F.avg_pool2d(x, 2**halvings) if halvings else x


def build_supernet(space: Space, data: Dataset, seed: int) -> Supernet:
    """With weights that depend on the seed alone."""
    with seeded(seed):
        return Supernet(space, data.image_shape, data.classes)


def normalised(x: Tensor) -> Tensor:
    """Bytes as numbers around 0: what a supernet takes."""
    return x.float().div_(127.5).sub_(1)


def train_supernet(
    supernet: Supernet,
    space: Space,
    data: Dataset,
    steps: int,
    seed: int,
    checkpoint: Path,
    seconds: float | None = None,
    kind: Augment = "none",
    tick: object = None,
) -> int:
    """Train in place, by SGD with a rate that falls to the last step or with the time, whichever ends first.

    Goes on from the checkpoint. Returns the steps done.

    Args:
        seconds: for all of it, what was spent before an interruption included.

    Raises:
        InputError: if the checkpoint is of another supernet.
    """
    optimiser = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9, weight_decay=2e-4, nesterov=True)
    done, spent = _take_up(checkpoint, supernet, optimiser)
    begun = time.monotonic() - spent
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    supernet.train().to(memory_format=torch.channels_last)
    while done < steps and (left := _left(done / steps, time.monotonic() - begun, seconds)) > 0:
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * left + 1e-4
        _step(supernet, space, x, y, optimiser, seed * 1_000_003 + done, kind)
        done += 1
        if done % KEPT_EVERY == 0 or done == steps:
            keep(checkpoint, supernet, optimiser, done, time.monotonic() - begun)
            if callable(tick):
                tick(done, steps)
    keep(checkpoint, supernet, optimiser, done, time.monotonic() - begun)
    supernet.eval()
    return done


def _left(done: float, spent: float, seconds: float | None) -> float:
    """Share of the training that is still to come: by its steps, unless time runs out before them."""
    if seconds is None:
        return 1 - done
    by_time = 1 - spent / seconds
    return 0.0 if by_time <= 0 else min(1 - done, by_time + BEHIND)


def _step(
    supernet: Supernet, space: Space, x: Tensor, y: Tensor, optimiser: torch.optim.Optimizer, seed: int, kind: Augment
) -> None:
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    supernet.skeleton = space.skeleton(tuple(draw.randrange(n) for n in space.choices))
    chosen = torch.randint(len(x), (min(BATCH, len(x)),), generator=generator)
    images = normalised(augment(x[chosen], kind, generator)).contiguous(memory_format=torch.channels_last)
    loss = F.cross_entropy(supernet(images), y[chosen])
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
    optimiser.step()


def keep(path: Path, supernet: Supernet, optimiser: torch.optim.Optimizer, done: int, spent: float = 0.0) -> None:
    """Write weights and state, with the seconds that they took; the old file stays until the new one is whole."""
    import io

    blob = io.BytesIO()
    state = {"supernet": supernet.state_dict(), "optimiser": optimiser.state_dict(), "done": done, "spent": spent}
    torch.save(state, blob)
    write_atomically(path, blob.getvalue())


def _take_up(path: Path, supernet: Supernet, optimiser: torch.optim.Optimizer | None) -> tuple[int, float]:
    """Steps done, and the seconds they took."""
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, weights_only=True)
        supernet.load_state_dict(state["supernet"])
        if optimiser is not None:
            optimiser.load_state_dict(state["optimiser"])
        return int(state["done"]), float(state["spent"])
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, OSError, EOFError) as error:
        raise InputError(f"{path} is no checkpoint of this supernet; delete it or choose another folder") from error


def load_supernet(path: Path, space: Space, picture: Shape, classes: int) -> Supernet:
    """A trained supernet, for measuring skeletons.

    Raises:
        InputError: if the file is of another supernet.
    """
    supernet = Supernet(space, picture, classes)
    _take_up(path, supernet, None)
    return supernet.eval()


def skeleton_accuracy(supernet: Supernet, skeleton: str, data: Dataset) -> float:
    """Share of the pictures that the skeleton labels rightly with the shared weights, in [0, 1]."""
    supernet.skeleton = skeleton
    right = 0
    with torch.inference_mode():
        for start in range(0, len(data), 250):
            logits = supernet(normalised(torch.from_numpy(data.x[start : start + 250])))
            right += int((logits.argmax(1) == torch.from_numpy(data.y[start : start + 250])).sum())
    return right / len(data)

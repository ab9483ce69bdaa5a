"""Pruning dormant channels: neurons that clean pictures never wake are where a backdoor hides.

Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural Networks"
(RAID 2018), section 3: run the network on clean inputs, note each neuron's mean activation in the last
convolutional layer, prune in increasing order, stop when validation accuracy would fall below a limit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from assay.data import Dataset
from assay.errors import ModelError
from assay.models import Model, as_float, batches
from assay.repair.channels import Layer, last_layers
from assay.repair.settings import RepairSettings, accuracy_note, split
from assay.repair.tail import BATCH, Tail
from assay.runs import NO_HURRY, Deadline, Progress, silent


@dataclass(frozen=True, slots=True)
class PruningStep:
    """One channel silenced, and what that did.

    Attributes:
        layer: name of the convolution.
        channel: index of the channel.
        mean_activation: over clean pictures and places, after ReLU and pooling.
        accuracy: on the validation split, with this channel and all before it silenced.
        kept: False for the step that went below the limit, which is taken back.
    """

    layer: str
    channel: int
    mean_activation: float
    accuracy: float
    kept: bool


class _Means(TorchFunctionMode):
    """Sums the result of call number `seen_at` over pictures and places."""

    def __init__(self, seen_at: int) -> None:
        super().__init__()
        self.seen_at = seen_at
        self.calls = 0
        self.sums: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        if self.calls == self.seen_at and isinstance(out, Tensor):
            self.sums = out.flatten(2).mean(2, dtype=torch.float64).sum(0)
        self.calls += 1
        return out


@torch.no_grad()
def mean_activations(model: Model, layer: Layer, x: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean activation of each channel of `layer`, as the next layer sees it, over uint8 pictures `n c h w`.

    Raises:
        ModelError: if one is NaN or infinite.
    """
    model.eval()
    total = np.zeros(layer.channels)
    for part in batches(len(x), BATCH):
        images = as_float(x[part], model.mean.device)
        with _Means(layer.seen_at) as means:
            model(images)
        if means.sums is None:
            raise ModelError(
                f"{model.spec.architecture} runs differently from one batch to the next; it cannot be pruned"
            )
        total += means.sums.cpu().numpy()
    if not np.isfinite(total).all():
        raise ModelError(f"layer {layer.name} gives NaN or infinite activations on clean pictures; the model is broken")
    return total / max(len(x), 1)


def dormant_neurons(
    model: Model, clean_x: NDArray[np.uint8], triggered_x: NDArray[np.uint8]
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """The last convolution's name, and each channel's mean activation on clean and on triggered pictures.

    Both are uint8 `n c h w`. The model is not changed. Needs the trigger: for showing a backdoor, not for a
    repair.
    """
    own = copy.deepcopy(model)
    layer = last_layers(own)[0]
    return layer.name, mean_activations(own, layer, clean_x), mean_activations(own, layer, triggered_x)


def prune_layer(
    model: Model,
    layer: Layer,
    tuning: Dataset,
    validation: Dataset,
    fewest_hits: float,
    *,
    progress: Progress = silent,
    deadline: Deadline = NO_HURRY,
) -> list[PruningStep]:
    """Silence channels of `layer` in `model`, in place, most dormant first, while `fewest_hits` are right.

    At least one channel stays. Cost: one pass of the part behind the layer over `validation` for each
    channel.
    """
    means = mean_activations(model, layer, tuning.x)
    tail = Tail(model, layer, validation)
    steps: list[PruningStep] = []
    for channel in np.argsort(means, kind="stable")[:-1].tolist():
        if deadline.passed:
            break
        tail.silence(channel)
        hits = tail.hits()
        kept = hits >= fewest_hits
        steps.append(PruningStep(layer.name, channel, float(means[channel]), hits / len(validation), kept))
        progress("pruning", len(steps), layer.channels - 1, accuracy_note(hits / len(validation)))
        if not kept:
            break
    # Only now are weights changed, and only by steps that were kept: the state before the fall.
    layer.silence(model, [step.channel for step in steps if step.kept])
    return steps


class Pruning:
    """Pruning alone. A pruning-aware attacker survives it: see `FinePruning`.

    After `fit`: `network_` the pruned copy of the model, `pruned_` (layer, its silenced channels in order)
    pairs, `validation_` and `tuning_` the two parts of the clean set, `accuracy_` of the model before,
    `record_` what was done.
    """

    def __init__(self, settings: RepairSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def fit(self, model: Model, clean: Dataset, *, progress: Progress = silent, deadline: Deadline = NO_HURRY) -> Self:
        """Learn which channels to silence; `model` stays as it is.

        Raises:
            ModelError: if the model has no convolution before its classifier or does not fit the pictures.
            DataError: if a class has fewer than two pictures.
        """
        self.tuning_, self.validation_ = split(model, clean, self.settings.validation, self.seed)
        self.network_ = copy.deepcopy(model)
        self.pruned_: list[tuple[Layer, list[int]]] = []
        layers = last_layers(self.network_, self.settings.layers)
        start = Tail(model, layers[0], self.validation_).hits()
        self.accuracy_ = start / len(self.validation_)
        curve: list[PruningStep] = []
        for i, layer in enumerate(layers, 1):
            # A billionth of a picture forgives the rounding of max_drop * n.
            fewest = start - self.settings.max_drop * i / len(layers) * len(self.validation_) - 1e-9
            steps = prune_layer(
                self.network_,
                layer,
                self.tuning_,
                self.validation_,
                fewest,
                progress=progress,
                deadline=deadline,
            )
            curve += steps
            self.pruned_.append((layer, [step.channel for step in steps if step.kept]))
        self.record_: dict[str, object] = {
            "layers": [
                {
                    "name": layer.name,
                    "channels": layer.channels,
                    "pruned": pruned,
                    "shortcut_kept": layer.shortcut_kept,
                }
                for layer, pruned in self.pruned_
            ],
            "accuracy_before_pruning": self.accuracy_,
            "curve": [asdict(step) for step in curve],
            "cut_short": deadline.passed,
        }
        return self

    def apply(self, model: Model) -> Model:
        """A new model with the learnt channels silenced."""
        pruned = copy.deepcopy(model)
        for layer, channels in self.pruned_:
            layer.silence(pruned, channels)
        return pruned

"""A repaired network that answers only where the trigger can have spoken: the received one answers all the rest.

A repair from a handful of pictures a class loses some of what the received network knows. But a trigger that was learnt
speaks for certain labels; where the received network says another, that trigger has not misled it, and the repaired
one is not asked. Of these labels alone can anything be lost. (Deferring to a second network by what the first one says:
Madras et al., "Predict Responsibly", NeurIPS 2018.)

Against other triggers it is no more than the received network: this is for repairs that know one trigger, and were not
hardened against the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor, nn

from assay.errors import InputError
from assay.models import Model


class Deferring(nn.Module):
    """Logits of `received`, but for inputs to which it gives one of `labels`: of `repaired` for those.

    Cost: `received` for every input, `repaired` for those with such labels.
    """

    suspect: Tensor

    def __init__(self, received: nn.Module, repaired: nn.Module, labels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.received, self.repaired, self.labels = received, repaired, tuple(labels)
        suspect = torch.zeros(classes, dtype=torch.bool)
        suspect[list(labels)] = True
        self.register_buffer("suspect", suspect, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.received(x)
        asked = self.suspect[given.argmax(1)]
        if not asked.any():
            return given
        answers = given.clone()
        answers[asked] = self.repaired(x[asked])
        return answers


def deferring(received: Model, repaired: Model, labels: Sequence[int]) -> Model:
    """`received`, but for pictures to which it gives one of `labels`: `repaired` answers those. `repaired` if none.

    Both share their weights with what is returned, which is kept as its two parts: no model file holds it.

    Raises:
        InputError: if there is no such label.
    """
    if not labels:
        return repaired
    if not 0 <= min(labels) <= max(labels) < received.spec.classes:
        raise InputError(f"a network of {received.spec.classes} classes cannot defer for the labels {list(labels)}")
    network = Deferring(received.network, repaired.network, labels, received.spec.classes)
    spec = msgspec.structs.replace(repaired.spec, architecture="deferring", arguments={})
    return Model(network, spec).to(received.mean.device).eval()


def deferred_labels(model: Model) -> tuple[int, ...]:
    """The labels for which a network made by `deferring` asks its repaired part; none of any other network."""
    return model.network.labels if isinstance(model.network, Deferring) else ()

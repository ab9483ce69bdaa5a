"""Doubt: by how much the treated network prefers its own answer to the received one's, and how much of it is too much.

Two networks that know the same still differ now and then, mostly where a picture is ambiguous: there the treated one
holds both answers for nearly as likely. A trigger makes the received one sure of a label that the treated one sees no
sign of. So an input is quarantined if its doubt is above a limit that few clean validation pictures exceed: so few that
the 95 % interval of their share ends below 5 %. Where no more than these get different answers the limit is 0, and
every difference counts.

A treated network that had a handful of clean pictures a class to learn from may fall for the trigger as the received
one does, and see nothing. There SCALE-UP quarantines by itself: it needs no second network. The two share the alarms.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.data import Dataset
from assay.detect import ONLINE
from assay.models import Model, Rate, as_float, batches
from assay.repair.nnoculation_live import Suspects

ALARMS = 0.05
"""At most this share of clean pictures is to be quarantined."""

EACH = ALARMS / 2
"""Of it, where clean pictures are few: SCALE-UP quarantines by itself then, and the two share it."""

FEW = 5
"""Clean pictures a class; with fewer, the treated network is not relied upon."""


def few(clean: Dataset) -> bool:
    """Whether the defender has too few clean pictures to rely upon the treated network."""
    return len(clean) < FEW * clean.classes


def doubt(received: Tensor, treated: Tensor) -> Tensor:
    """For logits `n k` of both networks: the log of how much likelier the treated one holds its label, 0 if they agree.

    `n`, in nats, at least 0.
    """
    return treated.amax(1) - treated.gather(1, received.argmax(1, keepdim=True))[:, 0]


@torch.inference_mode()
def doubts(received: Model, treated: Model, x: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The same for uint8 pictures `n c h w`; both networks are put in eval mode."""
    received.eval(), treated.eval()
    device = received.mean.device
    parts = [as_float(x[part], device) for part in batches(len(x))]
    found = [doubt(received(images), treated(images)).double().cpu().numpy() for images in parts]
    return np.concatenate(found) if found else np.zeros(0)


def limit_for(received: Model, treated: Model, validation: Dataset, clean: Dataset) -> float:
    """The least doubt that no more of the validation pictures exceed than are allowed.

    Where `clean`, all that the defender has, are few, `EACH` is shared out, and of new pictures that many are
    to be expected: a limit that k of n exceed will be exceeded by a share of (k + 1) / (n + 1). That is only the mean:
    the two networks may agree on 40 pictures and differ on every tenth of the next. So the treated one is to be surer,
    besides, than of all but `EACH`.
    """
    found = np.sort(doubts(received, treated, validation.x))
    if not few(clean):
        return float(found[len(found) - 1 - allowed(len(found))])
    over = max(0, int(EACH * (len(found) + 1)) - 1)
    return max(float(found[len(found) - 1 - over]), math.log(1 / EACH - 1))


def allowed(n: int) -> int:
    """Of `n` clean pictures, how many may be doubted; two of few, lest an odd one among them sets the limit alone."""
    most = int(ALARMS * n)
    sure = [hits for hits in range(most + 1) if Rate(hits, n).interval[1] <= ALARMS]
    return max([min(2, most), *sure])


def suspects(received: Model, clean: Dataset, seed: int) -> Suspects | None:
    """Where clean pictures are few: which inputs SCALE-UP suspects, at a limit that a share of `EACH` of these exceeds.

    None where they suffice. Cost: 5 forward passes a picture.
    """
    if not few(clean):
        return None
    score = ONLINE["scale_up"](received, clean, seed)
    usual = np.sort(score(clean.x))
    limit = usual[len(usual) - 1 - int(EACH * len(usual))]
    return lambda x: score(x) > limit

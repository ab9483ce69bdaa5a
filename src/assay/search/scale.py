"""From a skeleton and a budget to a network: how wide it may be.

Source: Ghodsi et al., "CryptoNAS" (NeurIPS 2020), section 3.3, ReLU balancing: channels ×4 at each halving keep the
ReLUs of every layer equal, which gives the most weights for a budget. The last layers grow fast, so multiplications,
which are paid for offline, have a limit of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.errors import InputError
from assay.models import ARCHITECTURES
from assay.models.cnet import GROWTH, OPERATIONS, decode, stage_of
from assay.search.count import Counts, count_architecture

MOST_MACS = 200_000_000
"""Of one picture, if the user says nothing: an encrypted product of the offline phase costs about as much as 10^5."""

STEMS = (1, 2, 4)
"""Strides of the first convolution that are tried."""

SPENT = 0.9
"""Of the most ReLUs that a network within both limits can have: what a network must have to be chosen."""

MAXIMA = 8
"""Comparisons of a 3x3 max pool for each value that it gives."""

SMALLEST_MAP = 3
"""Pixels a side of the last stage's maps: with less, a 3x3 convolution there would see mostly padding."""

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scaled:
    """A network that fits: an architecture's name with its arguments, and what it costs."""

    architecture: str
    arguments: dict[str, Any]
    relus: int
    macs: int
    parameters: int


def skeleton_comparisons(layers: str, width: int, stem: int, picture: Shape) -> int:
    """What a `cnet` takes of a budget: each layer rectifies its input map, and a max pool compares it as well."""
    decoded = decode(layers)
    total = 0
    for i, layer in enumerate(decoded):
        stage = stage_of(i, len(decoded))
        height, width_px = (((side - 1) // stem + 1) // 2**stage for side in picture[1:])
        each = 1 + MAXIMA if OPERATIONS[layer.operation] == "max pool" else 1
        total += each * width * GROWTH**stage * height * width_px
    return total


def scale(layers: str, budget: int, picture: Shape, classes: int, most_macs: int = MOST_MACS) -> Scaled:
    """The network of a skeleton with most weights within a budget of ReLUs and of multiplications.

    A comparison of a max pool counts as a ReLU, which is one as well: unpriced, a search would fill layers with them.

    Strides of 1, 2 and 4 of the first convolution are tried, down to maps of 3 pixels a side in the last stage: a
    smaller map leaves ReLUs for more channels. Where multiplications bind, a stride that spends the budget goes first.

    Raises:
        InputError: if no width fits; says the smallest budget that would do.
    """
    if budget < 1 or most_macs < 1:
        raise InputError(f"a budget is at least 1, got {budget} ReLUs and {most_macs} multiplications")
    found = [s for stem in STEMS if (s := _widest(layers, stem, budget, picture, classes, most_macs)) is not None]
    if not found:
        sizes = [skeleton_comparisons(layers, 1, stem, picture) for stem in STEMS if _has_room(stem, picture)]
        least = f"it has {min(sizes):,} at width 1" if sizes else "the pictures are too small for it"
        raise InputError(
            f"no width of this skeleton meets {budget:,} ReLUs and {most_macs:,} multiplications: {least}; "
            "allow more, or fewer layers"
        )
    used = SPENT * max(s.relus for s in found)
    return max((s for s in found if s.relus >= used), key=lambda s: s.parameters)


def _has_room(stem: int, picture: Shape) -> bool:
    return min((side - 1) // stem + 1 for side in picture[1:]) // 4 >= SMALLEST_MAP


def _widest(layers: str, stem: int, budget: int, picture: Shape, classes: int, most_macs: int) -> Scaled | None:
    """The widest network of one stem, by bisection over the multiplications, which grow with the width."""
    if not _has_room(stem, picture):
        return None

    def counted(width: int) -> Counts:
        return count_architecture("cnet", picture, classes, layers=layers, width=width, stem=stem)

    low, high = 0, budget // skeleton_comparisons(layers, 1, stem, picture)
    if high and counted(high).macs <= most_macs:
        low = high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if counted(middle).macs <= most_macs else (low, middle - 1)
    if not low:
        return None
    counts = counted(low)
    arguments = {"layers": layers, "width": low, "stem": stem}
    return Scaled("cnet", arguments, counts.relus, counts.macs, counts.parameters)


NARROWED = ("resnet20", "resnet32", "minionn7")
"""Architectures with a width that uniform narrowing, the baseline, makes smaller."""


def narrow(architecture: str, budget: int, picture: Shape, classes: int, **arguments: Any) -> Scaled:
    """The widest network of an architecture whose ReLUs, all layers narrowed alike, are within the budget.

    Raises:
        InputError: if even the narrowest is beyond it.
    """
    if architecture not in NARROWED or architecture not in ARCHITECTURES:
        raise InputError(f"{architecture} has no width to narrow; choose from {', '.join(NARROWED)}")
    step = 4 if architecture == "minionn7" else 1
    best: Scaled | None = None
    width = step
    while (counts := count_architecture(architecture, picture, classes, width=width, **arguments)).relus <= budget:
        best = Scaled(architecture, {"width": width, **arguments}, counts.relus, counts.macs, counts.parameters)
        width += step
        if width > 4096:
            break
    if best is None:
        raise InputError(f"{architecture} has {counts.relus:,} ReLUs at its narrowest, more than {budget:,}")
    return best

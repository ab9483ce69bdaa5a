"""What a detector says of a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RecoveredTrigger:
    """A mask and a pattern that, put on pictures, change the model's answer.

    Attributes:
        mask: float32 in [0, 1], `h w`.
        pattern: float32 in [0, 1], `c h w`.
        target: the class that stamped pictures get; None if it depends on the picture.
        flip_rate: share of held-out pictures that it turns, in [0, 1].
    """

    mask: NDArray[np.float32]
    pattern: NDArray[np.float32]
    target: int | None
    flip_rate: float

    @property
    def norm(self) -> float:
        """Sum of the mask: how many pixels the trigger takes."""
        return float(self.mask.sum())

    def stamp(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Put it on uint8 pictures `n c h w`."""
        stamped = (1 - self.mask) * (x.astype(np.float32) / 255) + self.mask * self.pattern
        return np.asarray(np.rint(stamped * 255), dtype=np.uint8)


@dataclass(frozen=True)
class Finding:
    """One detector's result.

    Attributes:
        detector: its name.
        statistics: named figures, each the larger the more suspicious; a null over clean models is kept for each.
        p_value: from the detector's own, data-free null; None if it has none.
        scores: one a class, for the chart; None if the detector does not look at classes.
        score_label: what a score is, with its unit.
        target: the most suspicious class.
        trigger: what it would take to turn pictures into that class, if the detector recovers triggers.
        summary: one sentence for a person.
        seconds: wall time.
        done: False when the time allowed ended first.
        flip_rates: one a class, share of held-out pictures that its trigger turns, in [0, 1]; None if the detector
            recovers no triggers.
    """

    detector: str
    statistics: dict[str, float]
    summary: str
    p_value: float | None = None
    scores: NDArray[np.float64] | None = None
    score_label: str = ""
    target: int | None = None
    trigger: RecoveredTrigger | None = None
    untargeted: RecoveredTrigger | None = None
    targets: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    done: bool = True
    flip_rates: NDArray[np.float64] | None = None

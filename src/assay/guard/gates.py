"""Gates: what a candidate must show before it may serve. A refusal is a sentence for the log.

All of it is measured on things that a client cannot choose alone: the defender's clean pictures, the learnt trigger on
them with true labels, and live traffic; inputs from the quarantine only ever say no.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from assay.guard.settings import GuardSettings


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of a candidate. Shares in [0, 1].

    Attributes:
        accuracy: on the validation split.
        best: the best accuracy there of any version accepted so far.
        quality: how many clean pictures the learnt trigger turns for the received network alone.
        stamped_before, stamped_after: accuracy on stamped validation pictures, of the served version and of this.
        kept: share of the repair's inputs on which the candidate still differs from the received network.
        changed: share of recent inputs outside quarantine that it answers otherwise than the served version (than the
            received network, where clean pictures are few), where that is not for the learnt trigger: with that taken
            off, the received network says what the candidate says.
        live: how many those were.
        serving: accuracy on the validation split of the version that was to be repaired.
        repaired: whether that is a repair itself.
    """

    accuracy: float
    best: float
    quality: float
    stamped_before: float
    stamped_after: float
    kept: float
    changed: float
    live: int
    serving: float
    repaired: bool


def refusal(seen: Evidence, settings: GuardSettings) -> str | None:
    """Why the candidate may not serve; None if it may."""
    values = (seen.accuracy, seen.quality, seen.stamped_before, seen.stamped_after, seen.kept, seen.changed)
    if not all(math.isfinite(value) for value in values):
        return "a figure could not be measured"
    if seen.quality < settings.least_quality:
        return (
            f"no trigger was learnt: what the generator paints turns {_percent(seen.quality)} of the clean pictures, "
            f"{_percent(settings.least_quality)} are needed"
        )
    if seen.accuracy < seen.best - settings.most_loss:
        return (
            f"clean accuracy would fall from {_percent(seen.best)} to {_percent(seen.accuracy)}, "
            f"more than {_percent(settings.most_loss)}"
        )
    if seen.stamped_after < seen.stamped_before - settings.most_loss:
        return (
            f"it is worse against the learnt trigger: {_percent(seen.stamped_after)} of the stamped pictures are "
            f"labelled rightly, {_percent(seen.stamped_before)} before"
        )
    if seen.kept < settings.keeps:
        return (
            f"it agrees with the received network on {_percent(1 - seen.kept)} of the quarantined inputs again, "
            f"{_percent(1 - settings.keeps)} are allowed"
        )
    if seen.changed > settings.most_change:
        return (
            f"it would change the answer to {_percent(seen.changed)} of {seen.live} recent inputs, "
            f"{_percent(settings.most_change)} are allowed"
        )
    if seen.repaired and seen.stamped_after - seen.stamped_before < settings.least_gain:
        return (
            f"it brings nothing: {_percent(seen.stamped_after)} of the stamped pictures are labelled rightly, "
            f"{_percent(seen.stamped_before)} before; {_percent(settings.least_gain)} more are needed"
        )
    return None


def knows(seen: Evidence, settings: GuardSettings) -> bool:
    """Whether the trigger that was learnt is one which a repaired version withstands already.

    Not said of the first treated version: a repair of it brings clean accuracy back too.
    """
    learnt = seen.quality >= settings.least_quality
    return seen.repaired and learnt and seen.stamped_before >= seen.serving - settings.least_gain


def approval(seen: Evidence) -> str:
    """What spoke for it."""
    return (
        f"clean accuracy {_percent(seen.accuracy)}, stamped pictures labelled rightly "
        f"{_percent(seen.stamped_before)} → {_percent(seen.stamped_after)}, {_percent(seen.changed)} of {seen.live} "
        "recent answers change"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

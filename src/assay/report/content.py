"""What a report says, as plain values; how it looks is the template's affair.

Every string is taken to come from an attacker: nothing here is markup. Rates are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float, float]
"""A rate with its 95 % interval: value, low, high."""

VERDICTS = ("backdoored", "clean", "inconclusive")
FILE_VERDICTS = ("safe", "unsafe", "unknown")


@dataclass(frozen=True, slots=True)
class FileFinding:
    """What was found, and where in the file."""

    what: str
    where: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The inspection of one file; `verdict` is one of `FILE_VERDICTS`, `sha256` empty if the file was not read."""

    path: str
    verdict: str
    format: str
    sha256: str
    size_bytes: int
    findings: tuple[FileFinding, ...] = ()

    def __post_init__(self) -> None:
        _require(self.verdict in FILE_VERDICTS, f"a file's verdict is one of {FILE_VERDICTS}, got {self.verdict!r}")


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector's result.

    Attributes:
        summary: one sentence.
        done: False when the time allowed ended first.
        p_value: from the detector's own null, if it has one.
        scores: one a class; empty if the detector does not look at classes.
        score_label: what a score is, with its unit.
        target: index of the class it suspects most.
        statistics: named figures, for the table.
    """

    name: str
    summary: str
    seconds: float
    done: bool
    p_value: float | None = None
    scores: tuple[float, ...] = ()
    score_label: str = ""
    target: int | None = None
    statistics: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TriggerPictures:
    """The recovered trigger, and what it does to the user's pictures.

    Attributes:
        before, after: uint8 `n c h w`, the same pictures without and with the trigger; n may be 0.
        labels_before, labels_after: the model's answers, one a picture.
        mask: `h w` in [0, 1], how far the trigger covers each pixel.
        pattern: `c h w` in [0, 1], what it paints there.
    """

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    labels_before: tuple[str, ...]
    labels_after: tuple[str, ...]
    mask: NDArray[np.float32]
    pattern: NDArray[np.float32]
    caption: str = ""

    def __post_init__(self) -> None:
        shapes = self.before.shape, self.after.shape
        _require(self.before.ndim == 4 and shapes[0] == shapes[1], f"pictures are `n c h w`, twice, got {shapes}")
        counts = len(self.before), len(self.labels_before), len(self.labels_after)
        _require(len(set(counts)) == 1, f"each picture has two labels, got {counts}")
        shapes = self.mask.shape, self.pattern.shape[1:]
        _require(self.pattern.ndim == 3 and shapes[0] == shapes[1], f"mask and pattern differ in size: {shapes}")


@dataclass(frozen=True, slots=True)
class Neurons:
    """Mean activation a channel of `layer`, on clean pictures and on triggered ones; indices of those pruned."""

    layer: str
    clean: tuple[float, ...]
    triggered: tuple[float, ...]
    pruned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        counts = len(self.clean), len(self.triggered)
        _require(counts[0] == counts[1], f"each channel has two activations, got {counts}")
        _require(all(0 <= i < counts[0] for i in self.pruned), f"pruned channels lie in [0, {counts[0]})")


@dataclass(frozen=True, slots=True)
class PruningCurve:
    """What pruning did, channel by channel.

    Attributes:
        accuracy: after 0, 1, 2… pruned channels.
        success: attack success rate at the same places, where the truth is known; it may be shorter.
        kept: how many channels stayed pruned.
    """

    accuracy: tuple[float, ...]
    success: tuple[float, ...] = ()
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of the received model and of the repaired one; `p_value` for "both are equally good"."""

    measure: str
    before: Interval | None
    after: Interval | None = None
    p_value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that one page says. What is empty or None is left out of the page.

    Attributes:
        model: name or path of the model.
        verdict: one of `VERDICTS`.
        sentence: the verdict for a person who decides; `advice`: what to do now.
        target: index of the suspected class in `class_names`.
        score_note: why the verdict is as it is, one sentence.
        accusations: how often the rule is wrong about clean models, one sentence.
        rescan: what the second scan, of the repaired model, said; `rescan_verdict`, if given, is one of `VERDICTS`.
        command: what repeats this.
        provenance, facts: (name, value) rows.
    """

    model: str
    verdict: str
    sentence: str
    advice: str
    class_names: tuple[str, ...] = ()
    files: tuple[FileFacts, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    detectors: tuple[Detector, ...] = ()
    target: int | None = None
    p_value: float | None = None
    score_note: str = ""
    accusations: str = ""
    trigger: TriggerPictures | None = None
    neurons: Neurons | None = None
    pruning: PruningCurve | None = None
    comparisons: tuple[Comparison, ...] = ()
    repaired_model: str | None = None
    repair_note: str = ""
    rescan: str = ""
    rescan_verdict: str = ""
    not_done: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    command: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        _require(self.verdict in VERDICTS, f"a verdict is one of {VERDICTS}, got {self.verdict!r}")
        _require(self.rescan_verdict in ("", *VERDICTS), f"a verdict is one of {VERDICTS}, got {self.rescan_verdict!r}")

    def class_name(self, index: int | None) -> str | None:
        """The name of a class; its number if it has none."""
        if index is None:
            return None
        return self.class_names[index] if 0 <= index < len(self.class_names) else f"class {index}"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)

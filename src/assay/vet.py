"""The main job: from a model file and a few clean pictures to a verdict, a repaired model and a report.

inspect → scan → repair, if the verdict is not clean → scan again → report. The model's weights and the clean pictures
are all that is looked at; where the truth is known (the demo, a benchmark), it is used for measuring alone.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.callable_module import make_callable
from assay.data import Dataset, require_clean
from assay.data import load as load_data
from assay.detect import Scan, scan
from assay.errors import DataError, ModelError
from assay.models import Model, Rate, check_fits, clean_accuracy, correct, load, mcnemar, save
from assay.repair import Repair, dormant_neurons, last_layers, mend
from assay.runs import NO_HURRY, Deadline, Progress, silent
from assay.supply import FileReport, inspect

MEASURED_SHARE = 0.2
"""Of the clean set: kept from the repair, so that before and after are measured on pictures it never saw."""

FIRST_SCAN = 0.6
"""Of the time allowed: when the first scan must have ended, if a repair may follow."""

AGAIN = 1.2
"""Times what the first scan took: what is kept for the second."""


@dataclass(frozen=True)
class Truth:
    """What only the maker of a test model knows: the attack success rate of any model, and along the pruning curve."""

    success_rate: Callable[[Model], Rate]


@dataclass(frozen=True)
class Measured:
    """Rates of one model: clean accuracy, and attack success rate where the truth is known."""

    clean_accuracy: Rate
    attack_success_rate: Rate | None = None


@dataclass(frozen=True)
class Vetting:
    """All that `vet` found.

    Attributes:
        file: the inspection.
        first: scan of the received model.
        second: scan of the repaired one; None if there is none, or no time was left.
        before, after: measured on clean pictures that the repair never saw.
        p_value: McNemar, that both are equally good on them.
        curve_success: attack success rate after each pruned channel, where the truth is known.
        neurons: layer, mean activation a channel on clean and on stamped pictures.
        not_done: sentences.
    """

    model: Model
    clean: Dataset
    file: FileReport
    first: Scan
    answer: str
    before: Measured
    repaired: Repair | None = None
    repaired_path: Path | None = None
    second: Scan | None = None
    after: Measured | None = None
    p_value: float | None = None
    curve_success: tuple[float, ...] = ()
    neurons: tuple[str, NDArray[np.float64], NDArray[np.float64]] | None = None
    not_done: tuple[str, ...] = ()


def vet(
    path: Path | str,
    clean: Dataset | Path | str,
    *,
    arch: str | None = None,
    out: Path | None = None,
    mend: bool = True,
    budget_s: float | None = None,
    seed: int = 0,
    truth: Truth | None = None,
    progress: Progress = silent,
) -> Vetting:
    """Decide about the model in one file, which is opened without running anything in it.

    Args:
        path: the model file.
        clean: pictures with true labels, or where they are (see `assay.load_data`); a fifth of each class is kept for
            measuring.
        arch: the network, where the file does not say it (see `assay.load`).
        out: folder of the repaired model; without it, it stays in memory.
        mend: whether to repair a model that is not clean.
        budget_s: seconds allowed; what did not fit is named in `not_done`.
        truth: for measuring a model whose backdoor is known; it has no part in any decision.

    Raises:
        UnsafeFileError, UnreadableFileError: if the file must not or cannot be opened.
        DataError, ModelError: if file, pictures and architecture do not fit each other.
    """
    deadline = Deadline.after(budget_s)
    file = inspect(path)
    model, clean = open_both(path, clean, arch)
    clean = check_fits(model, clean)
    require_clean(clean)
    held, given = _apart(clean, seed)
    begun = time.monotonic()
    phase = _share(deadline, FIRST_SCAN if mend else 1.0, budget_s)
    first = scan(model, given, seed=seed, deadline=phase, progress=progress)
    found = Vetting(
        model, clean, file, first, _answer(first, file), _measure(model, held, truth), not_done=first.not_done
    )
    if found.answer != "clean":
        phase = _leaving(deadline, AGAIN * (time.monotonic() - begun))
        found = _mended(found, given, held, out, seed, phase, deadline, truth, progress) if mend else _off(found)
    return replace(found, neurons=_neurons(found, given))


def _off(found: Vetting) -> Vetting:
    return replace(found, not_done=(*found.not_done, "repair: switched off"))


def _mended(
    found: Vetting,
    given: Dataset,
    held: Dataset,
    out: Path | None,
    seed: int,
    repair_by: Deadline,
    deadline: Deadline,
    truth: Truth | None,
    progress: Progress,
) -> Vetting:
    """Repair, then scan and measure what came of it."""
    if deadline.passed:
        return replace(found, not_done=(*found.not_done, "repair: the time allowed ended first"))
    try:
        fixed = mend(found.model, given, found.first.stamp, seed=seed, deadline=repair_by, progress=progress)
    except (ModelError, DataError) as error:  # too few pictures of a class, say; the verdict stands all the same
        return replace(found, not_done=(*found.not_done, f"repair: {error}"))
    written = save(fixed.model, _free(out / "repaired.safetensors", found.file.path)) if out else None
    second = scan(fixed.model, given, seed=seed, deadline=deadline, progress=_again(progress))
    cut_short = ("repair: the time allowed ended before its last epoch",) if fixed.record.get("cut_short") else ()
    return replace(
        found,
        repaired=fixed,
        repaired_path=written,
        second=second,
        after=_measure(fixed.model, held, truth),
        p_value=mcnemar(correct(found.model, held), correct(fixed.model, held)),
        curve_success=_curve_success(found.model, fixed, truth),
        not_done=(*found.not_done, *cut_short, *(f"scan after the repair: {line}" for line in second.not_done)),
    )


def open_both(path: Path | str, clean: Dataset | Path | str, arch: str | None = None) -> tuple[Model, Dataset]:
    """A model and clean pictures of the size it takes; a bare state dict goes by the pictures."""
    if arch is None:
        model = load(path)
        return model, _pictures(clean, model.spec.input_shape)
    pictures = _pictures(clean, None)
    model = load(path, arch, pictures)
    fits = pictures.image_shape == model.spec.input_shape
    return model, pictures if fits else _pictures(clean, model.spec.input_shape)


def _pictures(clean: Dataset | Path | str, shape: tuple[int, int, int] | None) -> Dataset:
    return clean if isinstance(clean, Dataset) else load_data(clean, "clean", image_shape=shape)


def _apart(clean: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """What measures, and what is given to detectors and repair; a class of two pictures is given whole."""
    counts = np.bincount(clean.y, minlength=clean.classes)
    small = counts[clean.y] < 3
    held, given = clean.subset(~small).halves(MEASURED_SHARE, seed + 1)
    if not small.any():
        return held, given
    few = clean.subset(small)
    return held, replace(given, x=np.concatenate([given.x, few.x]), y=np.concatenate([given.y, few.y]))


def _free(wanted: Path, received: str) -> Path:
    """`wanted`, or beside it if the received file lies there: that one is never overwritten."""
    same = wanted.exists() and Path(received).exists() and wanted.samefile(received)
    return wanted.with_stem(f"{wanted.stem}-again") if same else wanted


def _share(deadline: Deadline, share: float, budget_s: float | None) -> Deadline:
    """The moment at which `share` of the time allowed is spent."""
    if budget_s is None or deadline.at is None:
        return NO_HURRY
    return Deadline(deadline.at - (1 - share) * budget_s)


def _leaving(deadline: Deadline, kept_s: float) -> Deadline:
    """An earlier deadline that leaves `kept_s` seconds, or half of what is left if that is less."""
    if deadline.at is None:
        return NO_HURRY
    return Deadline(deadline.at - min(kept_s, deadline.left / 2))


def _again(progress: Progress) -> Progress:
    return lambda task, done, total, note: progress(f"{task} again", done, total, note)


def _answer(first: Scan, file: FileReport) -> str:
    """The scan's verdict; a file with odd weights is never called clean."""
    if first.verdict.answer == "clean" and file.verdict != "safe":
        return "inconclusive"
    return first.verdict.answer


def _measure(model: Model, held: Dataset, truth: Truth | None) -> Measured:
    return Measured(clean_accuracy(model, held), truth.success_rate(model) if truth else None)


def _neurons(found: Vetting, given: Dataset) -> tuple[str, NDArray[np.float64], NDArray[np.float64]] | None:
    trigger = found.first.trigger
    if trigger is None:
        return None
    shown = given.take(500)
    try:
        return dormant_neurons(found.model, shown.x, trigger.stamp(shown.x))
    except ModelError:
        return None


def _curve_success(model: Model, fixed: Repair, truth: Truth | None) -> tuple[float, ...]:
    """Attack success rate along the pruning curve, at no more than 33 places; the others are interpolated."""
    if truth is None or "curve" not in fixed.record:
        return ()
    layer = last_layers(copy.deepcopy(model))[0]
    channels = [step["channel"] for step in fixed.record["curve"] if step["layer"] == layer.name]  # type: ignore[attr-defined]
    places = np.unique(np.linspace(0, len(channels), min(33, len(channels) + 1)).round().astype(int))
    rates = []
    for count in places:
        pruned = copy.deepcopy(model)
        layer.silence(pruned, channels[:count])
        rates.append(truth.success_rate(pruned).value)
    return tuple(float(v) for v in np.interp(np.arange(len(channels) + 1), places, rates))


make_callable(__name__, vet)

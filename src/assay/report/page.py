"""The page: content in, one HTML file out that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assay.report import palette, text
from assay.report.charts import class_scores, neurons, pruning_curve, suspicious_first
from assay.report.content import Detector, Neurons, PruningCurve, Report, TriggerPictures
from assay.report.pictures import as_bytes, data_uri
from assay.report.svg import NARROW, WIDE
from assay.runs import write_atomically

MOST_FINDINGS = 40
MOST_PICTURES = 8
CRISP = 100
"""Pixels a side up to which an enlarged picture shows its pixels as squares."""

FILE_WORDS = {"safe": "safe to open", "unsafe": "not safe to open", "unknown": "cannot be told safe"}


def write_report(content: Report, path: Path) -> Path:
    """Write the page; under 3 MB with eight pictures of 224x224.

    Raises:
        InputError: if the folder cannot be written or the disk is full; an older file at `path` is then untouched.

    Cost: about a second, most of it matplotlib.
    """
    # A lone surrogate, which a path may hold, cannot be written as UTF-8.
    write_atomically(path, render(content).encode("utf-8", "backslashreplace"))
    return path


def render(content: Report) -> str:
    """The page as text."""
    present = _sections(content)
    return (
        _environment()
        .get_template("vet.html")
        .render(
            page=content,
            palette=Markup(palette.rules()),
            present=present,
            sections=list(present.items()),
            key_figures=_key_figures(content),
            file_words=FILE_WORDS,
            most_findings=MOST_FINDINGS,
            repaired=_is_repaired(content),
            class_charts=[_class_chart(d, content) for d in content.detectors if d.scores],
            **(_trigger(content.trigger) if content.trigger else {}),
            neuron_chart=_neuron_chart(content.neurons) if content.neurons else None,
            pruning_chart=_pruning_chart(content.pruning) if content.pruning else None,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("assay.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": text.percent,
        "between": text.between,
        "p_equals": text.p_equals,
        "p_value": text.p_value,
        "size": text.size,
        "seconds": text.seconds,
        "figure": text.figure,
        "share": lambda rate: f"{100 * min(max(rate, 0.0), 1.0):.2f}%",
        "prose": text.prose,
        "sentence": text.sentence,
        "words": text.words,
    }
    return environment


def _harmless(value: object) -> object:
    """Every string that the template puts out goes through here; escaping comes after."""
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _is_repaired(content: Report) -> bool:
    return bool(content.repaired_model) or any(row.after is not None for row in content.comparisons)


def _sections(content: Report) -> dict[str, str]:
    """Id to title of the sections that have something to say, in the order of the page."""
    repair = content.pruning or content.rescan or _is_repaired(content)
    has: list[tuple[str, str, object]] = [
        ("file", "The file", content.files or content.provenance),
        ("trigger", "The trigger", content.trigger),
        ("scan", "The scan", content.detectors or content.score_note),
        ("neurons", "The neurons", content.neurons and content.neurons.clean),
        ("repair", "The repair" if repair else "Accuracy", repair or content.comparisons),
        ("limits", "What was not checked", content.limits or content.not_done),
        ("repeat", "How to repeat this", content.command or content.facts),
    ]
    return {id: title for id, title, there in has if there}


def _key_figures(content: Report) -> list[tuple[str, str]]:
    """The few figures that stand beside the verdict."""
    figures = []
    if content.target is not None:
        figures.append(("suspected class", content.class_name(content.target) or ""))
    if content.p_value is not None:
        figures.append(("p-value", text.p_value(content.p_value)))
    for row in content.comparisons:
        before, after = (text.percent(rate[0]) if rate else "" for rate in (row.before, row.after))
        figures.append((row.measure, " → ".join(filter(None, (before, after))) or "–"))
    figures += [("file", FILE_WORDS[file.verdict]) for file in content.files[:1]]
    return figures


def _trigger(trigger: TriggerPictures) -> dict[str, object]:
    """What the template shows of the trigger."""
    crisp = max(trigger.mask.shape) <= CRISP
    both = as_bytes(trigger.mask * trigger.pattern)
    shown = (
        ("Mask", "where it sits: white covers the picture, black leaves it", as_bytes(trigger.mask)),
        ("Pattern", "what it would paint everywhere", as_bytes(trigger.pattern)),
        ("Together", "the pattern, seen through the mask", both),
    )
    before, after = trigger.labels_before, trigger.labels_after
    pairs = [
        {
            "before": data_uri(trigger.before[i]),
            "after": data_uri(trigger.after[i]),
            "label_before": before[i],
            "label_after": after[i],
            "turned": before[i] != after[i],
            "crisp": max(trigger.before.shape[-2:]) <= CRISP,
        }
        for i in range(min(len(trigger.before), MOST_PICTURES))
    ]
    return {
        "trigger_parts": [(name, said, data_uri(picture, 224), crisp) for name, said, picture in shown],
        "pairs": pairs,
        "turned": sum(pair["turned"] for pair in pairs),
    }


@dataclass(frozen=True)
class _Chart:
    """A chart at both widths, and the same in words: its caption, and what a screen reader says."""

    wide: Markup
    narrow: Markup
    said: str

    @classmethod
    def of(cls, draw: Callable[..., str], said: str, *values: object, **settings: object) -> _Chart:
        wide, narrow = (Markup(draw(*values, **settings, width=width)) for width in (WIDE, NARROW))
        return cls(wide, narrow, said)


@dataclass(frozen=True)
class _ClassChart:
    """The chart of one detector's scores, and the same as a table: name, score, whether it is the suspect."""

    detector: str
    label: str
    chart: _Chart
    rows: list[tuple[str, float, bool]]


def _class_chart(detector: Detector, content: Report) -> _ClassChart:
    names = [content.class_name(i) or "" for i in range(len(detector.scores))]
    label, accused = detector.score_label or "score", content.verdict != "clean"
    scores = np.asarray(detector.scores, dtype=float)
    middle = float(np.nanmedian(scores)) if np.isfinite(scores).any() else float("nan")
    said = f"{text.sentence(label)}, for each of {len(names)} classes; the median is {text.figure(middle)}."
    if detector.target is not None:
        score = detector.scores[detector.target]
        role = "suspect" if accused else "largest" if score > middle else "smallest"
        said += f" The {role} is {names[detector.target]!r}, {text.figure(score)}."
    chart = _Chart.of(class_scores, said, names, detector.scores, label, detector.target, accused=accused)
    order = suspicious_first(scores, detector.target)
    rows = [(names[i], detector.scores[i], accused and i == detector.target) for i in order]
    return _ClassChart(detector.name, label, chart, rows)


def _neuron_chart(found: Neurons) -> _Chart:
    clean, triggered = np.asarray(found.clean), np.asarray(found.triggered)
    if found.pruned:
        a, b = (text.figure(float(v[list(found.pruned)].mean())) for v in (clean, triggered))
        said = (
            f"The {len(found.pruned)} pruned channels answer clean pictures with {a} on average, the trigger with {b}."
        )
    else:
        most = int(np.nanargmax(triggered - clean)) if np.isfinite(triggered - clean).any() else 0
        a, b = (text.figure(float(v[most])) for v in (clean, triggered))
        said = f"The trigger wakes channel {most} most: from {a} on clean pictures to {b}."
    return _Chart.of(neurons, said, found.clean, found.triggered, found.pruned)


def _pruning_chart(curve: PruningCurve) -> _Chart:
    def fell(rates: tuple[float, ...]) -> str:
        return f"from {text.percent(rates[0])} to {text.percent(rates[min(curve.kept, len(rates) - 1)])}"

    said = f"Pruning stopped at {curve.kept} channels. Clean accuracy went {fell(curve.accuracy)}"
    said += f", the attack success rate {fell(curve.success)}." if curve.success else "."
    return _Chart.of(pruning_curve, said, curve.accuracy, curve.success, curve.kept)

"""The operator's page: what serves, how much, what was quarantined, what was learnt, and buttons to go back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from assay.data.arrays import read_arrays
from assay.errors import AssayError, InputError
from assay.guard import log
from assay.guard.guardian import Guard
from assay.guard.versions import RECEIVED
from assay.report import palette, text
from assay.report.pictures import data_uri

THUMBNAILS, LINES, NAMED = 24, 30, 5

PARTS = ("live", "quarantine", "trigger", "versions", "log")


def status(guard: Guard) -> dict[str, Any]:
    """What `/health` says."""
    version = guard.versions.pair.version
    return {
        "status": "guarding" if version != RECEIVED else "serving the received network alone",
        "guarded": version != RECEIVED,
        "version": version,
        "versions": len(guard.versions.all()),
        "last_log": _last_line(guard),
        "quarantined": guard.store.count(),
        "predictions": guard.metrics.total,
        "automatic": guard.automatic,
        "running": guard.running.progress() if guard.running else None,
        "policy": guard.settings.policy,
        "input_shape": list(guard.shape),
    }


def versions_document(guard: Guard) -> dict[str, Any]:
    """What `/versions` says."""
    rows = [
        {"id": v.id, "at": v.at, "kind": v.kind, "accuracy": v.accuracy, "digest": v.digest, "record": v.record}
        for v in guard.versions.all()
    ]
    return {"serving": guard.versions.pair.version, "automatic": guard.automatic, "versions": rows}


def whole(guard: Guard) -> str:
    """The page."""
    return _rendered(
        "guard.html",
        palette=Markup(palette.rules()),
        parts={name: Markup(part(guard, name)) for name in PARTS},
        policy=guard.settings.policy,
    )


def login(wrong: bool = False) -> str:
    """The form that asks for the token."""
    return _rendered("login.html", palette=Markup(palette.rules()), wrong=wrong)


def part(guard: Guard, name: str, seen: str = "") -> str | None:
    """One section, or None if it is as it was when the page had `seen`.

    Raises:
        InputError: if there is no such section.
    """
    if name not in PARTS:
        raise InputError(f"the page has no part {name[:40]!r}")
    now = "" if name == "live" else str(guard.store.last() if name == "quarantine" else _last_line(guard))
    if now and now == seen:
        return None
    fill = {"live": _live, "quarantine": _quarantine, "trigger": _trigger, "versions": _versions, "log": _log}[name]
    return _rendered(f"part_{name}.html", seen=now, **fill(guard))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("assay.guard"), PackageLoader("assay.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: text.visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": text.percent, "seconds": text.seconds, "figure": text.figure, "when": _when}
    return environment


def _rendered(name: str, **values: object) -> str:
    return _environment().get_template(name).render(**values)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _last_line(guard: Guard) -> int:
    return int(guard.store.rows("SELECT coalesce(max(id), 0) FROM log")[0][0])


def _live(guard: Guard) -> dict[str, Any]:
    now = status(guard)
    metrics = guard.metrics
    rates = metrics.throughput()
    return {
        "status": now,
        "tone": "good" if now["guarded"] else "unsure",
        "rate": rates[-1],
        "line": _polyline(rates),
        "most": max(rates),
        "p99": metrics.quantile(0.99) if metrics.total else None,
        "share": metrics.quarantined / metrics.total if metrics.total else None,
    }


def _polyline(values: list[float], width: int = 600, height: int = 60) -> str:
    top = max([*values, 1e-9])
    step = width / max(1, len(values) - 1)
    return " ".join(f"{i * step:.0f},{height - height * v / top:.1f}" for i, v in enumerate(values))


def _quarantine(guard: Guard) -> dict[str, Any]:
    names = guard.received.spec.class_names
    shown = [
        {
            "picture": data_uri(entry.x),
            "crisp": max(entry.x.shape[-2:]) <= 100,
            "received": names[entry.received],
            "treated": names[entry.treated],
            "at": entry.at,
            "scores": entry.scores,
        }
        for entry in guard.store.recent(THUMBNAILS)
    ]
    suspicion = guard.versions.suspects is not None
    return {"entries": shown, "count": guard.store.count(), "suspicion": suspicion}


def _trigger(guard: Guard) -> dict[str, Any]:
    """The pictures of the newest repair that has some."""
    names = guard.received.spec.class_names
    for version in reversed(guard.versions.all()):
        path = guard.folder / version.folder / "pictures.npz"
        if not path.exists():
            continue
        try:
            found = read_arrays(path, "clean", "stamped", "before", "after")
        except AssayError:
            continue
        pairs = [
            {
                "clean": data_uri(np.ascontiguousarray(clean)),
                "stamped": data_uri(np.ascontiguousarray(stamped)),
                "before": names[int(before)],
                "after": names[int(after)],
                "crisp": max(guard.shape[1:]) <= 100,
            }
            for clean, stamped, before, after in zip(*found.values(), strict=True)
        ]
        return {"pairs": pairs, "version": version.id}
    return {"pairs": [], "version": None}


def _versions(guard: Guard) -> dict[str, Any]:
    told = guard.store.rows("SELECT version, sum(requests), sum(quarantined) FROM history GROUP BY version")
    shares = {version: kept / requests for version, requests, kept in told if requests}
    rows: list[dict[str, Any]] = [
        {"id": RECEIVED, "kind": "received", "at": None, "accuracy": None, "share": None, "why": ""}
    ]
    for version in guard.versions.all():
        record = json.loads(json.dumps(version.record))
        learnt = record.get("quality")
        why = "" if learnt is None else f"the learnt trigger turned {text.percent(learnt)} of clean pictures"
        if version.answers_for:
            names = [guard.received.spec.class_names[label] for label in version.answers_for[:NAMED]]
            more = "" if len(version.answers_for) <= NAMED else f" and {len(version.answers_for) - NAMED} more"
            why += f"; it is asked only where the received network says {', '.join(names)}{more}"
        rows.append(
            {"id": version.id, "kind": version.kind, "at": version.at, "accuracy": version.accuracy,
             "share": shares.get(version.id), "why": why}
        )  # fmt: skip
    return {"rows": rows, "serving": guard.versions.pair.version, "automatic": guard.automatic}


def _log(guard: Guard) -> dict[str, Any]:
    return {"lines": log.lines(guard.store, LINES)}

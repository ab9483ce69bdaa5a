"""Jobs that a study can try skeletons with: at once, and with workers that die."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def worth(settings: dict[str, Any]) -> dict[str, Any]:
    """The more 5x5 convolutions the better, the fewer skips the cheaper."""
    skeleton = settings["skeleton"]
    words = skeleton.split()
    return {"accuracy": sum(w[0] == "2" for w in words) / len(words), "cost": float(skeleton.count("1"))}


def dies_once(settings: dict[str, Any]) -> dict[str, Any]:
    """The process ends at the first call of all; the mark outlives it."""
    mark = Path(settings["mark"])
    if not mark.exists():
        mark.touch()
        os._exit(3)
    return worth(settings)


def dies_for_one(settings: dict[str, Any]) -> dict[str, Any]:
    """The process ends whenever it is given a certain skeleton, kept in a file by the first call."""
    mark = Path(settings["mark"])
    if not mark.exists():
        mark.write_text(settings["skeleton"])
    if mark.read_text() == settings["skeleton"]:
        os._exit(3)
    return worth(settings)


def fails(settings: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("a fault of the job, not of its worker")

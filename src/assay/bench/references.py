"""The null of `assay.detect.verdict`: scores of clean reference models, made here and shipped with Assay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.bench.zoo import ZooModel
from assay.data import load as load_data
from assay.detect import References
from assay.models import recipe
from assay.runs import now, to_json, write_atomically

FIRST_SEED = 1000
"""Seeds of reference models; no other table uses them."""

COUNTS = {"digits": 24, "mnist": 24, "gtsrb": 24}


def reference_models(data: str) -> list[ZooModel]:
    """Clean models that differ by their seed alone."""
    return [ZooModel(data, FIRST_SEED + i) for i in range(COUNTS[data])]


def write_references(data: str, found: Sequence[dict[str, Any]], folder: Path) -> Path:
    """Gather the detectors' statistics of the reference models in one file."""
    clean = load_data(data, "clean")
    names = found[0]["statistics"]
    gathered = {name: [round(float(f["statistics"][name]), 5) for f in found] for name in names}
    references = References(recipe(data)[0], data, clean.image_shape, clean.classes, gathered, now())
    path = folder / f"{references.architecture}-{data}.json"
    write_atomically(path, to_json(references))
    return path

"""The null of `assay.detect.verdict`: statistics of clean reference models, made here and shipped with Assay."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import assay.detect
from assay.bench import zoo
from assay.bench.table import Job, Results, Row, Table, spread
from assay.bench.zoo import ZooModel
from assay.data import load as load_data
from assay.detect import References
from assay.models import Rate, recipe
from assay.runs import now, to_json, write_atomically

FIRST_SEED = 1000
"""Of reference models; no other table uses their seeds."""

COUNT = 20
"""Reference models a data set: the smallest p-value is then 1/21."""

DATA = ("digits", "mnist", "gtsrb")

HALF_DATA = ("mnist",)
"""Those with a null for triggers that turn half of the pictures. On GTSRB they were seen not to tell models of one
source class from clean ones (seeds from 9000 on): on the small network natural patches of that size do as much. The
digits are for the demo, whose time they would not fit."""


def models(data: str) -> list[ZooModel]:
    """Clean models that differ by their seed alone."""
    return [ZooModel(data, FIRST_SEED + i) for i in range(COUNT)]


def _jobs(quick: bool) -> list[Job]:
    every = [model for data in DATA[: 1 if quick else None] for model in models(data)]
    jobs = [Job.of(function, model) for function in (zoo.measure, zoo.statistics) for model in every]
    return jobs + [Job.of(zoo.half_statistics, model) for model in every if model.data in HALF_DATA]


def gather(data: str, found: list[dict[str, Any]]) -> References:
    """The detectors' statistics of the reference models of one data set."""
    clean = load_data(data, "clean")
    gathered: dict[str, list[float]] = defaultdict(list)
    for result in found:
        for values in result["statistics"].values():
            for name, value in values.items():
                gathered[name].append(round(float(value), 5))
    return References(recipe(data)[0], data, clean.image_shape, clean.classes, gathered, now())


def _rows(results: Results) -> list[Row]:
    groups: dict[str, list[tuple[int, Rate]]] = defaultdict(list)
    for job, result in results:
        if job.function is zoo.measure:
            groups[job.model.data].append((job.model.seed, Rate(*result["clean"])))
    return [
        {
            "data": data,
            "architecture": recipe(data)[0],
            "n": len(group),
            "smallest_p": 1 / (len(group) + 1),
            "clean_accuracy": median(rate.value for _, rate in group),
            "clean_accuracy_interval": spread(rate for _, rate in group),
            "seed": [seed for seed, _ in group],
        }
        for data, group in groups.items()
    ]


def ship(results: Results) -> list[Path]:
    """Write one file a data set; these are what the verdict compares with."""
    folder, written = Path(assay.detect.__file__).parent / "references", []
    for data in DATA:
        mine = [r for job, r in results if job.model.data == data and job.function is not zoo.measure]
        references = gather(data, mine)
        path = folder / f"{references.architecture}-{data}.json"
        write_atomically(path, to_json(references))
        written.append(path)
    return written


REFERENCES = Table(
    "Clean reference models behind the verdict",
    _jobs,
    _rows,
    {
        "data": "data",
        "architecture": "architecture",
        "n": "models",
        "smallest_p": "smallest p-value",
        "clean_accuracy": "clean accuracy",
    },
    "Clean models that differ by their seed alone; their statistics are the null that a model is compared with.",
    ship=ship,
)

"""Frames of a few things are told from independent pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.data import Dataset, come_in_groups, load


def things(frames: int, classes: int = 6, n: int = 24) -> Dataset:
    """Noise pictures: `n` a class, `frames` slightly different ones of each thing."""
    rng = np.random.default_rng(5)
    things = rng.integers(0, 200, (classes * n // frames, 1, 8, 8)).repeat(frames, axis=0)
    x = things + rng.integers(0, 30, things.shape)
    return Dataset(x.astype(np.uint8), np.arange(classes).repeat(n), tuple("abcdef"[:classes]), "things")


def test_frames_of_few_things_come_in_groups_and_pictures_of_many_do_not() -> None:
    assert come_in_groups(things(frames=8))
    assert not come_in_groups(things(frames=1))


def test_the_order_of_the_pictures_does_not_matter() -> None:
    data = things(frames=8)
    order = np.random.default_rng(0).permutation(len(data))
    assert come_in_groups(replace(data, x=data.x[order], y=data.y[order]))


@pytest.mark.parametrize("n", [4, 8])
def test_of_too_few_pictures_a_class_nothing_is_said(n: int) -> None:
    assert not come_in_groups(things(frames=4, n=n))


def test_uniform_pictures_are_no_obstacle() -> None:
    data = things(frames=1)
    assert isinstance(come_in_groups(replace(data, x=np.zeros_like(data.x))), bool)


@pytest.mark.parametrize(("name", "grouped"), [("gtsrb", True), ("fsdd", True), ("mnist", False), ("digits", False)])
def test_clean_shares_of_the_named_sets(shared_data: Path, name: str, grouped: bool) -> None:
    assert come_in_groups(load(name, "clean").take(2000)) is grouped

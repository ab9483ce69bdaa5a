"""Networks of the tables are trained once, and go on where their training was interrupted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.bench import classic, zoo
from assay.bench.classic import ClassicModel
from assay.bench.zoo import ZooModel
from assay.data import Dataset
from assay.models import Model


class Stop(Exception):
    """The user's Ctrl-C, for a test."""


def stopping(after: int) -> Any:
    """A `record` that interrupts when so many epochs are done."""
    left = [after]

    def record(epoch: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise Stop

    return record


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and noise for every data set."""
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    noise = Dataset(x, np.arange(40) % 10, tuple("0123456789"), "mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(zoo, "load_data", lambda name, part: noise)
    monkeypatch.setattr(classic, "load_data", lambda name, part: noise)
    return tmp_path / "assay" / "zoo"


def equal(first: Model, second: Model) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_an_interrupted_network_of_the_zoo_goes_on_to_the_same_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ZooModel("mnist", 1, architecture="mlp", epochs=3)
    whole = zoo.obtain(wanted)
    [file] = cache.iterdir()
    file.unlink()
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(zoo, "train", partial(zoo.train, record=stopping(2)))
        zoo.obtain(wanted)
    assert [left.suffix for left in cache.iterdir()] == [".checkpoint"]
    assert equal(zoo.obtain(wanted), whole)
    assert list(cache.iterdir()) == [file]


def test_an_interrupted_network_of_squares_goes_on_to_the_same_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ClassicModel("mnist", "safetynets-fcnn", 1, "square", {"width": 8, "depth": 1}, 2, 2)
    whole = classic.obtain(wanted)
    [file] = cache.iterdir()
    file.unlink()
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(classic, "train_safetynet", partial(classic.train_safetynet, record=stopping(3)))
        classic.obtain(wanted)
    assert len(list(cache.iterdir())) == 2, "one checkpoint for each part of the training"
    assert equal(classic.obtain(wanted), whole)
    assert list(cache.iterdir()) == [file]


def test_every_choice_about_a_network_of_squares_makes_another_one() -> None:
    plain = ClassicModel("mnist", "safetynets-cnn", 1)
    others = [
        ClassicModel("fsdd", "safetynets-cnn", 1),
        ClassicModel("mnist", "safetynets-cnn", 2),
        ClassicModel("mnist", "safetynets-cnn", 1, "relu"),
        ClassicModel("mnist", "safetynets-cnn", 1, arguments={"width": 8}),
        ClassicModel("mnist", "safetynets-cnn", 1, epochs=1),
        ClassicModel("mnist", "safetynets-cnn", 1, rounded_epochs=1),
    ]
    assert len({model.digest for model in (plain, *others)}) == 7

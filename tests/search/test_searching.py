"""The whole search on small pictures: within budget and time, and what is done is not done again."""

from __future__ import annotations

import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.errors import BudgetError, InputError
from assay.integer import load as load_network
from assay.models import clean_accuracy, load
from assay.search import count, finals, searching
from assay.search.frontier import read_frontier
from assay.search.searching import SearchSettings, search
from search.bars import bars


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `.npz` of 600 bright bars."""
    data = bars(600)
    file = tmp_path_factory.mktemp("bars") / "bars.npz"
    np.savez(file, x=data.x, y=data.y, class_names=np.array(data.class_names))
    return file


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The private engine is timed in test_latency."""
    monkeypatch.setattr(searching, "SUPERNET_STEPS", 5)
    monkeypatch.setattr(searching, "measured", lambda network, pictures: None)
    monkeypatch.setattr(searching, "predicted", lambda network: None)
    monkeypatch.setattr(finals, "ATTEMPTS", 0)  # finals change nothing: they would take all their time
    searching._validation.cache_clear()
    searching._loaded.cache_clear()


def one() -> Executor:
    return ThreadPoolExecutor(1)


EPOCHS = 16
SETTINGS = SearchSettings((1_500, 3_000), seconds=60, trials=2, epochs=EPOCHS, depth=3, seed=1)


def test_a_search_gives_networks_within_their_budgets_that_open_again(pictures: Path, tmp_path: Path) -> None:
    found = search(str(pictures), SETTINGS, tmp_path, one)
    assert len(found.study.trials) == 6
    for point in found.frontier.points:
        model = load(tmp_path / point.model)
        assert count(model.network, (1, 16, 16)).relus == point.relus <= point.budget
        assert len(point.history) == point.epochs == EPOCHS
        assert load_network(tmp_path / str(point.network)).input_shape == (1, 16, 16)
    best = load(found.best)
    assert count(best.network, (1, 16, 16)).relus == found.point.relus
    assert found.point.accuracy > 0.8
    assert clean_accuracy(best, searching._parts(str(pictures))[1]).value == found.point.accuracy
    assert (tmp_path / "frontier.svg").read_text().startswith("<svg")
    assert str(found.point.model) in (tmp_path / "frontier.md").read_text()


def test_the_same_search_again_trains_nothing_and_another_budget_only_that(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = search(str(pictures), SETTINGS, tmp_path, one)
    trained = []
    real = searching.train
    monkeypatch.setattr(searching, "train", lambda *a, **k: trained.append(1) or real(*a, **k))
    assert search(str(pictures), SETTINGS, tmp_path, one).frontier == first.frontier
    assert not trained
    more = SearchSettings((1_500, 2_000), seconds=60, trials=2, epochs=2, depth=3, seed=1)
    assert len(search(str(pictures), more, tmp_path, one).frontier.points) == 3
    assert len(trained) == 1


def test_an_interrupted_search_goes_on_and_ends_as_one_that_was_not(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(str(pictures), SETTINGS, tmp_path / "whole", one)
    real = searching.train

    def interrupted(model: object, data: object, settings: object, **more: object) -> object:
        epochs: list[object] = []

        def record(epoch: object) -> None:
            epochs.append(epoch)
            more["record"](epoch)  # type: ignore[operator]
            if len(epochs) == 2:
                raise KeyboardInterrupt

        return real(model, data, settings, **{**more, "record": record})  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(str(pictures), SETTINGS, tmp_path / "halved", one)
    monkeypatch.setattr(searching, "train", real)
    again = search(str(pictures), SETTINGS, tmp_path / "halved", one)
    for a, b in zip(again.frontier.points, whole.frontier.points, strict=True):
        assert (a.accuracy, a.arguments) == (b.accuracy, b.arguments)
        assert [e["loss"] for e in a.history] == [e["loss"] for e in b.history]


def test_finals_are_over_once_a_network_was_begun_by_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(str(pictures), SETTINGS, tmp_path, one)
    more = replace(SETTINGS, budgets=(*SETTINGS.budgets, 2_000))
    allowed: list[float] = []
    real = finals.Finals.held

    def held(self: finals.Finals, study: object, seconds: float, **more: object) -> object:
        allowed.append(seconds)
        return real(self, study, seconds, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(finals.Finals, "held", held)
    search(str(pictures), more, tmp_path, one)
    assert allowed == [0.0]


def test_a_folder_is_the_same_however_it_is_written(pictures: Path, tmp_path: Path) -> None:
    first = search(str(pictures), SETTINGS, tmp_path, one)
    other = f"{pictures.parent}/./{pictures.name}"
    assert search(other, SETTINGS, tmp_path, one).frontier == first.frontier


def test_a_damaged_plan_is_a_sentence(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "budget-1500").mkdir()
    (tmp_path / "budget-1500" / searching.PLAN).write_text('{"skeleton": 3}')
    with pytest.raises(InputError, match="is no plan of a training"):
        search(str(pictures), SETTINGS, tmp_path, one)


def test_a_search_without_a_number_of_epochs_ends_in_time(pictures: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    settings = SearchSettings((1_500,), seconds=8, trials=1, depth=3)
    found = search(str(pictures), settings, tmp_path, one)
    assert found.point.epochs >= 1
    assert time.monotonic() - begun < 3 * 8


def test_a_budget_that_nothing_meets_is_refused_before_anything_is_trained(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no width of this skeleton meets"):
        search(str(pictures), SearchSettings((10,), seconds=60), tmp_path, one)
    assert not (tmp_path / "supernet.pt").exists()


def test_a_folder_of_another_search_is_refused(pictures: Path, tmp_path: Path) -> None:
    search(str(pictures), SearchSettings((1_500,), 60, trials=1, epochs=1, depth=3, seed=1), tmp_path, one)
    with pytest.raises(InputError, match="another search space"):
        search(str(pictures), SearchSettings((1_500,), 60, trials=1, epochs=1, depth=4, seed=1), tmp_path, one)
    with pytest.raises(InputError, match="another data, seed or supernet"):
        search(str(pictures), SearchSettings((1_500,), 60, trials=1, epochs=1, depth=3, seed=2), tmp_path, one)


def test_no_time_for_one_trial_is_a_sentence(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "run_study", lambda *a, **k: None)
    with pytest.raises(BudgetError, match="before one skeleton could be tried"):
        search(str(pictures), SETTINGS, tmp_path, one)


def test_a_damaged_frontier_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "frontier.json").write_text("{}")
    with pytest.raises(InputError, match="is no frontier of a search"):
        read_frontier(tmp_path, "mnist")


@pytest.mark.parametrize(
    "wrong",
    [
        {"budgets": ()}, {"budgets": (0,)}, {"seconds": 0}, {"seconds": float("nan")}, {"depth": 2}, {"trials": 0},
        {"workers": 0}, {"epochs": 0},
    ],
)  # fmt: skip
def test_settings_that_make_no_search_are_a_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="a search needs"):
        SearchSettings(**{"budgets": (1_000,), "seconds": 5.0, **wrong})  # type: ignore[arg-type]

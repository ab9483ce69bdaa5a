"""CryptoNAS's table: every row's network holds its budget, and what has not been run is not in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.bench import TABLES, cryptonas, make
from assay.bench.cryptonas import BASELINES, BUDGETS, Wanted, jobs, network, online, rows, squared, trained
from assay.bench.table import Job
from assay.data import Dataset
from assay.runs import run_job
from assay.search import count_architecture


def cifar_like() -> Dataset:
    x = np.random.default_rng(1).integers(0, 255, (40, 3, 32, 32), dtype=np.uint8)
    return Dataset(x, np.arange(40) % 10, tuple("0123456789"), "cifar10")


@pytest.mark.parametrize("name", ["cnet1-balanced", *BASELINES])
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_network_of_a_row_is_within_its_budget(name: str, budget: int) -> None:
    made = network(name, budget, cifar_like())
    assert count_architecture(made.architecture, **made.arguments).relus == made.relus <= budget


def test_squares_stand_for_the_first_activations_and_no_more_than_are_needed() -> None:
    made = squared(100_000, (3, 32, 32), 10)
    fewer = {"squares": made.arguments["squares"] - 1}
    assert count_architecture("minionn7", **fewer).relus > 100_000 >= made.relus


def result(hits: int, relus: int) -> dict[str, Any]:
    return {"clean": [hits, 100], "relus": relus, "macs": 1, "parameters": 1, "arguments": {}}


def done(name: str, seed: int, hits: int, relus: int = 25_000) -> tuple[Job, dict[str, Any]]:
    settings = {"network": name, "budget": 25_000, "seed": seed, "epochs": 12, "pictures": 0, "dataset": "cifar10"}
    return Job(trained, settings), result(hits, relus)


def test_a_lead_is_over_the_seeds_that_both_have_and_is_shown_where_it_is_negative() -> None:
    shown = rows([done("cnet1-balanced", 1, 70), done("resnet20", 1, 80), done("resnet20", 2, 10)])
    by_name = {row["network"]: row for row in shown}
    assert by_name["resnet20"]["accuracy_lead_by_points"] == pytest.approx(-0.1)
    assert by_name["resnet20"]["n"] == 2
    assert "accuracy_lead_by_points" not in by_name["cnet1-balanced"]


def test_fewer_relus_compares_only_with_ours_that_are_no_less_accurate() -> None:
    shown = rows([done("cnet1-balanced", 1, 70, 10_000), done("resnet20", 1, 65, 25_000), done("resnet32", 1, 75)])
    ratios = {row["network"]: row["relus_ratio"] for row in shown if row["network"] != "cnet1-balanced"}
    assert ratios["resnet20"] == pytest.approx(2.5)
    assert ratios["resnet32"] is None


def timed(name: str, seconds: float) -> tuple[Job, dict[str, Any]]:
    return Job(online, done(name, 1, 0)[0].settings), {"measured": {"online_s": seconds}}


def test_the_lead_at_equal_latency_is_over_those_that_answer_no_sooner_than_ours() -> None:
    ours = [done("cnet1-balanced", 1, 70), timed("cnet1-balanced", 0.2)]
    slower, faster = (
        [done("resnet20", 1, 65), timed("resnet20", 0.3)],
        [done("resnet32", 1, 60), timed("resnet32", 0.1)],
    )
    leads = {row["network"]: row.get("no_slower_lead_by_points") for row in rows([*ours, *slower, *faster])}
    assert leads["resnet20"] == pytest.approx(0.05) and leads["resnet32"] is None


def test_a_linearised_network_stands_beside_the_narrowed_one() -> None:
    shown = rows([done("resnet20-gates", 1, 80), done("resnet20-sensitivity", 1, 60), done("resnet20", 1, 65)])
    gains = {row["network"]: row.get("over_narrowed_by_points") for row in shown}
    assert gains == {
        "resnet20-gates": pytest.approx(0.15),
        "resnet20-sensitivity": pytest.approx(-0.05),
        "resnet20": None,
    }


def test_the_table_so_far_runs_nothing_and_holds_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jobs(quick=False)[0]

    def kept(settings: dict[str, Any]) -> dict[str, Any]:
        return result(60, 24_000)

    kept.__module__, kept.__qualname__, kept.__name__ = trained.__module__, trained.__qualname__, trained.__name__
    run_job(kept, first.settings, tmp_path / "trained")
    monkeypatch.setattr(cryptonas, "obtain", lambda wanted: pytest.fail("nothing may be trained"))
    with ThreadPoolExecutor(1) as executor:
        made = make("cryptonas", TABLES["cryptonas"], tmp_path, executor, so_far=True)
        nothing = make("cryptonas", TABLES["cryptonas"], tmp_path / "empty", executor, so_far=True)
    assert [(row["network"], row["n"]) for row in made.rows] == [("cnet1-balanced", 1)]
    assert not nothing.rows
    assert "JPEG of quality 75" in made.markdown


def test_every_training_is_asked_for_with_two_seeds_and_equal_epochs() -> None:
    wanted = [Wanted(**job.settings) for job in jobs(quick=False) if job.function is trained]
    for name in (*cryptonas.OURS, *BASELINES):
        for budget in BUDGETS:
            mine = [w for w in wanted if (w.network, w.budget, w.pictures) == (name, budget, 0)]
            assert len({w.seed for w in mine}) >= 2
            assert {w.epochs for w in mine if not w.pictures} == {cryptonas.EPOCHS}
    assert {job.function for job in jobs(quick=False)} == {trained, online}

"""CryptoNAS's table: every row's network holds its budget, and what has not been run is not in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.bench import TABLES, cryptonas, make
from assay.bench.cryptonas import BRIEF, EPOCHS, Wanted, brief_rows, jobs, online, rows, trained
from assay.bench.cryptonas_networks import BASELINES, BUDGETS, OURS, WHOLE, network, squared
from assay.bench.cryptonas_timing import timed_in_turn, which
from assay.bench.table import Job
from assay.data import Dataset
from assay.runs import run_job
from assay.search import count_architecture


def cifar_like() -> Dataset:
    x = np.random.default_rng(1).integers(0, 255, (40, 3, 32, 32), dtype=np.uint8)
    return Dataset(x, np.arange(40) % 10, tuple("0123456789"), "cifar10")


@pytest.mark.parametrize("name", ["cnet1-balanced", "three-layers", "two-layers", *BASELINES])
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_network_of_a_row_is_within_its_budget(name: str, budget: int) -> None:
    made = network(name, budget, cifar_like())
    assert count_architecture(made.architecture, **made.arguments).relus == made.relus <= budget


def test_squares_stand_for_the_first_activations_and_no_more_than_are_needed() -> None:
    made = squared(100_000, (3, 32, 32), 10)
    fewer = {"squares": made.arguments["squares"] - 1}
    assert count_architecture("minionn7", **fewer).relus > 100_000 >= made.relus


@pytest.mark.parametrize(("name", "relus"), [("resnet20", 188_416), ("resnet32", 303_104)])
def test_without_a_budget_a_network_has_its_usual_width(name: str, relus: int) -> None:
    assert name in WHOLE
    assert network(name, 0, cifar_like()).relus == relus


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


def timed(**seconds: list[float]) -> tuple[Job, dict[str, Any]]:
    found = [{"network": name.replace("_", "-"), "budget": 25_000, "seconds": s} for name, s in seconds.items()]
    return Job(timed_in_turn, {"dataset": "cifar10", "networks": []}), {"online_s": found}


def test_the_lead_at_equal_latency_is_over_those_that_answer_no_sooner_than_ours() -> None:
    trainings = [done("cnet1-balanced", 1, 70), done("resnet20", 1, 65), done("resnet32", 1, 60)]
    together = timed(cnet1_balanced=[0.2, 0.2, 9.0], resnet20=[0.1, 0.3, 0.3], resnet32=[0.1])
    shown = {row["network"]: row for row in rows([*trainings, together])}
    assert shown["resnet20"]["no_slower_lead_by_points"] == pytest.approx(0.05)
    assert shown["resnet32"]["no_slower_lead_by_points"] is None
    assert shown["resnet20"]["online_ratio"] == pytest.approx(1.5)


def test_a_linearised_network_is_timed_as_it_was_trained() -> None:
    job, _ = done("resnet20-gates", 1, 80)
    shown = rows([(job, result(80, 25_000)), (Job(online, job.settings), {"measured": {"online_s": 0.4}})])
    assert [row["online_s"] for row in shown] == [0.4]


def test_a_network_is_compared_only_with_ours_of_the_same_training() -> None:
    job, _ = done("cnet1-balanced", 1, 90)
    with_muon = Job(trained, {**job.settings, "optimiser": "muon"})
    shown = rows([done("cnet1-balanced", 1, 70), (with_muon, result(90, 25_000)), done("resnet20", 1, 65)])
    assert [row["training"] for row in shown] == ["12 x 45,000", "12 x 45,000, Muon", "12 x 45,000"]
    assert shown[-1]["accuracy_lead_by_points"] == pytest.approx(0.05)


def test_two_processes_time_each_network_in_turn_with_fresh_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.bench import cryptonas_timing

    monkeypatch.setattr(cryptonas_timing, "load_data", lambda name, split: cifar_like())
    order: list[str] = []

    def measured(file: Path, pictures: Any) -> dict[str, float]:
        order.append(file.name)
        return {"online_s": float(len(order))}

    monkeypatch.setattr(cryptonas_timing, "measured", measured)
    pairs = [["three-layers", 1_000], ["minionn7", 25_000]]
    found = timed_in_turn({"dataset": "cifar10", "networks": pairs})["online_s"]
    assert order == ["0.assay", "1.assay"] * 3
    assert found[1] == {"network": "minionn7", "budget": 25_000, "seconds": [2.0, 4.0, 6.0]}
    assert {name for name, _ in which()} == {*OURS, *BASELINES} - {"searched"}


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
    for name in (*OURS, *BASELINES):
        for budget in BUDGETS:
            mine = [w for w in wanted if (w.network, w.budget, w.pictures) == (name, budget, 0)]
            assert len({w.seed for w in mine}) >= 2
            assert {w.epochs for w in mine if w.optimiser == "sgd"} == {cryptonas.EPOCHS}
    assert {job.function for job in jobs(quick=False)} == {trained, timed_in_turn, online}


def test_the_brief_table_holds_whole_networks_and_those_of_ours_that_no_other_beats() -> None:
    def at(name: str, budget: int, hits: int, seconds: float) -> list[tuple[Job, dict[str, Any]]]:
        settings = {"network": name, "budget": budget, "seed": 1, "epochs": EPOCHS, "pictures": 0, "dataset": "cifar10"}
        together = {"online_s": [{"network": name, "budget": budget, "seconds": [seconds]}]}
        return [(Job(trained, settings), result(hits, budget or 300_000)), (Job(timed_in_turn, {}), together)]

    shown = brief_rows(
        [
            *at("resnet32", 0, 90, 0.1),
            *at("cnet1-balanced", 25_000, 84, 0.01),
            *at("three-layers", 25_000, 83, 0.02),  # slower and less accurate
            *at("three-layers", 12_500, 80, 0.005),
            *at("minionn7", 25_000, 66, 0.01),
        ]
    )
    assert [(row["network"], row["relus"]) for row in shown] == [
        ("resnet32", 300_000), ("cnet1-balanced", 25_000), ("three-layers", 12_500),
    ]  # fmt: skip
    assert [row["sooner"] for row in shown] == pytest.approx([1, 10, 20])


def test_the_jobs_of_the_brief_table_are_some_of_the_whole_one() -> None:
    whole = {(job.function, str(job.settings)) for job in jobs(quick=False)}
    brief = {(job.function, str(job.settings)) for job in BRIEF.jobs(False)}
    assert brief < whole
    wanted = [Wanted(**job.settings) for job in BRIEF.jobs(False) if job.function is trained]
    assert {(w.epochs, w.pictures) for w in wanted} == {(EPOCHS, 0), (2, 1_000)}  # and the quick one, of seconds
    assert {(w, 0) for w in WHOLE} <= {(j.settings.get("network"), j.settings.get("budget")) for j in BRIEF.jobs(False)}

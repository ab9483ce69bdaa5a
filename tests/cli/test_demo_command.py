"""`assay demo` trains a BadNet and its twin, vets both, and tells what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import pytest

import assay.data
import assay.models
from assay.cli import main
from assay.cli.console import Common, Outcome, show
from assay.cli.demo import BUDGET_S, TARGET, demo
from assay.data import Dataset
from assay.detect import MaxMargin, NeuralCleanse
from assay.models import load, recipe
from assay.repair import RepairSettings


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Outcome, Path]]:
    """Few digits, one epoch, few steps: the story is told, of networks that have learnt next to nothing."""
    out = tmp_path_factory.mktemp("demo") / "a-folder-whose-name-is-nearly-as-long-as-a-line-of-a-terminal-or-of-a-page"
    whole, settings = assay.data.load, recipe("digits")[1]

    @cache
    def few(name: str, split: str = "clean", **more: object) -> Dataset:
        return whole(name, split).take(200)

    scan, vet, methods = (import_module(f"assay.{name}") for name in ("detect.scan", "vet", "repair.methods"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assay.data, "load", few)
        patch.setattr(vet, "load_data", few)
        patch.setattr(assay.models, "recipe", lambda name: ("badnet-mnist", replace(settings, epochs=1)))
        patch.setattr(scan, "NeuralCleanse", partial(NeuralCleanse, steps=2, restarts=1))
        patch.setattr(scan, "MaxMargin", partial(MaxMargin, steps=2, starts=1))
        patch.setattr(methods, "RepairSettings", partial(RepairSettings, epochs=1, attempts=1))
        yield demo(common=Common(out=out)), out


def test_both_networks_are_vetted_as_files_and_told_of_in_one_document(
    tiny: tuple[Outcome, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, out = tiny
    show(outcome, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert outcome.exit_code == 0
    assert set(document) >= {"bad", "clean", "attack_success_rate", "clean_accuracy", "twin_accuracy", "report"}
    for name, folder in (("bad", "badnet"), ("clean", "clean-twin")):
        part = document[name]
        assert part["verdict"] in ("backdoored", "clean", "inconclusive")
        assert 0 <= part["before"]["attack_success_rate"] <= 1
        assert Path(part["report"]) == out / folder / "report.html"
        assert Path(part["report"]).is_file()
        assert load(out / folder / "model.safetensors").spec.architecture == "badnet-mnist"
    assert document["report"] == document["bad"]["report"]
    low, high = document["attack_success_rate_interval"]
    assert low <= document["attack_success_rate"] <= high


def test_the_story_ends_with_the_paths_of_the_reports_unbroken(
    tiny: tuple[Outcome, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """However long they are: they are there to be copied."""
    outcome, out = tiny
    show(outcome, as_json=False)
    *story, bad, twin = capsys.readouterr().out.rstrip().splitlines()
    assert bad.endswith(str(out / "badnet" / "report.html"))
    assert twin.endswith(str(out / "clean-twin" / "report.html"))
    assert any(line.strip("│ ").startswith("clean twin") for line in story)


def test_the_demo_is_given_less_than_two_minutes() -> None:
    assert 2 * BUDGET_S <= 60


@pytest.mark.slow
def test_the_whole_demo_tells_the_badnet_from_its_twin_and_repairs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all the time it wants: whether the budget is enough depends on what else the machine does."""
    monkeypatch.setattr(import_module("assay.cli.demo"), "BUDGET_S", 900.0)
    assert main(["demo", "--out", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    bad, twin = document["bad"], document["clean"]
    assert (bad["verdict"], bad["target"], twin["verdict"]) == ("backdoored", TARGET, "clean")
    assert bad["p_value"] <= 0.05
    assert document["attack_success_rate"] > 0.95
    assert bad["after"]["attack_success_rate"] < 0.1
    assert bad["after"]["clean_accuracy"] > bad["before"]["clean_accuracy"] - 0.03

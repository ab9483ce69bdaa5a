"""`assay attack badnet` writes a backdoored network and its clean twin, and says what both do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.backdoor import Pattern, SingleTarget, attack_success_rate
from assay.cli import main
from assay.data import load as load_data
from assay.models import clean_accuracy, load

QUICK = ("--data", "digits", "--epochs", "2", "--threads", "1", "--poison-rate", "0.2")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A BadNet trained by the command, and the JSON document."""
    out = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as patch:
        kept: list[Any] = []
        patch.setattr("assay.cli.show", lambda outcome, as_json: kept.append(outcome))
        assert main(["attack", "badnet", *QUICK, "--target", "7", "--out", str(out)]) == 0
    return out, kept[0].document


def test_the_document_says_what_both_networks_do(made: tuple[Path, dict[str, Any]]) -> None:
    out, said = made
    assert said["model"] == str(out / "model.safetensors") and said["clean_model"] == str(out / "clean.safetensors")
    assert said["target"] == 7 and said["trigger"] == "pattern" and said["data"] == "digits"
    for rate in ("clean_accuracy", "twin_accuracy", "attack_success_rate"):
        low, high = said[f"{rate}_interval"]
        assert 0 <= low <= said[rate] <= high <= 1
    assert said["clean_accuracy"] > 0.8 and said["twin_accuracy"] > 0.8 and said["attack_success_rate"] > 0.9
    assert said["attack_success_rate_n"] == 900  # a tenth of the test pictures is a 7 already


def test_the_files_are_the_networks_that_were_measured(made: tuple[Path, dict[str, Any]]) -> None:
    _, said = made
    test, attack = load_data("digits", "test"), (Pattern(), SingleTarget(7))
    bad, twin = load(said["model"]), load(said["clean_model"])
    assert clean_accuracy(bad, test).value == said["clean_accuracy"]
    assert clean_accuracy(twin, test).value == said["twin_accuracy"]
    assert attack_success_rate(bad, test, *attack).value == said["attack_success_rate"]
    assert attack_success_rate(twin, test, *attack).value < 0.2


def test_the_run_folder_says_how_they_came_about(made: tuple[Path, dict[str, Any]]) -> None:
    out, _ = made
    held = json.loads((out / "run.json").read_bytes())
    assert held["settings"]["trigger"] == "pattern" and held["settings"]["training"]["epochs"] == 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(line["network"], line["epoch"]) for line in lines[:-1]] == [
        (network, epoch) for network in ("badnet", "twin") for epoch in (1, 2)
    ]
    assert lines[-1]["target"] == 7


def test_the_same_command_again_does_not_train_again(
    made: tuple[Path, dict[str, Any]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = made
    monkeypatch.setattr("assay.models.training._Run.epoch", lambda *_: pytest.fail("trained again"))
    assert main(["attack", "badnet", *QUICK, "--target", "7", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == said


def test_people_get_a_table_and_programs_get_json_alone(made: tuple[Path, dict[str, Any]], capsys: Capture) -> None:
    out, _ = made
    assert main(["attack", "badnet", *QUICK, "--target", "7", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "clean twin" in said.out and "%" in said.out and f"BadNet: {out}/model.safetensors\n" in said.out
    assert said.err == ""  # nothing is left to do


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "10"], "--target must be a class in 0..9, got 10"),
        (["--target", "-1"], "--target must be a class in 0..9, got -1"),
        (["--source", "10"], "--source must be a class in 0..9"),
        (["--source", "3", "--target", "3"], "nothing to attack"),
        (["--labels", "all-to-all", "--target", "3"], "belong to --labels single"),
        (["--labels", "random", "--source", "3"], "belong to --labels single"),
        (["--poison-rate", "0"], "the poison rate must be between 0 and 1"),
        (["--poison-rate", "1.2"], "the poison rate must be between 0 and 1"),
        (["--poison-rate", "0.00001"], "poisons none of the"),
        (["--epochs", "0"], "training needs epochs of 1 or more"),
        (["--arch", "nothing"], "no architecture named 'nothing'"),
        (["--arch", "vgg11"], "pictures of 28x28 are too small"),
    ],
)
def test_an_attack_that_cannot_be_is_a_sentence(
    tmp_path: Path, capsys: Capture, arguments: list[str], said: str
) -> None:
    assert main(["attack", "badnet", "--data", "digits", "--out", str(tmp_path), "--json", *arguments]) == 2
    got = capsys.readouterr()
    assert said in got.err and got.out == "" and "fault" not in got.err


def test_an_attack_on_pictures_without_a_test_part_is_a_sentence(tmp_path: Path, capsys: Capture) -> None:
    assert main(["attack", "badnet", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "--data must be one of digits, mnist" in capsys.readouterr().err


def test_other_label_maps_have_no_single_target(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = load_data("digits", "train").take(200)
    monkeypatch.setattr("assay.data.load", lambda name, split, **_: small)
    for labels in ("all-to-all", "random"):
        assert main(["attack", "badnet", *QUICK, "--labels", labels, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["target"] is None and said["labels"] == labels and labels in said["model"]
        assert said["attack_success_rate_n"] == 200  # every class is attacked

"""`assay scan` gives the verdict alone, and its exit code is the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from assay.cli import main
from assay.models import save
from detect import planted
from detect.planted import ARCH, TARGET, pictures

KEYS = {"verdict", "target", "p_value", "detectors", "trigger_image"}
"""What architecture.md promises to other programs."""


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.write_npz(pictures(240, 1), tmp_path_factory.mktemp("clean") / "clean.npz")


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(planted.single_target(), tmp_path_factory.mktemp("received") / "single.safetensors")


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(planted.clean(), tmp_path_factory.mktemp("received") / "clean.safetensors")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(model: Path, clean: Path, *more: str) -> list[str]:
    return ["scan", str(model), "--clean", str(clean), "--arch", ARCH, *more]


def test_a_backdoored_model_ends_with_1_and_a_picture_of_its_trigger(
    single: Path, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(single, clean, "--out", str(tmp_path / "run"), "--json")) == 1
    document = json.loads(capsys.readouterr().out)
    assert set(document) >= KEYS
    assert (document["verdict"], document["target"], document["not_done"]) == ("backdoored", TARGET, [])
    found = document["detectors"]["neural_cleanse"]
    assert (found["target"], found["done"], len(found["scores"])) == (TARGET, True, planted.CLASSES)
    with Image.open(document["trigger_image"]) as picture:
        assert picture.size == (8 * planted.SIDE, 8 * planted.SIDE)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["settings"]["model"] == str(single)
    assert "scan" in run["timings_s"]


def test_a_clean_model_ends_with_0_and_without_a_folder_nothing_is_written(
    twin: Path, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(twin, clean, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["target"], document["trigger_image"]) == ("clean", None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_is_too_small_ends_with_2(single: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(single, clean, "--json", "--budget", "0.05s")) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["target"], document["p_value"]) == ("inconclusive", None, None)
    assert any("neural_cleanse" in line for line in document["not_done"])


def test_the_text_names_verdict_target_and_every_detector(
    single: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(single, clean)) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("backdoored, target 'dog', p = ")
    assert all(name in printed.out for name in ("weights", "max_margin", "neural_cleanse"))
    assert printed.err == "searching for triggers …\n"


def test_the_same_seed_gives_the_same_document(single: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for _ in range(2):
        main(command(single, clean, "--json", "--seed", "3"))
        document = json.loads(capsys.readouterr().out)
        for found in document["detectors"].values():
            found.pop("seconds")
        documents.append(document)
    assert documents[0] == documents[1]

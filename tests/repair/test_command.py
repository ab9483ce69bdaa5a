"""`assay repair` writes a new file, says what it did in JSON, and never touches the file it was given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay.cli import main
from assay.data import load as load_data
from assay.models import ModelSpec, build, clean_accuracy, load, save, seeded
from assay.repair import RepairSettings
from repair.shapes_task import CLASSES

NAMES = ("bar", "pole", "slash", "box")


@pytest.fixture
def received(tmp_path: Path) -> Path:
    spec = ModelSpec("badnet-mnist", (1, 28, 28), NAMES, (0.3,), (0.25,))
    with seeded(0):
        return save(build(spec), tmp_path / "received.safetensors")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    y = np.arange(80) % CLASSES
    x = rng.integers(0, 60, (80, 28, 28), dtype=np.uint8)
    for i, label in enumerate(y):
        x[i, 6 * label : 6 * label + 4] += 150
    np.savez(tmp_path / "clean.npz", x=x, y=y)
    return tmp_path / "clean.npz"


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    assert main(["repair", *map(str, arguments), "--json"]) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("method", ["fine-pruning", "pruning", "fine-tuning"])
def test_the_document_says_where_the_new_model_is_and_how_it_compares(
    received: Path, clean: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    was, out = received.read_bytes(), received.with_name("fixed.safetensors")
    said = command(capsys, received, "--clean", clean, "--method", method, "--out", out, "--epochs", 2)
    assert (said["model"], said["method"]) == (str(out), method)
    for when in ("before", "after"):
        rate = said[when]
        low, high = rate["clean_accuracy_interval"]
        assert 0 <= low <= rate["clean_accuracy"] <= high <= 1
        assert rate["n"] == 20
    assert said["record"]["settings"]["epochs"] == 2
    assert received.read_bytes() == was
    assert load(out).spec.class_names == NAMES
    assert not list(out.parent.glob(".*"))


def test_the_written_model_is_the_one_that_was_measured(
    received: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = command(capsys, received, "--clean", clean, "--out", received.parent / "runs")
    assert Path(str(said["model"])) == received.parent / "runs" / "received-repaired.safetensors"
    fixed, data = load(str(said["model"])), load_data(clean)
    validation, _ = data.halves(RepairSettings().validation, seed=0)
    assert clean_accuracy(fixed, validation).value == said["after"]["clean_accuracy"]


def test_the_model_itself_is_never_overwritten(received: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    was = received.read_bytes()
    (received.parent / "link.safetensors").symlink_to(received)
    for out in (
        received,
        received.parent / "link.safetensors",
        received.parent / "sub" / ".." / received.name,
    ):
        assert main(["repair", str(received), "--clean", str(clean), "--out", str(out)]) == 2
        assert "never overwritten" in " ".join(capsys.readouterr().err.split())
    assert received.read_bytes() == was


def test_an_out_that_is_no_safetensors_file_is_refused(
    received: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repair", str(received), "--clean", str(clean), "--out", str(received.parent / "fixed.pt")]) == 2
    assert ".safetensors" in capsys.readouterr().err


def test_only_fine_pruning_unlearns(received: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["repair", str(received), "--clean", str(clean), "--method", "pruning", "--unlearn"]
    assert main([*given, "--out", str(received.with_name("fixed.safetensors"))]) == 2
    assert "only fine-pruning unlearns" in capsys.readouterr().err


def test_plain_goes_with_fine_pruning_alone(received: Path, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = received.with_name("fixed.safetensors")
    for more in (("--method", "hardening"), ("--unlearn",)):
        given = ["repair", str(received), "--clean", str(clean), "--plain", *more, "--out", str(out)]
        assert main(given) == 2
        assert "--plain" in capsys.readouterr().err
    said = command(capsys, received, "--clean", clean, "--plain", "--out", out, "--epochs", 1)
    assert said["record"]["settings"]["plain"] is True and "tuning" not in said["record"]


def test_unlearning_says_whether_a_trigger_was_found(
    received: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = received.with_name("fixed.safetensors")
    said = command(capsys, received, "--clean", clean, "--unlearn", "--out", out, "--epochs", 1)
    assert said["trigger_found"] in (True, False)
    assert said["trigger_found"] == said["record"]["unlearning"]

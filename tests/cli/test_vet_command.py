"""`assay vet` says one thing in its document, its text, its report and its exit code."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assay.cli import main
from assay.models import load, save
from detect import planted
from detect.planted import ARCH, TARGET, pictures

KEYS = {
    "verdict", "target", "p_value", "detectors", "trigger_image",
    "before", "after", "repaired_model", "report", "not_done",
}  # fmt: skip
"""What architecture.md promises to other programs."""


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted.write_npz(pictures(240, 1), tmp_path_factory.mktemp("clean") / "clean.npz")


@pytest.fixture(scope="session")
def received(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("received")
    made = {name: save(make(), folder / f"{name}.safetensors") for name, make in planted.MODELS.items()}
    return made | {"decoyed": save(planted.decoyed(), folder / "decoyed.safetensors")}


@dataclass
class Said:
    code: int
    document: dict[str, Any]
    err: str
    out: Path


def vetted(
    capsys: pytest.CaptureFixture[str], model: Path, clean: Path, out: Path, *more: str, arch: str = ARCH
) -> Said:
    arguments = [str(model), "--clean", str(clean), "--arch", arch, "--out", str(out), "--json", *more]
    code = main(["vet", *arguments])
    printed = capsys.readouterr()
    return Said(code, json.loads(printed.out), printed.err, out)


def test_a_backdoored_model_ends_with_1_and_a_document_with_every_promised_key(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    was = received["single"].read_bytes()
    said = vetted(capsys, received["single"], clean, tmp_path / "run")
    document = said.document
    assert said.code == 1
    assert set(document) >= KEYS
    assert (document["verdict"], document["target"], document["not_done"]) == ("backdoored", TARGET, [])
    assert 0 <= document["p_value"] <= 0.05
    assert set(document["detectors"]) == {"weights", "max_margin", "neural_cleanse"}
    for when in ("before", "after"):
        low, high = document[when]["clean_accuracy_interval"]
        assert 0 <= low <= document[when]["clean_accuracy"] <= high <= 1
        assert "attack_success_rate" not in document[when]
    assert received["single"].read_bytes() == was
    assert load(document["repaired_model"], ARCH).spec.class_names == planted.NAMES
    assert Path(document["report"]).read_text().lower().startswith("<!doctype html")
    with Image.open(document["trigger_image"]) as picture:
        corner = np.asarray(picture)[-16:, -16:]
        assert picture.size == (80, 80)
        assert corner.mean() > np.asarray(picture).mean() + 50
    assert {f.name for f in said.out.iterdir()} == {
        "report.html", "run.json", "metrics.jsonl", "repaired.safetensors", "trigger.png",
    }  # fmt: skip
    assert json.loads((said.out / "run.json").read_text())["settings"]["clean"] == str(clean)
    assert json.loads((said.out / "metrics.jsonl").read_text())["verdict"] == "backdoored"


def test_a_clean_model_ends_with_0_and_no_repaired_model(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = vetted(capsys, received["clean"], clean, tmp_path)
    assert said.code == 0
    assert set(said.document) >= KEYS
    assert said.document["verdict"] == "clean"
    nothing = ("target", "after", "repaired_model", "after_repair", "trigger_image")
    assert [said.document[key] for key in nothing] == [None] * 5
    assert not (tmp_path / "repaired.safetensors").exists()
    assert Path(said.document["report"]).is_file()


def test_no_repair_means_none(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = vetted(capsys, received["single"], clean, tmp_path, "--no-repair")
    assert said.code == 1
    assert said.document["not_done"] == ["repair: switched off"]
    assert said.document["repaired_model"] is None
    assert not (tmp_path / "repaired.safetensors").exists()


@pytest.mark.parametrize("kind", ["clean", "single"])
def test_a_budget_that_is_too_small_ends_with_2_and_names_what_was_not_done(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    said = vetted(capsys, received[kind], clean, tmp_path, "--budget", "0.1s")
    assert said.code == 2
    assert said.document["verdict"] == "inconclusive"
    assert any("neural_cleanse" in line for line in said.document["not_done"])
    assert Path(said.document["report"]).is_file()


def test_a_search_that_turns_no_pictures_ends_with_2_and_document_and_report_say_why_and_name_no_suspect(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save(planted.stepped(), tmp_path / "stepped.safetensors")
    said = vetted(capsys, model, clean, tmp_path / "run", "--no-repair", arch=planted.STEPPED)
    assert said.code == 2
    assert [said.document[key] for key in ("verdict", "target", "p_value")] == ["inconclusive", None, None]
    assert "turn pictures for only 0 of 6 classes" in said.document["why"]
    assert said.document["detectors"]["neural_cleanse"]["flip_rates"] == pytest.approx([0.0] * 6, abs=0.3)
    page = Path(said.document["report"]).read_text()
    assert "turn pictures for only 0 of 6 classes" in page
    assert "It cannot be told whether this model is clean." in page
    of_search = page[page.index("All figures of <bdi>neural cleanse") :]
    assert "(suspect)" not in of_search[: of_search.index("</table>")]


def test_a_file_with_a_decoy_bias_ends_with_2_though_its_network_looks_clean(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = vetted(capsys, received["decoyed"], clean, tmp_path, "--no-repair")
    assert said.code == 2
    assert said.document["verdict"] == "inconclusive"
    assert said.document["file"]["verdict"] != "safe"


def test_the_text_for_people_tells_the_same_story(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["vet", str(received["single"]), "--clean", str(clean), "--arch", ARCH, "--out", str(tmp_path)]
    assert main(arguments) == 1
    text = capsys.readouterr().out
    assert "backdoored, target 'dog'" in text
    assert "repaired: clean accuracy" in text
    assert str(tmp_path / "repaired.safetensors") in text
    assert f"report: {tmp_path / 'report.html'}" in text


def test_without_out_the_run_folder_is_named_after_the_model(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["vet", str(received["clean"]), "--clean", str(clean), "--arch", ARCH, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(Path("runs") / "vet-clean" / "report.html")


class Payload:
    """Runs code when it is unpickled: makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["pickle", "torch", "torch, old format"])
@pytest.mark.parametrize("command", ["vet", "scan", "repair"])
def test_a_file_that_would_run_code_ends_with_1_and_runs_none(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, command: str
) -> None:
    mark, blob = tmp_path / "mark", io.BytesIO()
    if how == "pickle":
        pickle.dump({"weight": Payload(mark)}, blob)
    else:
        torch.save({"weight": Payload(mark)}, blob, _use_new_zipfile_serialization=how == "torch")
    (tmp_path / "model.pt").write_bytes(blob.getvalue())
    arguments = [str(tmp_path / "model.pt"), "--clean", str(clean), "--arch", ARCH, "--out", str(tmp_path / "out")]
    assert main([command, *arguments, "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "mkdir" in printed.err
    assert not mark.exists()


def named(names: tuple[str, ...]) -> Any:
    """The backdoored network with other class names in its header, which its sender chose."""
    model = planted.single_target()
    model.spec = type(model.spec)(ARCH, model.spec.input_shape, names, model.spec.mean, model.spec.std)
    return model


HOSTILE = ("[/]", "[/bold]", "[red]", "a\\", "<script>alert(1)</script>")
"""Markup for the terminal and for the page."""


def vetted_with_name(name: str, folder: Path) -> int:
    names = tuple(name if i == TARGET else f"class {i}" for i in range(planted.CLASSES))
    model = save(named(names), folder / "model.safetensors")
    own = planted.write_npz(planted.renamed(pictures(240, 1), names), folder / "clean.npz")
    more = ["--clean", str(own), "--arch", ARCH, "--no-repair", "--out", str(folder / "out")]
    return main(["vet", str(model), *more])


@pytest.mark.parametrize("name", HOSTILE)
def test_class_names_that_the_sender_chose_change_neither_exit_code_nor_terminal_nor_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code = vetted_with_name(name, tmp_path)
    printed = capsys.readouterr()
    assert "fault of Assay" not in printed.err
    assert code == 1
    assert f"target {name!r}" in printed.out
    assert "<script>alert(1)" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("name", ["\x1b[2J", "line\nbreak", "\u202eknil"])
def test_class_names_that_would_steer_a_terminal_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert vetted_with_name(name, tmp_path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.strip().isprintable()


def test_ctrl_c_after_the_repair_ends_with_130_and_keeps_the_repaired_model(
    received: dict[str, Path], clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    from assay.cli.console import Progress

    def interrupt(self: Progress, task: str, done: float, total: float, note: str = "") -> None:
        if task.endswith("again"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "__call__", interrupt)
    arguments = [str(received["single"]), "--clean", str(clean), "--arch", ARCH, "--out", str(tmp_path), "--json"]
    assert main(["vet", *arguments]) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "interrupted" in printed.err
    assert load(tmp_path / "repaired.safetensors", ARCH).spec.class_names == planted.NAMES
    assert not list(tmp_path.glob(".*"))


def test_a_real_ctrl_c_ends_the_program_with_one_sentence(
    received: dict[str, Path], clean: Path, tmp_path: Path
) -> None:
    """With more steps than anyone would wait for; the signal is sent once the search has begun."""
    code = (
        "import sys; from functools import partial; import assay.cli, assay.detect.scan as _;"
        "scan = sys.modules['assay.detect.scan']; scan.NeuralCleanse = partial(scan.NeuralCleanse, steps=10**9);"
        "assay.cli.entry()"
    )
    arguments = [
        str(received["single"]),
        "--clean",
        str(clean),
        "--arch",
        ARCH,
        "--out",
        str(tmp_path),
        "--threads",
        "1",
    ]
    path = os.pathsep.join([str(Path(planted.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", code, "vet", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline() == "searching for triggers …\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == "assay: interrupted; what was finished is kept\n"

"""`assay convert` writes tensors without pickle, keeps what the header says, and leaves the input alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from assay.cli import main
from assay.models import Model, ModelSpec, build, load, save, seeded
from assay.models.files import HEADER_KEY

KEPT = Path(__file__).parents[1] / "attacks" / "supply" / "os_system.pt"
SPEC = ModelSpec("badnet-mnist", (1, 28, 28), ("a", "b", "c"), (0.5,), (0.25,))


@pytest.fixture(scope="module")
def model() -> Model:
    with seeded(0):
        return build(SPEC).eval()


def command(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, object]:
    assert main(["convert", *map(str, arguments), "--json"]) == code
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["convert", *map(str, arguments)]) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("legacy", [False, True])
def test_the_tensors_of_a_state_dict_are_written_bit_for_bit(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str], legacy: bool
) -> None:
    state = {f"module.{name}": tensor for name, tensor in model.network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "in.pt", _use_new_zipfile_serialization=not legacy)
    was = (tmp_path / "in.pt").read_bytes()
    document = command(capsys, tmp_path / "in.pt", tmp_path / "out.safetensors")
    blob = (tmp_path / "out.safetensors").read_bytes()
    assert document["model"] == str(tmp_path / "out.safetensors")
    assert (document["format"], document["tensors"]) == ("torch (legacy)" if legacy else "torch", len(state))
    assert document["input_sha256"] == hashlib.sha256(was).hexdigest()
    assert document["output_sha256"] == hashlib.sha256(blob).hexdigest()
    assert (tmp_path / "in.pt").read_bytes() == was
    with safe_open(tmp_path / "out.safetensors", "pt") as written:
        assert written.metadata() is None
        for name, tensor in model.network.state_dict().items():
            assert torch.equal(written.get_tensor(name), tensor)


def test_the_header_of_a_model_file_is_kept(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    save(model, tmp_path / "in.safetensors")
    command(capsys, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert load(tmp_path / "out.safetensors").spec == SPEC


def test_with_arch_and_pictures_a_full_model_file_is_written(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(model.network.state_dict(), tmp_path / "in.pt")
    x, y = np.zeros((6, 28, 28), dtype=np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "clean.npz", x=x + np.arange(28, dtype=np.uint8), y=y, class_names=np.array(["a", "b", "c"]))
    arguments = ["--arch", "badnet-mnist", "--clean", tmp_path / "clean.npz"]
    command(capsys, tmp_path / "in.pt", tmp_path / "out.safetensors", *arguments)
    written = load(tmp_path / "out.safetensors")
    assert (written.spec.architecture, written.spec.input_shape) == ("badnet-mnist", (1, 28, 28))
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert HEADER_KEY in file.metadata()


def test_what_is_not_safe_is_not_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(KEPT), str(tmp_path / "out.safetensors")]) == 1
    assert "is not safe to open: opening it would import" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_absurd_weights_are_converted_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv.bias": torch.tensor([0.1, -1e20])}, tmp_path / "in.pt")
    document = command(capsys, tmp_path / "in.pt", tmp_path / "out.safetensors", code=1)
    assert document["verdict"] == "unsafe"
    assert (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["[/x]", "[link=http://evil.example]ok[/link]", "\x1b[2Jx"])
def test_names_of_absurd_tensors_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    torch.save({name: torch.tensor([float("nan")])}, tmp_path / "in.pt")
    assert main(["convert", str(tmp_path / "in.pt"), str(tmp_path / "[/y].safetensors")]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert name.replace("\x1b", "\\x1b") in out
    assert "[/y].safetensors" in out


def test_the_input_is_never_overwritten(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    place = save(model, tmp_path / "in.safetensors")
    was = place.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(place)
    (tmp_path / "hard.safetensors").hardlink_to(place)
    for target in (place, tmp_path / "link.safetensors", tmp_path / "hard.safetensors"):
        assert "never overwritten" in refused(capsys, place, target)
    assert place.read_bytes() == was


def test_bad_arguments_are_answered_in_a_sentence(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = tmp_path / "in.pt", tmp_path / "out.safetensors"
    torch.save(model.network.state_dict(), place)
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    assert "must end in .safetensors" in refused(capsys, place, tmp_path / "out.pt")
    assert "say where to write" in refused(capsys, place)
    assert "is not a file" in refused(capsys, tmp_path / "missing.pt", out)
    assert "clean data set is needed" in refused(capsys, place, out, "--arch", "badnet-mnist")
    assert "not dense tensors" in refused(capsys, tmp_path / "other.pt", out)

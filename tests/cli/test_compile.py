"""`assay compile` writes a network that can be read again, and says what it costs; nothing else comes out of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from assay.cli import main
from assay.integer import load
from assay.models import ModelSpec, build, predict, save, seeded

NAMES = ("bar", "pole", "slash", "box")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = ModelSpec("lenet5", (1, 28, 28), NAMES, (0.3,), (0.25,))
    with seeded(0):
        return save(build(spec), tmp_path / "model.safetensors")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "clean.npz", x=rng.integers(0, 256, (40, 28, 28), dtype=np.uint8), y=np.arange(40) % 4)
    return tmp_path / "clean.npz"


def test_the_document_says_what_was_written_and_how_it_compares(
    model: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.with_name("net.assay")
    assert main(["compile", str(model), "--clean", str(clean), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    network = load(out)
    assert (said["network"], said["digest"]) == (str(out), network.digest)
    for name in ("float_accuracy", "integer_accuracy"):
        low, high = said[f"{name}_interval"]
        assert 0 <= low <= said[name] <= high <= 1
    assert said["bounds"]["ring_bits"] == network.ring_bits
    assert [row["bits"] for row in said["bounds"]["nodes"]] == [bound.bits for bound in network.bounds]
    assert said["kind"] == "requantised"
    assert network.class_names == NAMES
    with np.load(clean) as data:
        x, y = data["x"][:, None], data["y"]
    assert said["integer_accuracy"] == (network.predict(x) == y).mean()
    from assay.models import load as load_model

    assert said["float_accuracy"] == (predict(load_model(model), x) == y).mean()


def test_without_out_the_file_is_named_after_the_model(
    model: Path, clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(model.parent)
    assert main(["compile", str(model), "--clean", str(clean), "--bits", "10"]) == 0
    assert load("runs/compile/model.assay").nodes[-1].name
    assert "SHA-256" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--out", "net.safetensors"], ".assay"),
        (["--bits", "7"], "8 to 12 bits"),
        (["--calibration", "0"], "at least one picture"),
        (["--margin-bits", "31"], "0 to 30 bits"),
        (["--classic"], "no place in a classic network"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_code_2(
    model: Path, clean: Path, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(model), "--clean", str(clean), *arguments]) == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert why in complaint
    assert "fault of Assay" not in complaint


def test_a_layer_without_an_integer_form_is_named(
    tmp_path: Path, clean: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(in_channels, image_size, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.Tanh(), nn.Linear(9, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = ModelSpec("mine:net", (1, 28, 28), NAMES, (0.3,), (0.25,))
    weights = save(build(spec), tmp_path / "mine.safetensors")
    assert main(["compile", str(weights), "--clean", str(clean), "--arch", "mine:net"]) == 2
    assert "layer 2 (tanh" in capsys.readouterr().err

"""`assay train` gives an honest network, and goes on where it was interrupted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.models import load

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Sixty pictures of 8x8 in three classes of different brightness."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = np.clip(rng.normal(60 + 60 * y[:, None, None], 20, (60, 8, 8)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "own.npz", x=x, y=y, class_names=np.array(["dark", "grey", "bright"]))
    return tmp_path / "own.npz"


def train(capsys: Capture, own: Path, *more: str, code: int = 0) -> tuple[dict[str, Any], str]:
    usual = {"--arch": "signs-net", "--batch-size": "16", "--out": str(own.parent / "run")}
    rest = [word for option, value in usual.items() if option not in more for word in (option, value)]
    assert main(["train", "--data", str(own), "--threads", "1", "--json", *rest, *more]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if said.out else {}, said.err


def test_a_network_is_trained_on_the_users_pictures_and_can_be_opened(own: Path, capsys: Capture) -> None:
    said, err = train(capsys, own, "--epochs", "8", "--lr", "0.05")
    assert said["architecture"] == "signs-net" and said["epochs"] == 8 and said["training_accuracy"] > 0.8
    assert "clean_accuracy" not in said  # there is no test part
    model = load(said["model"])
    assert model.spec.class_names == ("dark", "grey", "bright") and model.spec.input_shape == (1, 8, 8)
    assert err == "training signs-net …\n"
    held = json.loads((own.parent / "run" / "run.json").read_bytes())
    assert held["settings"]["training"]["lr"] == 0.05 and held["timings_s"]["training"] > 0
    lines = [json.loads(line) for line in (own.parent / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines[:-1]] == list(range(1, 9)) and lines[-1]["training_accuracy"] > 0.8


@pytest.mark.parametrize(("rate", "used"), [((), 0.1), (("--lr", "0.03"), 0.03)])
def test_muon_trains_at_a_rate_of_its_own_unless_one_is_given(
    own: Path, capsys: Capture, rate: tuple[str, ...], used: float
) -> None:
    said, _ = train(capsys, own, "--epochs", "8", "--optimiser", "muon", *rate)
    assert said["training_accuracy"] > 0.8
    held = json.loads((own.parent / "run" / "run.json").read_bytes())["settings"]["training"]
    assert (held["optimiser"], held["lr"]) == ("muon", used)


def test_a_network_of_squares_is_trained_as_the_field_needs_it(
    own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, _ = train(capsys, own, "--arch", "safetynets-cnn", "--epochs", "3", "--lr", "0.02")
    assert said["epochs"] == 3 and said["training_accuracy"] > 0.5
    assert load(said["model"]).spec.architecture == "safetynets-cnn"
    monkeypatch.setattr("assay.models.training._Run.epoch", lambda *_: pytest.fail("trained again"))
    again, _ = train(capsys, own, "--arch", "safetynets-cnn", "--epochs", "3", "--lr", "0.02")
    assert again["training_accuracy"] == said["training_accuracy"]


def test_interrupted_training_goes_on_and_ends_with_the_same_file(
    own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.models.training import _Run

    whole, _ = train(capsys, own, "--epochs", "4", "--out", str(own.parent / "whole"))
    epoch = _Run.epoch
    ran: list[int] = []

    def interrupted(run: _Run, number: int) -> Any:
        ran.append(number)
        if ran == [0, 1, 2]:
            raise KeyboardInterrupt
        return epoch(run, number)

    monkeypatch.setattr(_Run, "epoch", interrupted)
    train(capsys, own, "--epochs", "4", code=130)
    assert not (own.parent / "run" / "model.safetensors").exists()
    resumed, _ = train(capsys, own, "--epochs", "4")
    assert ran == [0, 1, 2, 2, 3]
    assert Path(resumed["model"]).read_bytes() == Path(whole["model"]).read_bytes()


def test_an_unfinished_run_of_other_settings_is_not_overwritten(
    own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.models.training import _Run

    epoch = _Run.epoch
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "epoch", lambda run, n: epoch(run, n) if n == 0 else interrupt())
        train(capsys, own, "--epochs", "4", code=130)
    _, err = train(capsys, own, "--epochs", "5", code=2)
    assert "checkpoint.pt is of an unfinished run with other settings" in err


def interrupt() -> Any:
    raise KeyboardInterrupt


def test_a_named_set_is_measured_on_its_test_part(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "digits", "--epochs", "1", "--threads", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    low, high = said["clean_accuracy_interval"]
    assert 0.4 < low < said["clean_accuracy"] < high and said["clean_accuracy_n"] == 1000
    assert said["model"] == "runs/train-digits-badnet-mnist/model.safetensors"


def test_the_users_own_function_is_an_architecture(own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(own.parent)
    (own.parent / "my_train_net.py").write_text(
        "from torch import nn\n"
        "def net(in_channels, image_size, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], classes))\n"
    )
    said, _ = train(capsys, own, "--epochs", "1", "--arch", "my_train_net:net")
    assert load(said["model"], "my_train_net:net").spec.architecture == "my_train_net:net"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], "training needs epochs of 1 or more"),
        (["--lr", "0"], "training needs a learning rate above 0"),
        (["--lr", "nan"], "training needs a learning rate above 0"),
        (["--batch-size", "0"], "training needs a batch size of 1 or more"),
        (["--lr", "1e30"], "training broke down in epoch 1"),
        (["--arch", "vgg11"], "too small"),
    ],
)
def test_training_that_cannot_be_is_a_sentence(own: Path, capsys: Capture, arguments: list[str], said: str) -> None:
    _, err = train(capsys, own, *arguments, code=2)
    assert said in err.splitlines()[-1] and "fault" not in err


def test_pictures_of_one_class_only_cannot_be_learnt(own: Path, capsys: Capture) -> None:
    np.savez(own, x=np.zeros((4, 8, 8), np.uint8), y=np.zeros(4, np.int64))
    _, err = train(capsys, own, code=2)
    assert "one class only" in err


def test_a_disk_that_is_full_is_a_sentence_and_leaves_no_model(
    own: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.write_bytes

    def full(path: Path, blob: bytes) -> int:
        if len(blob) > 10_000:
            raise OSError(28, "No space left on device")
        return whole(path, blob)

    monkeypatch.setattr(Path, "write_bytes", full)
    _, err = train(capsys, own, "--epochs", "1", code=2)
    assert "No space left on device" in err and not list((own.parent / "run").glob("*.safetensors"))
    assert not list((own.parent / "run").glob(".*"))

"""`assay data` gives examples out of a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.cli import main
from assay.data import load

Capture = pytest.CaptureFixture[str]


def test_examples_are_written_as_npz_and_read_back(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "deep" / "digits.npz"
    assert main(["data", "digits", "--split", "test", "--take", "8", "--out", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["n"] == 8 and said["of"] == 1000 and said["shape"] == [1, 28, 28] and said["file"] == str(file)
    assert sum(said["per_class"]) == 8 and said["class_names"] == list("0123456789")
    expected, held = load("digits", "test").take(8), np.load(file)
    assert np.array_equal(held["x"], expected.x) and np.array_equal(held["y"], expected.y)
    again = load(file)
    assert np.array_equal(again.x, expected.x) and again.class_names == expected.class_names


def test_one_example_is_written_as_a_picture(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "digit.png"
    assert main(["data", "digits", "--split", "test", "--take", "1", "--out", str(file)]) == 0
    assert "1 of 1000 pictures of 1x28x28" in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(file)), load("digits", "test").x[0, 0])


def test_a_colour_example_is_a_colour_picture(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 5)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", x=x, y=[0])
    assert main(["data", str(tmp_path / "own.npz"), "--out", str(tmp_path / "own.png")]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "own.png")), x[0].transpose(1, 2, 0))


def test_without_out_it_only_says_what_there_is(capsys: Capture) -> None:
    assert main(["data", "digits", "--split", "clean", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["n"] == said["of"] == 400 and said["per_class"] == [40] * 10 and said["file"] is None


def test_mnist_is_there(shared_data: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["data", "mnist", "--split", "test", "--take", "8", "--out", str(tmp_path / "m.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["of"] == 10_000


def test_a_folder_whose_name_is_markup_is_shown_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "[red]own[" / "].npz"
    file.parent.mkdir()
    np.savez(file, x=np.zeros((2, 3, 3), np.uint8), y=[0, 1])
    assert main(["data", str(file)]) == 0
    assert "[red]own[/].npz, all: 2 of 2 pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits", "--take", "0"], "--take must be at least 1"),
        (["digits", "--take", "2", "--out", "x.png"], "a .png holds one picture, not 2"),
        (["no_such_set", "--out", "x.jpg"], "--out must end in .npz or .png"),
        (["no_such_set"], "'no_such_set' is neither a folder"),
    ],
)
def test_what_cannot_be_given_is_a_sentence(
    arguments: list[str], said: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *arguments]) == 2
    got = capsys.readouterr()
    assert said in got.err and got.out == "" and not list(tmp_path.iterdir())

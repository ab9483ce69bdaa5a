"""Whatever is wrong with what a user gives: one sentence on stderr, nothing on stdout, and the designed exit code."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from assay.cli import main
from assay.cli.console import Progress
from assay.models import Model, ModelSpec, build, load, save, seeded

CLASSES, SIDE = 5, 12
COMMANDS = ("vet", "scan", "repair")
SPEC = ModelSpec("lenet5", (1, SIDE, SIDE), tuple("01234"), (0.5,), (0.25,))


@dataclass
class Given:
    """A command line in the making, in a folder of its own; good until a case spoils it."""

    folder: Path
    model: Path
    clean: Path
    more: tuple[str, ...] = ()

    def spoil(self, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        """Change the tensors of the model file, and leave its header as it is."""
        with safe_open(self.model, "pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        change(tensors)
        save_file(tensors, self.model, metadata)

    def pictures(self, **arrays: Any) -> None:
        """Replace arrays of the clean set; one that is None is left out."""
        with np.load(self.clean) as kept:
            new = {**dict(kept.items()), **arrays}
        np.savez(self.clean, **{name: array for name, array in new.items() if array is not None})


@pytest.fixture
def given(tmp_path: Path) -> Given:
    with seeded(0):
        model = save(build(SPEC), tmp_path / "model.safetensors")
    x = np.random.default_rng(0).integers(0, 256, (60, 1, SIDE, SIDE)).astype(np.uint8)
    np.savez(tmp_path / "clean.npz", x=x, y=np.arange(60) % CLASSES)
    return Given(tmp_path, model, tmp_path / "clean.npz")


def other_architecture(given: Given) -> None:
    with seeded(0):
        network = build(SPEC).network
    save(Model(network, ModelSpec("signs-net", (1, SIDE, SIDE), SPEC.class_names, (0.5,), (0.25,))), given.model)


def state_dict_of_another(given: Given) -> None:
    given.model = given.folder / "model.pt"
    torch.save({"fc.weight": torch.ones(5, 3), "fc.bias": torch.ones(5)}, given.model)
    given.more = ("--arch", "lenet5")


def set_value(value: float) -> Callable[[Given], object]:
    return lambda given: given.spoil(lambda tensors: tensors[min(tensors)].view(-1)[:1].fill_(value))


def truncate(given: Given) -> None:
    given.model.write_bytes(given.model.read_bytes()[:-100])


def write_model(content: bytes) -> Callable[[Given], object]:
    return lambda given: given.model.write_bytes(content)


def state_dict_without_arch(given: Given) -> None:
    given.model = given.folder / "model.pt"
    torch.save({"fc.weight": torch.ones(5, 3)}, given.model)


def of_size(*shape: int) -> Callable[[Given], object]:
    return lambda given: given.pictures(x=np.zeros((60, *shape), np.uint8))


def labels(y: Any) -> Callable[[Given], object]:
    return lambda given: given.pictures(y=np.array(y))


def folder_of_pictures(given: Given) -> Path:
    given.clean = given.folder / "pictures"
    rng = np.random.default_rng(0)
    for i in range(4 * CLASSES):
        place = given.clean / str(i % CLASSES) / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)).save(place)
    return given.clean


def unreadable_picture(given: Given) -> None:
    (folder_of_pictures(given) / "2" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")


def empty_folder(given: Given) -> None:
    given.clean = given.folder / "empty"
    given.clean.mkdir()


def empty_class_folder(given: Given) -> None:
    (folder_of_pictures(given) / "7").mkdir()


def one_picture_in_a_folder(given: Given) -> None:
    for file in sorted((folder_of_pictures(given) / "2").iterdir())[1:]:
        file.unlink()


def objects(given: Given) -> None:
    np.savez(given.clean, x=np.array([{}] * 3, dtype=object), y=np.zeros(3, int))


def at(attribute: str, name: str) -> Callable[[Given], object]:
    return lambda given: setattr(given, attribute, given.folder / name)


def option(*more: str) -> Callable[[Given], object]:
    return lambda given: setattr(given, "more", more)


CASES: dict[str, tuple[Callable[[Given], object], str]] = {
    "weights of another architecture": (other_architecture, "does not fit the architecture"),
    "a state dict of another architecture": (state_dict_of_another, "does not fit the architecture"),
    "a missing tensor": (lambda g: g.spoil(lambda t: t.__delitem__(min(t))), "missing"),
    "an extra tensor": (lambda g: g.spoil(lambda t: t.update(extra=torch.ones(3))), "extra"),
    "a tensor of another shape": (lambda g: g.spoil(lambda t: t.update({min(t): torch.ones(3, 3)})), "shape"),
    "NaN weights": (set_value(float("nan")), "NaN"),
    "infinite weights": (set_value(float("inf")), "infinite"),
    "a cut model file": (truncate, "model.safetensors"),
    "an empty model file": (write_model(b""), "model.safetensors"),
    "a text for a model": (write_model(b"not a model at all"), "model.safetensors"),
    "no model": (at("model", "nowhere.safetensors"), "nowhere.safetensors"),
    "a folder for a model": (at("model", "."), "not a file"),
    "a state dict without --arch": (state_dict_without_arch, "--arch"),
    "an architecture that is not known": (option("--arch", "lenet6"), "lenet6"),
    "code that is not there": (option("--arch", "no_such_module:network"), "no_such_module"),
    "pictures of another size": (of_size(1, SIDE, SIDE + 1), "1x12x12"),
    "pictures with other channels": (of_size(3, SIDE, SIDE), "1x12x12"),
    "pictures that are no array of pictures": (of_size(SIDE), "x must be"),
    "one class only": (labels([4] * 60), "class"),
    "one picture of a class": (labels([0] * 30 + [1] * 29 + [4]), "at least"),
    "a class that the model does not have": (labels([i % 9 for i in range(60)]), "classes"),
    "labels that are no whole numbers": (labels([0.5] * 60), "whole numbers"),
    "labels below 0": (labels([-1, 2] * 30), "labels"),
    "too few labels": (labels([0, 1]), "pictures"),
    "no labels": (lambda g: g.pictures(y=None), "x and y"),
    "Python objects for pictures": (objects, "Python objects"),
    "an unreadable picture": (unreadable_picture, "broken.png"),
    "an empty folder": (empty_folder, "class folders"),
    "an empty class folder": (empty_class_folder, "holds no pictures"),
    "a class folder with one picture": (one_picture_in_a_folder, "at least"),
    "no pictures": (at("clean", "nowhere"), "nowhere"),
    "a text for pictures": (at("clean", "model.safetensors"), "npz"),
    "no threads": (option("--threads", "0"), "--threads"),
    "a seed below 0": (option("--seed", "-1"), "seed"),
    "a seed beyond all bounds": (option("--seed", str(2**80)), "seed"),
}


def sentences(err: str) -> list[str]:
    """What is said, progress aside."""
    return [line for line in err.splitlines() if not line.endswith(" …")]


def run(given: Given, command: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str, str]:
    arguments = [str(given.model), "--clean", str(given.clean), *given.more, *more]
    code = main([command, *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    given: Given, command: str, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, word = CASES[case]
    spoil(given)
    code, out, err = run(given, command, capsys, "--json")
    assert (code, out) == (2, "")
    assert "fault of Assay" not in err
    assert len(sentences(err)) == 1
    assert sentences(err)[0].startswith("assay: ")
    assert word in sentences(err)[0]
    assert "Traceback" not in err


@pytest.mark.parametrize("budget", ["soon", "0s", "-3m", "", "nan"])
@pytest.mark.parametrize("command", ["vet", "scan"])
def test_a_budget_that_is_no_duration_gets_one_sentence(
    given: Given, command: str, budget: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(given, command, capsys, f"--budget={budget}")
    assert (code, out, len(sentences(err))) == (2, "", 1)
    assert "duration" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_that_is_not_one_gets_one_sentence(
    given: Given, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([command], [command, str(given.model)], [command, str(given.model), "--clean"],
                      [command, str(given.model), "--clean", str(given.clean), "--colour", "red"]):  # fmt: skip
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_tensor_names_of_the_sender_do_not_steer_the_terminal(
    given: Given, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given.spoil(lambda tensors: tensors.update({"\x1b[2Jx\nassay: all is well": torch.ones(1)}))
    code, out, err = run(given, command, capsys)
    assert (code, out) == (2, "")
    assert len(sentences(err)) == 1
    assert sentences(err)[0].isprintable()


@pytest.mark.parametrize("command", COMMANDS)
def test_names_of_files_are_printed_as_they_are(given: Given, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("[red]model[/red].pt", ":bomb:.pt"):
        given.model = given.folder / name
        code, _, err = run(given, command, capsys)
        assert code == 2
        assert name in err


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of few steps and a repair of few epochs: what is found does not matter here."""
    import sys
    from functools import partial

    from assay.detect import NeuralCleanse

    scan = sys.modules["assay.detect.scan"]
    monkeypatch.setattr(scan, "NeuralCleanse", partial(NeuralCleanse, steps=2, restarts=1))


def full_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """After `room` files the disk is full, half way through the next one."""
    write, written = Path.write_bytes, []

    def fill(path: Path, blob: bytes) -> int:
        written.append(path)
        if len(written) > room:
            write(path, blob[: len(blob) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, blob)

    monkeypatch.setattr(Path, "write_bytes", fill)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("room", [0, 1, 2, 3])
def test_a_disk_that_fills_gets_one_sentence_and_leaves_no_half_file(
    given: Given, command: str, room: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = given.folder / "out"
    was = given.model.read_bytes()
    full_disk(monkeypatch, room)
    code, printed, err = run(given, command, capsys, "--out", str(out), "--json")
    if code != 2:  # there was room enough
        assert room > 0
        assert json.loads(printed)
        return
    assert printed == ""
    assert len(sentences(err)) == 1
    assert "No space left on device" in sentences(err)[0]
    assert given.model.read_bytes() == was
    assert not list(given.folder.rglob("*.partial"))
    for file in out.rglob("*.safetensors"):
        assert load(file).spec == SPEC


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_ctrl_c_in_the_middle_ends_with_130_and_one_sentence(
    given: Given, command: str, after: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def interrupt(self: Progress, task: str, done: float, total: float, note: str = "") -> None:
        told.append(task)
        if len(told) > after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "__call__", interrupt)
    was = given.model.read_bytes()
    code, out, err = run(given, command, capsys, "--out", str(given.folder / "out"), "--json")
    if code != 130:
        assert len(told) <= after
        return
    assert (out, sentences(err)) == ("", ["assay: interrupted; what was finished is kept"])
    assert given.model.read_bytes() == was
    assert not list(given.folder.rglob("*.partial"))


def test_the_model_that_the_cases_spoil_is_a_good_one(given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the table above would prove nothing."""
    code, out, _ = run(given, "repair", capsys, "--epochs", "1", "--out", str(given.folder / "out"), "--json")
    assert code == 0
    assert json.loads(out)["model"]


def test_brackets_in_the_path_of_a_repaired_model_are_printed(given: Given, capsys: pytest.CaptureFixture[str]) -> None:
    out = given.folder / "[v2]" / "fixed.safetensors"
    code, text, err = run(given, "repair", capsys, "--epochs", "1", "--out", str(out))
    assert (code, sentences(err)) == (0, [])
    assert "[v2]" in text

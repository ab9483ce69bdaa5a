"""Exit codes and sentences: 0 fine, 1 a finding, 2 could not tell, 130 interrupted; only results go to stdout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assay.cli import ATTACKS, COMMANDS, main
from assay.cli.console import Common, Outcome, Progress, complain, listed
from assay.errors import (
    AssayError,
    BudgetError,
    DataError,
    InputError,
    ModelError,
    UnreadableFileError,
    UnsafeFileError,
)
from assay.models import ModelSpec, build, save

Capture = pytest.CaptureFixture[str]

ASSAY = (sys.executable, "-c", "from assay.cli import entry; entry()")


def run(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = main([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def sentence(capsys: Capture, *arguments: str | Path) -> str:
    """The one line that a command says when it cannot tell; stdout is empty."""
    code, out, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if not line.endswith("…")]  # what is not progress
    assert code == 2 and out == "" and len(lines) == 1 and lines[0].startswith("assay: "), (code, out, err)
    assert "fault of Assay" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["foo"], "no command is named 'foo'; there are demo, vet, inspect"),
        (["vett"], "did you mean vet?"),
        (["attack", "badnett"], "did you mean badnet?"),
        (["vet"], "--model requires an argument"),
        (["train"], "--data requires an argument"),
        (["train", "--data", "digits", "--epochs", "many"], 'unable to convert "many" into int'),
        (["data", "digits", "--bogus"], "Unknown option: --bogus"),
        (["data", "digits", "--split", "val"], 'Invalid value "val" for --split'),
        (["data", "digits", "--seed", "-1"], "--seed must be from 0"),
        (["data", "digits", "--seed", str(2**31)], "--seed must be from 0"),
        (["data", "digits", "--threads", "0"], "--threads must be from 1 to"),
        (["data", "digits", "--threads", "100000"], "--threads must be from 1 to"),
        (["attack", "badnet", "--trigger", "sun"], 'Invalid value "sun" for --trigger'),
    ],
)
def test_a_command_line_that_does_not_fit_is_a_sentence(capsys: Capture, arguments: Sequence[str], said: str) -> None:
    assert said in sentence(capsys, *arguments)


def test_an_unknown_command_imports_no_other() -> None:
    code = "import sys; from assay.cli import main; main(['foo']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_help_imports_no_torch_and_is_quick() -> None:
    code = (
        "import sys, time; begun = time.process_time()\n"
        "from assay.cli import main\n"
        "assert main(['--help']) == 0\n"
        "slow = {'torch', 'numpy', 'scipy', 'PIL', 'matplotlib', 'msgspec', 'safetensors'} & set(sys.modules)\n"
        "print('seconds', time.process_time() - begun, slow)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1].split()
    assert float(last[1]) < 0.3 and last[2] == "set()"
    assert all(name in done.stdout for name in COMMANDS) and "main job" in done.stdout


@pytest.mark.parametrize("name", [*COMMANDS, *(f"attack {a}" for a in ATTACKS)])
def test_every_command_has_help(capsys: Capture, name: str) -> None:
    code, out, _ = run(capsys, *name.split(), "--help")
    assert code == 0 and f"Usage: assay {name}" in out and "--json" in out and "--out" in out


def test_the_exit_code_of_an_error_is_that_of_its_kind() -> None:
    codes = {kind: kind.exit_code for kind in (InputError, DataError, ModelError, BudgetError, UnreadableFileError)}
    assert set(codes.values()) == {2} and UnsafeFileError.exit_code == 1
    assert all(issubclass(kind, AssayError) for kind in codes)


def command(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Let `assay data digits` do `act`."""
    monkeypatch.setattr("assay.data.load", lambda *a, **k: act())


def raise_(error: BaseException) -> Any:
    raise error


def test_ctrl_c_is_130_and_says_that_work_is_kept(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, lambda: raise_(KeyboardInterrupt()))
    assert run(capsys, "data", "digits") == (130, "", "assay: interrupted; what was finished is kept\n")


@pytest.mark.parametrize(("error", "code"), [(DataError("so"), 2), (UnsafeFileError("so"), 1), (BudgetError("so"), 2)])
def test_an_error_is_its_sentence_and_its_code(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: AssayError, code: int
) -> None:
    command(monkeypatch, lambda: raise_(error))
    for arguments in (["data", "digits"], ["data", "digits", "--json"]):
        assert run(capsys, *arguments) == (code, "", "assay: so\n")


def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (DataError("so"), KeyError("so")):
        command(monkeypatch, lambda e=error: raise_(e))
        code, out, err = run(capsys, "data", "digits", "--debug")
        assert code == 2 and out == "" and "Traceback" in err and "in main" in err


def test_a_fault_of_ours_is_never_an_acceptance_or_a_finding(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, lambda: raise_(KeyError("lost")))
    code, out, err = run(capsys, "data", "digits", "--json")
    assert code == 2 and out == "" and "fault of Assay" in err and "KeyError: 'lost'" in err and "Traceback" not in err


def test_too_little_memory_is_a_sentence(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, lambda: raise_(MemoryError()))
    assert "not enough memory" in sentence(capsys, "data", "digits")


def test_a_name_that_could_steer_a_terminal_is_shown_as_marks(capsys: Capture) -> None:
    complain("a\x1b[2Jb\nc\x07 [red]d[/]")
    assert capsys.readouterr().err == "assay: a\N{REPLACEMENT CHARACTER}[2Jb c\N{REPLACEMENT CHARACTER} [red]d[/]\n"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [*ASSAY, "data", "digits", "--json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_goes_to_stderr(capsys: Capture, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli.console import progress

    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setattr("rich.console.Console.is_terminal", True)
    with progress() as bars:
        tick = bars.ticker("training")
        for step in range(1, 5):
            tick(step, 4, {"loss": 0.5, "accuracy": 0.25})
        bars("scanning", 1, 2)
    said = capsys.readouterr()
    assert said.out == "" and "training" in said.err and "scanning" in said.err
    assert said.err.count("training …") == (0 if terminal else 1)
    assert ("accuracy 25.0 %" in said.err) == terminal


def test_progress_can_be_called_as_the_engines_call_it() -> None:
    Progress(None)("task", 0.5, 1.0, "note")


def test_an_outcome_is_fine_unless_it_says_otherwise() -> None:
    assert Outcome({}, "").exit_code == 0 and Common().json is False


# Models and clean sets that do not fit each other.


NAMES = ("stop", "yield")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = ModelSpec("signs-net", (3, 8, 8), NAMES, (0.5,) * 3, (0.5,) * 3, {"width": 2})
    return save(build(spec), tmp_path / "m.safetensors")


def pictures(
    folder: Path, mode: str = "RGB", size: tuple[int, int] = (8, 8), names: Sequence[str] = NAMES, n: int = 3
) -> Path:
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            noise = np.random.default_rng(10 * label + i).integers(0, 256, (*size, 3)).astype(np.uint8)
            Image.fromarray(noise).convert(mode).save(folder / name / f"{i}.png")
    return folder


BAD_CLEAN = [
    (lambda f: pictures(f, size=(9, 8)), "9x8 pixels"),
    (lambda f: pictures(f, mode="L"), "are grey, but the model takes colour"),
    (lambda f: pictures(f, names=["stop"]), "one class only|has 1:"),
    (lambda f: pictures(f, n=1), "has 1 pictures? of class .*at least 2"),
    (lambda f: pictures(f, names=["stop", "halt"]), "'halt'"),
    (lambda f: (pictures(f) / "stop" / "1.png").write_bytes(b"no"), r"1\.png cannot be read as a picture"),
    (lambda f: f.mkdir(), "no class folders"),
    (lambda f: (pictures(f) / "empty").mkdir(), "empty holds no pictures"),
    (lambda f: None, "is neither a folder"),
    (lambda f: f.write_bytes(b"PK"), r"cannot be read as an \.npz"),
]


@pytest.mark.parametrize(("make", "said"), BAD_CLEAN, ids=[said for _, said in BAD_CLEAN])
@pytest.mark.parametrize("name", ["scan", "repair"])
def test_a_clean_set_that_does_not_fit_is_a_sentence(
    capsys: Capture, tmp_path: Path, model: Path, name: str, make: Any, said: str
) -> None:
    make(tmp_path / "clean")
    out = tmp_path / "out.safetensors"
    assert re.search(said, sentence(capsys, name, model, "--clean", tmp_path / "clean", "--out", out, "--json"))
    assert not (tmp_path / "out.safetensors").is_file()


def test_a_model_file_that_does_not_fit_is_a_sentence(capsys: Capture, tmp_path: Path, model: Path) -> None:
    clean = pictures(tmp_path / "clean")
    assert "does not fit the architecture" in sentence(capsys, "scan", model, "--clean", clean, "--arch", "resnet20")
    assert "no architecture named 'nothing'" in sentence(capsys, "scan", model, "--clean", clean, "--arch", "nothing")
    assert "cannot import --arch" in sentence(capsys, "scan", model, "--clean", clean, "--arch", "no_module:net")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "m.pt")
    assert "add --arch" in sentence(capsys, "scan", tmp_path / "m.pt", "--clean", clean)


def test_a_broken_model_of_nan_weights_is_a_sentence(capsys: Capture, tmp_path: Path) -> None:
    spec = ModelSpec("signs-net", (3, 8, 8), NAMES, (0.5,) * 3, (0.5,) * 3, {"width": 2})
    broken = build(spec)
    with torch.no_grad():
        next(broken.parameters()).mul_(float("nan"))
    file = save(broken, tmp_path / "m.safetensors")
    said = run(capsys, "scan", file, "--clean", pictures(tmp_path / "clean"))
    assert said[0] in (1, 2) and said[1] == "" and "Traceback" not in said[2] and "fault" not in said[2]


def test_ctrl_c_in_the_middle_of_a_training_keeps_its_epochs(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.zeros((64, 8, 8), np.uint8), y=np.arange(64) % 2)
    command = [*ASSAY, "train", "--data", str(tmp_path / "own.npz"), "--epochs", "100000"]
    command += ["--out", str(tmp_path / "run"), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kept = tmp_path / "run" / "checkpoint.pt"
    until = time.monotonic() + 120
    while not kept.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == "assay: interrupted; what was finished is kept"
    assert torch.load(kept, weights_only=True)["history"]
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["timings_s"]["training"] > 0
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count('"accuracy"') >= 1


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["[red]stop", 30], r"\[red]stop, 30"),
        (list("abc"), "a, b, c"),
        (list("abcde"), "a, b, c and 2 more"),
    ],
)
def test_long_lists_of_names_are_cut_short_and_say_so(names: list[object], text: str) -> None:
    assert listed(names, most=3) == text

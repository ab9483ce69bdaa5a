"""`assay inspect` judges files by what they hold and says so in its exit code."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from assay.cli import main

looking = importlib.import_module("assay.supply.inspect")  # the package has a function of that name
KEPT = Path(__file__).parents[1] / "attacks" / "supply" / "os_system.pt"


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    save_file({"w": torch.ones(3)}, tmp_path / "safe.safetensors")
    return tmp_path / "safe.safetensors"


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("nothing that is known")
    return tmp_path / "notes.txt"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, object]]]:
    code = main(["inspect", *map(str, arguments), "--json"])
    files: list[dict[str, object]] = json.loads(capsys.readouterr().out)["files"]
    return code, files


def test_the_exit_code_is_that_of_the_worst_file(safe: Path, unknown: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for files, expected in (([safe], 0), ([safe, unknown], 2), ([safe, unknown, KEPT], 1)):
        code, reports = said(capsys, *files)
        assert code == expected
        assert [r["path"] for r in reports] == [str(f) for f in files]


def test_the_document_names_verdict_format_and_findings(capsys: pytest.CaptureFixture[str], safe: Path) -> None:
    _, (good, bad) = said(capsys, safe, KEPT)
    assert (good["verdict"], good["format"], good["findings"]) == ("safe", "safetensors", [])
    assert (bad["verdict"], bad["format"]) == ("unsafe", "torch")
    assert bad["findings"][0].keys() == {"what", "where"}  # type: ignore[index]
    assert len(str(good["sha256"])) == 64


def test_the_text_for_people_says_the_same(capsys: pytest.CaptureFixture[str], safe: Path) -> None:
    assert main(["inspect", str(safe), str(KEPT)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "safe" in out
    assert f"would import {os.name}.system at" in out


def test_a_folder_means_every_file_in_it(tmp_path: Path, safe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    np.save(tmp_path / "deep" / "deeper" / "a.npy", np.ones(3))
    code, reports = said(capsys, tmp_path)
    assert code == 0
    assert [Path(str(r["path"])).name for r in reports] == ["a.npy", "safe.safetensors"]


def test_what_is_no_readable_file_is_reported_and_not_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    code, reports = said(capsys, tmp_path / "missing.pt", tmp_path)
    assert code == 2
    assert [r["findings"][0]["what"] for r in reports] == [  # type: ignore[index]
        "it cannot be read: No such file or directory",
        "it cannot be read: No such file or directory",
        "it is empty",
        "it is not a plain file",
    ]


def test_nothing_to_inspect_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (([], "at least one file"), ([str(tmp_path)], "no file in the folder")):
        assert main(["inspect", *arguments]) == 2
        assert expected in " ".join(capsys.readouterr().err.split())


def test_odd_names_from_a_file_neither_break_the_json_nor_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = b"\x80\x04\x8c\x02os\x8c\x0csys\x1b[31m\xed\xb0\x80m\x93)R."
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff[red].pkl"))
    place.write_bytes(evil)
    code, (report,) = said(capsys, place)
    assert code == 1
    assert "os.sys\\x1b[31m\\udc00m" in report["findings"][0]["what"]  # type: ignore[index]
    assert main(["inspect", str(place)]) == 1
    assert "\x1b[31m" not in capsys.readouterr().out


def test_a_fault_of_the_inspection_hides_no_other_file(
    tmp_path: Path, safe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(search: object, piece: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setitem(looking._READERS, "safetensors", fail)
    code, (first, second) = said(capsys, safe, KEPT)
    assert (code, first["verdict"], second["verdict"]) == (1, "unknown", "unsafe")
    assert "ZeroDivisionError" in first["findings"][0]["what"]  # type: ignore[index]


def test_the_name_of_a_file_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "\x1b[2J\x1b[1;32msafe [red]x.pkl"
    place.write_bytes(b"\x80\x04cos\nsystem\n.")
    assert main(["inspect", str(place)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "safe [red]x.pkl" in out

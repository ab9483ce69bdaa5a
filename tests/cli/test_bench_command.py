"""`assay bench` keeps full tables with the project, and quick ones to themselves."""

from __future__ import annotations

import inspect
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import assay.bench
import assay.runs
from assay.bench import TABLES
from assay.cli import main
from assay.cli.bench import _Fitting, bench
from bench.tables import OnTheSpot, done, small_table

PAGE = "# A page\n\n<!-- bench: small -->\n<!-- /bench -->\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the project's root, one small table, and workers that work on the spot."""
    done.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(assay.bench.TABLES, "small", small_table())
    monkeypatch.setattr(assay.runs, "local_processes", lambda workers, threads=1: OnTheSpot())
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    for page in ("README.md", "docs/tables.md", "docs/deep/page.md"):
        (tmp_path / page).write_text(PAGE)
    return tmp_path


def made(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["bench", "small", "--json", *more]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_full_table_is_kept_with_the_project_and_put_into_every_page(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = made(capsys)
    results = project / "benchmarks" / "results"
    assert set(document) >= {"table", "rows", "machine", "date", "figures", "files"}
    assert [row["twice"] for row in document["rows"]] == [0, 2, 4, 6]
    text = (results / "small.md").read_text()
    for page in ("README.md", "docs/tables.md", "docs/deep/page.md"):
        assert (project / page).read_text() == PAGE.replace("-->\n<!-- /", f"-->\n{text}<!-- /")
    assert {Path(f).name for f in document["files"]} >= {"small.json", "small.md", "README.md", "tables.md", "page.md"}
    assert len(list((results / "jobs" / "work").iterdir())) == 4
    assert json.loads((results / "small.json").read_text())["rows"] == document["rows"]


def test_what_was_computed_is_not_computed_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = made(capsys), made(capsys)
    assert first["rows"] == again["rows"]
    assert len(done) == 4


@pytest.mark.parametrize("more", [("--quick",), ("--out", "mine"), ("--quick", "--out", "mine")])
def test_a_quick_table_and_one_with_a_folder_of_its_own_touch_nothing_of_the_project(
    project: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    document = made(capsys, *more)
    folder = project / ("mine" if "--out" in more else "runs/bench-small")
    assert len(document["rows"]) == (1 if "--quick" in more else 4)
    assert (folder / "small.md").is_file()
    assert not (project / "benchmarks").exists()
    assert (project / "README.md").read_text() == PAGE


def test_only_a_full_table_of_the_project_ships_anything(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    shipped: list[object] = []

    def ship(results: object) -> list[Path]:
        shipped.append(results)
        return []

    monkeypatch.setitem(assay.bench.TABLES, "small", replace(small_table(), ship=ship))
    made(capsys, "--quick")
    made(capsys, "--out", "mine")
    assert shipped == []
    made(capsys)
    assert len(shipped) == 1


def test_the_table_for_people_shows_every_row(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "small"]) == 0
    printed = capsys.readouterr()
    assert "A table" in printed.out
    assert "A note." in printed.out
    assert printed.err == "small: work …\n"


def test_a_table_or_a_number_of_workers_that_there_is_not_gets_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, word in ((["bench", "large"], "small"), (["bench", "small", "--workers", "0"], "--workers")):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert len(printed.err.splitlines()) == 1
        assert word in printed.err
    assert done == []


def test_the_help_names_every_table() -> None:
    text = inspect.getdoc(bench) or ""
    assert all(name in text for name in TABLES)


def test_a_full_disk_gets_one_sentence_and_finished_jobs_are_kept(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_bytes, []

    def fill(path: Path, blob: bytes) -> int:
        written.append(path)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        return write(path, blob)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        assert main(["bench", "small", "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "No space left on device" in printed.err.splitlines()[-1]
    assert len(list((project / "benchmarks" / "results" / "jobs" / "work").iterdir())) == 2
    assert (project / "README.md").read_text() == PAGE
    assert len(made(capsys)["rows"]) == 4


@pytest.mark.parametrize("width", [60, 200])
def test_a_table_too_wide_for_the_terminal_is_a_paragraph_a_row(width: int) -> None:
    columns = {"network": ["one", "two"], "what it is about": ["a long story of it"] * 2, "seconds": ["1.5", "–"]}
    console = Console(width=width, record=True, file=StringIO())
    console.print(_Fitting("Times", {**columns, **{f"column {i}": ["99.9 % [98.0, 99.9]"] * 2 for i in range(6)}}))
    said = console.export_text()
    assert ("┃" in said) == (width == 200)
    assert ("one · a long story of it" in said) == (width == 60)
    assert "seconds –" not in said

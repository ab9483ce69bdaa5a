"""Tables in README and docs are those that the benchmark wrote, byte for byte; embedding touches nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.bench import TABLES, embed, embedded
from assay.bench.run import markdown
from assay.runs import digest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
CARRIERS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

OPEN, CLOSE = "<!-- bench: scan -->\n", "<!-- /bench -->"


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{OPEN}old\nold\n{CLOSE}\nbetween\n<!-- bench: repair -->\nkept\n{CLOSE}\nafter")
    assert embed("scan", "new \\1 \\g<0>\n", [file]) == [file]
    assert file.read_text() == (
        f"before\n{OPEN}new \\1 \\g<0>\n{CLOSE}\nbetween\n<!-- bench: repair -->\nkept\n{CLOSE}\nafter"
    )
    assert embedded(file) == {"scan": "new \\1 \\g<0>\n", "repair": "kept\n"}


def test_every_place_of_a_table_is_filled_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"{OPEN}{CLOSE}\n{OPEN}old\n{CLOSE}")
    assert embed("scan", "new\n", [file]) == [file]
    assert file.read_text() == f"{OPEN}new\n{CLOSE}\n{OPEN}new\n{CLOSE}"
    assert embed("scan", "new\n", [file]) == []


def test_a_file_without_the_table_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"<!-- bench: scan-more -->\nkept\n{CLOSE}\n")
    was = file.stat().st_mtime_ns
    assert embed("scan", "new\n", [file]) == []
    assert (file.stat().st_mtime_ns, file.read_text()) == (was, f"<!-- bench: scan-more -->\nkept\n{CLOSE}\n")


around = st.text(st.characters(codec="utf-8", exclude_characters="<"))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(around, around, around)
def test_what_stands_around_the_marks_stays_byte_for_byte(tmp_path: Path, before: str, old: str, after: str) -> None:
    file = tmp_path / "page.md"
    file.write_bytes(f"{before}{OPEN}{old}{CLOSE}{after}".encode())
    embed("scan", "new\n", [file])
    assert file.read_bytes() == f"{before}{OPEN}new\n{CLOSE}{after}".encode()


def regions() -> list[tuple[Path, str, str]]:
    """File, name and text of every place, found without the code that fills them."""
    return [
        (file, name, text)
        for file in CARRIERS
        for name, text in re.findall(r"<!-- bench: (\S+) -->\n(.*?)<!-- /bench -->", file.read_text(), re.DOTALL)
    ]


def test_every_mark_is_closed_and_names_a_table() -> None:
    marks = sum(file.read_text().count("<!-- bench:") for file in CARRIERS)
    assert marks == len(regions()) == sum(file.read_text().count("<!-- /bench -->") for file in CARRIERS)
    assert {name for _, name, _ in regions()} <= set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_an_embedded_table_is_the_measured_one_byte_for_byte(name: str) -> None:
    places = [(file, text) for file, other, text in regions() if other == name]
    measured = RESULTS / f"{name}.md"
    if not measured.exists():
        assert all(text == "" for _, text in places), f"a table {name} was typed in by hand: it was never measured"
        pytest.skip(f"the table {name} was not measured yet")
    for file, text in places:
        assert text.encode() == measured.read_bytes(), f"{file} carries an old table {name}; run assay bench {name}"


@pytest.mark.parametrize("name", TABLES)
def test_a_measured_table_is_what_its_rows_say(name: str) -> None:
    if not (RESULTS / f"{name}.json").exists():
        pytest.skip(f"the table {name} was not measured yet")
    document = json.loads((RESULTS / f"{name}.json").read_text())
    assert document["table"] == name
    assert not document["quick"]
    assert markdown(name, TABLES[name], document["rows"], document, False).encode() == (
        (RESULTS / f"{name}.md").read_bytes()
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_measured_table_has_the_log_of_every_job(name: str) -> None:
    if not (RESULTS / f"{name}.json").exists():
        pytest.skip(f"the table {name} was not measured yet")
    if json.loads((RESULTS / f"{name}.json").read_text()).get("so_far"):
        pytest.skip(f"the table {name} is of what has been done so far, and says so")
    for job in TABLES[name].jobs(False):
        log = RESULTS / "jobs" / job.function.__name__ / f"{digest(job.function, job.settings)}.json"
        assert log.exists(), f"no log of {job}"
        assert json.loads(log.read_text())["settings"] == json.loads(json.dumps(job.settings))


def test_kept_logs_stand_at_their_own_address() -> None:
    """So a log whose settings were edited is found out. Logs of functions that are gone are of no concern here."""
    functions = {job.function for table in TABLES.values() for job in table.jobs(False)}
    logs = [log for log in (RESULTS / "jobs").rglob("*.json") if log.parent.name in {f.__name__ for f in functions}]
    if not logs:
        pytest.skip("nothing was measured yet")
    for log in logs:
        document = json.loads(log.read_text())
        assert log.stem in {digest(f, document["settings"]) for f in functions if f.__name__ == log.parent.name}, log
        assert {"result", "date", "machine", "versions", "wall_s", "cpu_s"} <= set(document)

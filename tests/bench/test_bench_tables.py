"""Every table says what it must, from jobs that are done once; no two kinds of models share a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.bench import (
    TABLES,
    Job,
    Made,
    classic,
    classic_speed,
    find_table,
    make,
    networks,
    proof,
    proof_jobs,
    references,
    scanning,
    write,
    zoo,
)
from assay.bench.zoo import ZooModel
from assay.data import Dataset
from assay.errors import InputError
from assay.models import recipe
from assay.runs import digest, job_file
from bench import tables
from bench.tables import OnTheSpot, done, prefill, small_table, work


@pytest.fixture(autouse=True)
def _nothing_done() -> Iterator[None]:
    done.clear()
    yield


def test_a_job_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    first = make("small", small_table(), tmp_path, OnTheSpot())
    assert [s["number"] for s in done] == [0, 1, 2, 3]
    again = make("small", small_table(), tmp_path, OnTheSpot())
    assert len(done) == 4
    assert again.rows == first.rows == [{"number": n, "twice": 2 * n, "n": 1, "seed": [n]} for n in range(4)]


def test_a_larger_table_does_only_what_is_new_whatever_it_is_called(tmp_path: Path) -> None:
    make("small", small_table(range(2)), tmp_path, OnTheSpot())
    make("large", small_table(range(5)), tmp_path, OnTheSpot())
    assert [s["number"] for s in done] == [0, 1, 2, 3, 4]


def test_the_quick_table_serves_the_full_one(tmp_path: Path) -> None:
    make("small", small_table(), tmp_path, OnTheSpot(), quick=True)
    assert len(done) == 1
    make("small", small_table(), tmp_path, OnTheSpot())
    assert len(done) == 4


def test_the_address_of_a_job_depends_on_function_version_and_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = digest(work, {"number": 1, "more": {"a": 1, "b": 2}})
    assert digest(work, {"more": {"b": 2, "a": 1}, "number": 1}) == plain
    others = [
        digest(tables.other_work, {"number": 1, "more": {"a": 1, "b": 2}}),
        digest(work, {"number": 1, "more": {"a": 1, "b": 3}}),
        digest(work, {"number": 1}),
    ]
    monkeypatch.setattr(work, "version", 2, raising=False)
    others.append(digest(work, {"number": 1, "more": {"a": 1, "b": 2}}))
    assert len({plain, *others}) == 5


@pytest.mark.parametrize("kind", [KeyboardInterrupt, InputError])
def test_an_interrupted_table_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    class Stops(OnTheSpot):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            if len(done) == 2:
                fn = self.stop
            return super().submit(fn, *args, **kwargs)

        def stop(self, *_: Any) -> None:
            raise kind("stop")

    with pytest.raises(kind):
        make("small", small_table(), tmp_path, Stops())
    assert len(done) == 2
    made = make("small", small_table(), tmp_path, OnTheSpot())
    assert [s["number"] for s in done] == [0, 1, 2, 3]
    assert len(made.rows) == 4


def test_a_damaged_result_is_computed_anew(tmp_path: Path) -> None:
    make("small", small_table(range(1)), tmp_path, OnTheSpot())
    [kept] = tmp_path.rglob("*.json")
    kept.write_bytes(kept.read_bytes()[:40])
    made = make("small", small_table(range(1)), tmp_path, OnTheSpot())
    assert made.rows[0]["twice"] == 0
    assert len(done) == 2


def test_times_are_measured_again_when_asked_for_and_nothing_else_is(tmp_path: Path) -> None:
    mixed = replace(
        small_table(),
        jobs=lambda quick: [Job(work, {"number": 1}), Job(tables.other_work, {"number": 2})],
        timed=(tables.other_work,),
    )
    for again, expected in ((False, [1, 2]), (False, [1, 2]), (True, [1, 2, 2])):
        make("mixed", mixed, tmp_path, OnTheSpot(), again=again)
        assert [s["number"] for s in done] == expected


def test_the_line_under_a_table_is_about_its_jobs_not_about_who_put_it_together(tmp_path: Path) -> None:
    make("small", small_table(), tmp_path, OnTheSpot())
    elsewhere = {"processor": "Abacus", "cores": 10, "memory_gib": 0, "system": "Wood"}
    for number, place in enumerate(sorted(tmp_path.rglob("*.json"))):
        kept = json.loads(place.read_text())
        kept["date"] = f"2025-01-0{number + 1}T10:00:00+00:00"
        if number == 2:
            kept |= {"machine": elsewhere, "versions": {"torch": "0.1"}}
        place.write_text(json.dumps(kept))
    made = make("small", small_table(), tmp_path, OnTheSpot())
    last = made.markdown.splitlines()[-1]
    assert "2025-01-01 to 2025-01-04" in last
    assert "Abacus with 10 cores" in last and made.document["machine"]["processor"] in last
    assert "torch 0.1 and " in last
    assert made.document["jobs"]["dates"] == ["2025-01-01T10:00:00+00:00", "2025-01-04T10:00:00+00:00"]


def test_a_result_from_before_jobs_said_when_and_where_is_still_read(tmp_path: Path) -> None:
    place = job_file(work, {"number": 0}, tmp_path / "work")
    place.parent.mkdir()
    place.write_text('{"result": {"twice": 7}}')
    made = make("small", small_table(range(1)), tmp_path, OnTheSpot())
    assert made.rows[0]["twice"] == 7 and not done
    assert made.document["date"][:10] in made.markdown.splitlines()[-1]


def test_progress_counts_jobs_from_none_to_all(tmp_path: Path) -> None:
    told: list[tuple[str, float, float]] = []
    make("small", small_table(), tmp_path, OnTheSpot(), progress=lambda task, d, t, note: told.append((task, d, t)))
    assert told == [("small: work", i, 4) for i in range(5)]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Every full table, from made-up results; nothing is trained and no data set is read."""

    def blank(name: str, split: str) -> Dataset:
        shape, classes = ((3, 32, 32), 43) if name == "gtsrb" else ((1, 28, 28), 10)
        return Dataset(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64), tuple(map(str, range(classes))), name)

    def no_training(wanted: ZooModel) -> Any:
        raise AssertionError(f"{wanted} would be trained")

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "load_data", blank)
        patch.setattr(zoo, "obtain", no_training)
        for name, table in TABLES.items():
            store = tmp_path_factory.mktemp(name)
            prefill(store, table.jobs(False))
            found[name] = make(name, table, store, OnTheSpot())
            assert make(name, table, store, OnTheSpot()).figures == found[name].figures
    return found


@pytest.mark.parametrize("name", TABLES)
def test_markdown_states_n_seeds_date_machine_and_the_command_that_makes_it(name: str, made: dict[str, Made]) -> None:
    table, one = TABLES[name], made[name]
    lines = one.markdown.splitlines()
    assert one.markdown.endswith("\n")
    assert lines[0] == f"**{table.title}.** {table.note}"
    assert lines[2] == "| " + " | ".join(table.columns.values()) + " |"
    assert len(set(table.columns.values())) == len(table.columns)  # a narrow terminal names each figure by its heading
    assert len(lines) == 2 + 2 + len(one.rows) + 2
    assert {line.count(" | ") for line in lines[4:-2]} == {len(table.columns) - 1}
    last = lines[-1]
    assert f"`assay bench {name}`" in last
    assert one.document["date"][:10] in last
    assert one.document["machine"]["processor"] in last
    assert f"{one.document['machine']['cores']} cores" in last
    assert f"torch {one.document['versions']['torch']}" in last
    assert "n" in table.columns
    assert all(row["n"] >= 1 for row in one.rows)


UNTRAINED = {"private", "private-exact"}
"""Tables about networks whose weights were made, not learnt."""


@pytest.mark.parametrize("name", TABLES)
def test_rows_about_models_name_the_seeds_and_the_markdown_does_so_too(name: str, made: dict[str, Made]) -> None:
    about_models = [
        row for row in made[name].rows if not str(row.get("command", "")).startswith(("assay insp", "assay --"))
    ]
    if name in UNTRAINED:
        assert not any(row.get("seed") for row in about_models)
        return
    assert about_models
    assert all(row.get("seed") for row in about_models)
    smallest = min(seed for row in about_models for seed in row["seed"])
    assert f"Seeds {smallest}" in made[name].markdown.splitlines()[-1]


@pytest.mark.parametrize("name", TABLES)
def test_every_rate_in_a_row_that_is_shown_stands_beside_its_interval_or_is_an_extreme(
    name: str, made: dict[str, Made]
) -> None:
    single = ("lowest", "highest", "largest", "poison_rate", "before", "seconds", "smallest_p", "p_value")
    measures = ("_s", "_ms", "_kb", "seconds", "ratio", "bits", "bytes", "_by_", "overhead")
    for row in made[name].rows:
        for key in TABLES[name].columns:
            if isinstance(row.get(key), float) and not any(word in key for word in (*single, *measures)):
                low, high = row[f"{key}_interval"]
                assert 0 <= low <= row[key] <= high <= 1


@pytest.mark.parametrize("name", TABLES)
def test_the_document_has_the_keys_that_other_programs_rely_on(name: str, made: dict[str, Made]) -> None:
    document = made[name].document
    assert set(document) >= {"table", "rows", "machine", "date", "figures"}
    assert document["table"] == name
    assert document["figures"] == sorted(made[name].figures)
    assert all(svg.lstrip().startswith("<?xml") and "</svg>" in svg for svg in made[name].figures.values())


def test_what_is_written_is_json_markdown_and_figures(tmp_path: Path, made: dict[str, Made]) -> None:
    for name, one in made.items():
        files = write(name, one, tmp_path / name)
        assert {f.name for f in files} == {f"{name}.json", f"{name}.md", *(f"{figure}.svg" for figure in one.figures)}
        assert (tmp_path / name / f"{name}.md").read_bytes() == one.markdown.encode()


ABOUT_SQUARES = (classic.accuracy, proof_jobs.classic_proven)
"""Jobs about networks that no other table has."""


def models_of(jobs: list[Job]) -> set[ZooModel]:
    """Those that a list of jobs is about."""
    described = [job.settings for job in jobs if "data" in job.settings and job.function not in ABOUT_SQUARES]
    inside = [job.settings["model"] for job in jobs if job.settings.get("model") and job.function not in ABOUT_SQUARES]
    own = ZooModel.__struct_fields__
    return {ZooModel(**{name: model[name] for name in own}) for model in [*described, *inside]}


def groups() -> dict[str, set[ZooModel]]:
    full = {name: models_of(table.jobs(False)) for name, table in TABLES.items()}
    judged, known = full.pop("scan"), full.pop("references")
    return {"evaluation": judged, "references": known, "tables": set().union(*full.values())}


def test_evaluation_reference_and_table_models_never_share_a_seed() -> None:
    seeds = {name: {model.seed for model in models} for name, models in groups().items()}
    assert all(seeds.values())
    for one, other in combinations(seeds, 2):
        assert not seeds[one] & seeds[other], f"{one} and {other} share seeds"


def test_no_model_is_counted_twice_and_clean_and_backdoored_ones_differ_in_seed() -> None:
    for data in ("mnist", "gtsrb"):
        judged = scanning.models(data, False)
        assert len({m.seed for m in judged}) == len(judged)
    for data in references.DATA:
        assert len({m.seed for m in references.models(data)}) == references.COUNT
        assert all(m.trigger is None for m in references.models(data))


def test_the_evaluation_is_of_the_size_that_was_promised() -> None:
    mnist, signs = scanning.models("mnist", False), scanning.models("gtsrb", False)
    kinds = [("clean" if m.trigger is None else m.labels) for m in mnist]
    assert (kinds.count("clean"), kinds.count("single"), kinds.count("all-to-all")) == (20, 15, 5)
    assert sum(m.trigger is None for m in signs) == 6 == sum(m.trigger is not None for m in signs)
    rates = {m.poison_rate for m in mnist if m.labels == "single" and m.trigger}
    assert (min(rates), max(rates)) == (0.01, 0.1)


QUICK_ON_THEIR_OWN = {"private", "private-exact"}
"""Tables whose quick jobs are smaller than any of the full ones."""


@pytest.mark.parametrize("name", sorted(TABLES.keys() - QUICK_ON_THEIR_OWN))
def test_quick_jobs_are_some_of_the_full_ones(name: str) -> None:
    quick, full = ({digest(job.function, job.settings) for job in TABLES[name].jobs(q)} for q in (True, False))
    assert quick <= full
    assert quick
    assert len(quick) <= len(full)


@pytest.mark.parametrize("name", TABLES)
def test_no_job_stands_in_a_table_twice(name: str) -> None:
    jobs = [digest(job.function, job.settings) for job in TABLES[name].jobs(False)]
    assert len(set(jobs)) == len(jobs)


def test_a_table_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match="badnets-mnist"):
        find_table("badnets-fashion", TABLES)


def test_a_made_up_verdict_of_the_scan_table_counts_right_targets(made: dict[str, Made]) -> None:
    rows = {(row["data"], row["models"]): row for row in made["scan"].rows}
    assert rows[("mnist", "clean")]["called_backdoored"] == 0.0
    assert rows[("mnist", "single target")]["called_backdoored"] == 1.0
    assert rows[("mnist", "single target")]["right_target"] == 1.0
    assert rows[("mnist", "all-to-all")]["right_target"] is None
    assert rows[("mnist", "single target")]["lowest_attack_success_rate"] == pytest.approx(890 / 900)


def test_what_is_over_its_bar_stands_in_bold() -> None:
    assert proof.against(0.012, 0.04, "s") == "0.012 of 0.04 s"
    assert proof.against(0.05, 0.04, "s") == "**0.05 of 0.04 s**"
    assert proof.against(3.0, None, "s") == "3 s"


def test_the_table_of_proofs_has_a_row_for_every_line_of_the_design(made: dict[str, Made]) -> None:
    rows = {(row["work"], row["pictures"]): row for row in made["proof"].rows}
    assert set(proof.BARS) <= set(rows)
    for batch in classic_speed.BATCHES:
        assert rows[proof.SAFETYNETS, batch]["live_bytes"] == 7000
    assert "of 2.2 s" in rows["VGG-16", 1]["prove"] and "of 200 ms" in rows["VGG-16", 1]["verify"]
    assert rows["VGG-16", 1]["verify"].startswith("**"), "half a second is over the bar"
    assert "not verified here" in rows["VGG-16", 1]["beside"]
    assert any("EZKL" in work for work, _ in rows)


def test_the_table_of_proofs_says_so_where_the_peer_is_not_installed(tmp_path: Path) -> None:
    jobs = proof.PROOF.jobs(True)
    results = [(job, tables.made_up(job) if job.function is not proof_jobs.ezkl else ABSENT) for job in jobs]
    rows = proof.rows(results)
    assert rows[0]["beside"] == ABSENT["absent"]
    assert not any("EZKL" in row["work"] for row in rows)


ABSENT = {"absent": "EZKL is not installed here: make peers-proof"}


def test_a_network_is_trained_by_the_command_that_its_row_names() -> None:
    for model in networks.NETWORKS.values():
        words = networks.command(model).split()
        given = dict(zip(words[2::2], words[3::2], strict=True))
        architecture, settings = recipe(model.data, given.get("--arch"))
        assert architecture == recipe(model.data, model.architecture)[0]
        assert int(given.get("--epochs", settings.epochs)) == (model.epochs or settings.epochs)
        assert given["--data"] == model.data and int(given["--seed"]) == model.seed

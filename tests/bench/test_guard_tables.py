"""The tables about floods and kills: what counts as a success of the attacker, and that nothing lost is hidden."""

from __future__ import annotations

import pytest
from tables import made_up

from assay.bench import TABLES, guard_floods, guard_kills


def test_an_attempt_succeeds_when_one_figure_is_worse_by_more_than_a_point() -> None:
    before = {"clean": [970, 1000], "asr": [10, 1000], "second": [10, 1000]}
    for worse in ({"clean": [959, 1000]}, {"asr": [21, 1000]}, {"second": [21, 1000]}):
        assert guard_floods._succeeded({"before": before, "after": before | worse})
    for fine in ({}, {"clean": [961, 1000]}, {"asr": [19, 1000]}, {"second": [0, 1000]}):
        assert not guard_floods._succeeded({"before": before, "after": before | fine})


def test_there_is_a_row_a_kind_of_flood_with_what_the_gates_said() -> None:
    results = [(job, made_up(job)) for job in TABLES["guard-floods"].jobs(False)]
    results[0][1]["after"]["clean"] = [900, 1000]
    rows = guard_floods.rows(results)
    assert [(row["kind"], row["n"]) for row in rows] == [(kind, 5) for kind in guard_floods.KINDS]
    assert [row["succeeded_rate"] for row in rows] == [0.2, 0.0, 0.0]
    assert rows[0]["largest_loss"] == pytest.approx(0.07) and rows[1]["largest_loss"] == pytest.approx(-0.015)
    assert rows[0]["repairs"] == rows[0]["refused"] == 5 and rows[0]["accepted"] == 0
    assert rows[0]["said"] == "a reason"


def test_kills_of_all_runs_are_added_up_and_a_loss_is_shown() -> None:
    results = [(job, made_up(job)) for job in TABLES["guard-kills"].jobs(False)]
    results[3][1]["lost"], results[3][1]["came_back"] = 2, 9
    (row,) = guard_kills.rows(results)
    assert (row["n"], row["acknowledged"], row["lost"], row["came_back"]) == (50, 2500, 2, "49 of 50")


@pytest.mark.parametrize("name", ["guard-floods", "guard-kills"])
def test_the_quick_guard_table_is_part_of_the_full_one(name: str) -> None:
    full = [(job.function, job.settings) for job in TABLES[name].jobs(False)]
    quick = [(job.function, job.settings) for job in TABLES[name].jobs(True)]
    assert quick and all(job in full for job in quick)
    assert len({str(job) for job in full}) == len(full)

"""The tables about private inference are read off their jobs' results, whatever the machine."""

from __future__ import annotations

from typing import Any

import pytest

from assay.bench.private import EXACT, PRIVATE, straight
from assay.bench.private_jobs import answered, exact, spu, values
from assay.bench.private_networks import column, network_of
from assay.bench.table import Job


def session(online_s: float, foreseen_s: float = 0.4) -> dict[str, Any]:
    return {
        "offline_s": [2.0, 1.0, 1.5], "online_s": [0.5, online_s, online_s],
        "offline_bytes": [2_000_000, 1_000_000, 1_000_000], "online_bytes": [50_000] * 3, "online_rounds": 7,
        "predicted": {"offline_s": 2.2, "online_s": foreseen_s, "offline_bytes": 2_000_000, "online_bytes": 50_000,
                      "online_rounds": 7},
    }  # fmt: skip


def measured(online_s: float, relus: int = 1000) -> dict[str, Any]:
    return {"equal": True, "relus": relus, "rounded": 0, "client_bytes": 1, "server_bytes": 2, "layers": [],
            "link": None, "sessions": [session(online_s), session(online_s), session(online_s, 9.0)]}  # fmt: skip


def job(name: str, **more: Any) -> Job:
    return Job(answered, {"name": name, "network": {}, "link": None, "batch": 1, "repeat": 2, "sessions": 3, **more})


def test_a_prediction_is_judged_by_the_first_preparation_and_the_usual_inference() -> None:
    absent = Job(spu, {"name": "MiniONN-7", "work": "minionn7"}), {"absent": "SPU is not installed here"}
    [row] = PRIVATE.rows([(job("MiniONN-7"), measured(0.2)), absent])
    assert (row["offline_s"], row["online_s"], row["n"]) == (1.25, 0.2, 6)
    assert row["foreseen"] == "+10 % / +100 %", "the third session's 4400 % is not the median"
    assert row["predicted_bytes_exact"] is True
    assert row["spu"] == "SPU is not installed here"
    assert (row["bytes_a_value"], row["offline_bytes_a_value"]) == (50, 1000)


def test_what_is_over_its_bar_is_bold() -> None:
    [slow], [fast] = (PRIVATE.rows([(job("MiniONN-7"), measured(s))]) for s in (1.5, 0.9))
    assert slow["online"] == "**1.5 s**"
    assert fast["online"] == "0.9 s"


def test_a_line_is_found_with_how_well_it_explains() -> None:
    slope, start, determination = straight([(0, 1.0), (10, 2.0), (20, 3.0)])
    assert (slope, start, determination) == pytest.approx((0.1, 1.0, 1.0))
    assert straight([(0, 1.0), (10, 5.0), (20, 1.0)])[2] == pytest.approx(0.0)


def test_the_figure_is_drawn_when_there_are_points_enough() -> None:
    results = [(job(f"{k} K ReLUs in three layers"), measured(k / 100, 1000 * k)) for k in (1, 2, 3)]
    assert "R² = 1.000" in PRIVATE.figures(results)["private-line"]
    assert PRIVATE.figures(results[:2]) == {}


def test_a_column_has_as_many_relus_as_it_says() -> None:
    for rounded in (True, False):
        network = network_of(column(4, 3, rounded))
        assert values(network, rectified=True) == 3 * 4 * 1024
        assert values(network, rectified=False) == 0


def test_the_quick_tables_are_parts_of_the_full_ones_and_exactness_counts_pictures() -> None:
    full, quick = (PRIVATE.jobs(q) for q in (False, True))
    assert {j.function for j in quick} <= {j.function for j in full} == {answered, spu}
    counts = {j.settings["name"]: j.settings["n"] for j in EXACT.jobs(False)}
    assert counts == {"LeNet-5": 1000, "signs-net": 1000, "ResNet-20": 64, "MiniONN-7": 64}
    [row] = EXACT.rows([(Job(exact, {"name": "LeNet-5", "batch": 5}), {"n": 10, "equal": 10, "relus": 3})])
    assert (row["n"], row["equal"]) == (10, 10)

"""A frontier of points whose costs are not all known, and of networks with max pools."""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.search.frontier import Point, add_point, read_frontier

COSTS: tuple[dict[str, Any] | None, ...] = (None, {"online_s": None}, {"online_s": 0.02})
"""Neither timed nor predicted; on a machine without a calibration; on one that has it."""


def point(budget: int, relus: int, accuracy: float, **more: Any) -> Point:
    plain: dict[str, Any] = {
        "budget": budget, "data": "bars", "seed": 1, "model": f"{budget}.safetensors", "network": None, "relus": relus,
        "macs": 1, "parameters": 1, "accuracy": accuracy, "accuracy_interval": (accuracy, accuracy), "accuracy_n": 9,
        "integer_accuracy": None, "architecture": "cnet", "arguments": {}, "found_by": "random", "epochs": 1,
        "cut_short": False, "train_s": 1.0, "predicted": None, "measured": None, "history": [],
    }  # fmt: skip
    return Point(**plain | more)


@pytest.mark.parametrize("costs", list(combinations_with_replacement(COSTS, 2)))
def test_a_frontier_is_drawn_whatever_is_known_of_its_costs(costs: tuple[Any, Any], tmp_path: Path) -> None:
    first, second = costs
    add_point(tmp_path, point(1_000, 900, 0.5, predicted=first))
    add_point(tmp_path, point(2_000, 1_900, 0.6, measured=second))
    drawn = (tmp_path / "frontier.svg").read_text()
    assert ("seconds online" in drawn) is any(c and c["online_s"] for c in costs)
    assert "0.9k" in drawn and "1.9k" in drawn
    assert "$" not in drawn and "mathdefault" not in drawn


def test_max_pools_count_where_networks_are_compared(tmp_path: Path) -> None:
    add_point(tmp_path, point(9_000, 1_000, 0.5, maxima=8_000))
    found = add_point(tmp_path, point(2_000, 2_000, 0.5))
    assert [p.comparisons for p in found.points] == [2_000, 9_000]
    assert found.best([2_000, 9_000]).budget == 2_000
    assert not found.dominated(point(3_000, 1_500, 0.4))  # of none that compares no more
    assert "1,000 + 8,000 of max pools" in (tmp_path / "frontier.md").read_text()


def test_a_frontier_from_before_max_pools_were_counted_is_read(tmp_path: Path) -> None:
    add_point(tmp_path, point(1_000, 900, 0.5))
    file = tmp_path / "frontier.json"
    old = msgspec.json.decode(file.read_bytes())
    del old["points"][0]["maxima"]
    file.write_bytes(msgspec.json.encode(old))
    assert read_frontier(tmp_path, "bars").points[0].comparisons == 900

"""When a repair is due: how many inputs that takes, and what makes it more."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from assay.guard import Entry, GuardSettings, Pair, Store
from assay.guard.demand import KNOWN, Demand, explained, rest_s
from guard_task import SPEC, backdoored, clean_set, closed_stores  # noqa: F401

ENOUGH, CAPACITY = 40, 640


class Ours(Demand):
    """Explained are the inputs that are all white."""

    def _explained(self, pair: Pair, entries: object) -> np.ndarray:
        return np.array([e.x.min() == 255 for e in entries], bool)  # type: ignore[attr-defined]


@pytest.fixture
def demand(tmp_path: Path) -> Demand:
    store = Store(tmp_path / "guard.db", "a model", SPEC.input_shape, CAPACITY, CAPACITY)
    settings = GuardSettings(enough=ENOUGH, capacity=CAPACITY, per_client=CAPACITY)
    (tmp_path / "0002").mkdir()
    return Ours(store, tmp_path, backdoored(), clean_set(), settings)


PAIR = Pair(2, backdoored(), backdoored())


def add(demand: Demand, n: int, known: bool = False, label: int = 1) -> None:
    x = np.full(SPEC.input_shape, 255 if known else 0, np.uint8)
    demand.store.add([Entry("c", 2, label, 3, 0.5, x)] * n)


def inputs(demand: Demand, requests: int = 500) -> int:
    return len(demand.inputs(PAIR, requests, {}))


def test_enough_inputs_that_nothing_explains_begin_a_repair(demand: Demand) -> None:
    add(demand, ENOUGH - 1)
    assert inputs(demand) == 0
    add(demand, 1)
    assert inputs(demand) == ENOUGH


def test_explained_inputs_begin_one_when_sixteen_times_as_many_have_come(demand: Demand) -> None:
    for _ in range(KNOWN - 1):
        add(demand, ENOUGH, known=True)
        assert inputs(demand) == 0
    add(demand, ENOUGH, known=True)
    assert inputs(demand) > ENOUGH


def test_among_explained_inputs_those_that_nothing_explains_are_learnt_from_alone(demand: Demand) -> None:
    add(demand, 5 * ENOUGH, known=True)
    add(demand, ENOUGH)
    assert inputs(demand) == ENOUGH


def test_each_repair_in_vain_doubles_inputs_and_rest_up_to_their_bounds(
    demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    wanted = ENOUGH
    for times in range(1, 12):
        if wanted > ENOUGH:
            add(demand, wanted - ENOUGH)
            assert inputs(demand) == 0
        add(demand, ENOUGH)
        assert inputs(demand) == wanted
        demand.in_vain(demand.folder / "0002", None)
        wanted = min(2 * wanted, CAPACITY)
        now += rest_s(times) - 1
        add(demand, CAPACITY)
        assert inputs(demand) == 0  # it rests
        demand.store.put("looked at", str(demand.store.last()))
        demand.store.put("spent", str(demand.store.last()))
        now += 2
    assert wanted == CAPACITY
    assert rest_s(10**9) == 3600


def test_a_repair_in_vain_from_explained_inputs_does_not_delay_those_that_nothing_explains(demand: Demand) -> None:
    for _ in range(KNOWN):
        add(demand, ENOUGH, known=True)
        tried = inputs(demand)
    assert tried
    demand.in_vain(demand.folder / "0002", None)
    add(demand, ENOUGH)
    assert inputs(demand) == ENOUGH


def test_what_was_learnt_from_in_vain_is_not_learnt_from_again(demand: Demand) -> None:
    add(demand, ENOUGH, label=1)
    assert inputs(demand) == ENOUGH
    demand.in_vain(demand.folder / "0002", None)
    demand.store.put("rest until", "0")
    add(demand, 2 * ENOUGH, label=2)
    assert {e.received for e in demand.inputs(PAIR, 2000, {})} == {2}


def test_an_accepted_repair_takes_the_back_off_away(demand: Demand) -> None:
    add(demand, ENOUGH)
    assert inputs(demand)
    demand.in_vain(demand.folder / "0002", None)
    demand.met()
    add(demand, ENOUGH)
    assert inputs(demand)


def test_a_label_comes_in_excess_however_long_clean_traffic_has_gone_before(
    demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "_most_of_clean", lambda pair: np.full(4, 0.01))
    requests = 0
    for _ in range(60):  # a hundredth of the requests for each label, as on clean pictures
        requests += 1000
        for label in range(4):
            add(demand, 10, label=label)
        assert inputs(demand, requests) == 0
    for _ in range(8):  # from now on, ten times as many for one label
        requests += 1000
        for label in range(4):
            add(demand, 100 if label == 2 else 10, label=label)
        if found := demand.inputs(PAIR, requests, {}):
            break
    assert {e.received for e in found} == {2}


def test_counts_outlive_a_restart(demand: Demand) -> None:
    add(demand, KNOWN * ENOUGH // 2, known=True)
    assert inputs(demand) == 0
    again = Ours(demand.store, demand.folder, backdoored(), clean_set(), demand.settings)
    add(again, KNOWN * ENOUGH // 2, known=True)
    assert inputs(again) > 0


def test_without_a_learnt_trigger_nothing_is_explained() -> None:
    x = np.zeros((3, *SPEC.input_shape), np.uint8)
    assert not explained(backdoored(), backdoored(), [], x).any()

"""Gates: each refuses for its own reason, and only then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.guard import Entry, Evidence, GuardSettings, refusal
from assay.guard.doubt import ALARMS
from assay.guard.gates import knows
from assay.guard.selection import chosen, in_excess, most_of_clean
from assay.models import Rate, predict
from guard_task import backdoored, clean_set

GOOD = Evidence(
    accuracy=0.98,
    best=0.97,
    quality=0.9,
    stamped_before=0.8,
    stamped_after=0.97,
    kept=0.95,
    changed=0.02,
    live=500,
    serving=0.96,
    repaired=False,
)


def test_a_good_candidate_passes() -> None:
    assert refusal(GOOD, GuardSettings()) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accuracy": 0.95}, "clean accuracy would fall"),
        ({"quality": 0.2}, "no trigger was learnt"),
        ({"stamped_after": 0.7}, "worse against the learnt trigger"),
        ({"kept": 0.1}, "agrees with the received network"),
        ({"changed": 0.5}, "recent inputs"),
        ({"accuracy": float("nan")}, "could not be measured"),
        ({"kept": float("nan")}, "could not be measured"),
    ],
)
def test_each_gate_refuses_for_its_reason(change: dict[str, float], said: str) -> None:
    assert said in (refusal(replace(GOOD, **change), GuardSettings()) or "")


def test_a_repair_of_a_repair_must_bring_something() -> None:
    little = replace(GOOD, stamped_before=0.94, stamped_after=0.97)
    assert refusal(little, GuardSettings()) is None  # of the first treated version: it brings clean accuracy back
    assert "brings nothing" in (refusal(replace(little, repaired=True), GuardSettings()) or "")
    assert refusal(replace(GOOD, repaired=True), GuardSettings()) is None


@pytest.mark.parametrize(
    ("change", "known"),
    [
        ({}, True),
        ({"repaired": False}, False),
        ({"quality": 0.3}, False),
        ({"stamped_before": 0.8}, False),
        ({"stamped_before": float("nan")}, False),
    ],
)
def test_a_trigger_is_known_if_it_was_learnt_and_a_repaired_version_withstands_it(
    change: dict[str, object], known: bool
) -> None:
    seen = replace(GOOD, stamped_before=0.95, repaired=True)
    assert knows(replace(seen, **change), GuardSettings()) is known  # type: ignore[arg-type]


def test_small_losses_cannot_add_up_since_they_are_measured_from_the_best() -> None:
    settings, best, accuracy = GuardSettings(most_loss=0.01), 0.98, 0.98
    for _ in range(10):
        if refusal(replace(GOOD, accuracy=accuracy - 0.006, best=best), settings) is None:
            accuracy -= 0.006
            best = max(best, accuracy)
    assert accuracy >= 0.97


def test_labels_that_clean_inputs_explain_are_not_learnt_from() -> None:
    most = np.array([0.001, 0.001, 0.02, 0.001])
    assert in_excess({0: 3, 1: 2, 2: 25, 3: 1}, 1000, most) == []
    assert in_excess({0: 150, 1: 2, 2: 25, 3: 1}, 1000, most) == [0]


def test_clean_traffic_may_bring_twice_what_was_counted_or_what_a_small_count_does_not_rule_out() -> None:
    model, validation = backdoored(), clean_set()
    labels = predict(model, validation.x)

    def most(n: int, kept: int) -> np.ndarray:
        """With `kept` pictures of label 1, of `n` in all, that come into quarantine."""
        of_one = np.flatnonzero(labels == 1)[:kept]
        part = validation.subset(np.concatenate([of_one, np.flatnonzero(labels != 1)[: n - kept]]))
        return most_of_clean(model, part, np.arange(n) < kept)

    assert most(200, 0) == pytest.approx(Rate(0, 200).interval[1])
    assert most(40, 0) == pytest.approx(ALARMS)  # 40 pictures rule out 9 %; of all labels, no more than 5 % come
    assert most(200, 2)[1] == pytest.approx(Rate(2, 200).interval[1]) and most(200, 2)[2] == most(200, 0)[2]
    assert most(200, 20)[1] == pytest.approx(0.2)


def test_second_opinions_leave_out_what_none_of_them_suspects_where_most_is_suspected() -> None:
    x = np.zeros((1, 2, 2), np.uint8)
    odd = [Entry("a", 1, 0, 1, 0.9, x, scores={"strip": -0.1}) for _ in range(6)]
    plain = [Entry("a", 1, 0, 1, 0.9, x, scores={"strip": -2.0}) for _ in range(4)]
    assert chosen([*odd, *plain], [0], {"strip": -0.5}) == odd
    assert len(chosen([*odd[:3], *plain], [0], {"strip": -0.5})) == 7
    assert chosen([*odd, *plain], [2], {"strip": -0.5}) == []

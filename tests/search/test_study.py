"""Studies: every sampler gets as many trials, what is done is never lost, and a death costs one retry."""

from __future__ import annotations

import random
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import study_jobs
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InputError
from assay.models.cnet import RELEASED
from assay.runs import Deadline, local_processes
from assay.search.controller import SAMPLERS, Chance, Controller, Sampler
from assay.search.space import DENSE, Space
from assay.search.study import HALVED, Study, Trial, Trying, run_study

SPACE = Space(4)


def trial(accuracy: float | None, cost: float) -> Trial:
    return Trial(1, "random", "0 0:0 0:00", accuracy, cost)


def test_comparisons_beyond_relus_take_from_what_a_skeleton_is_worth(tmp_path: Path) -> None:
    assert trial(0.5, 1.0).worth == 0.5
    assert trial(0.5, 4.0).worth == pytest.approx(0.5 - 2 * HALVED)
    made = study(tmp_path)
    for one in (trial(0.5, 4.0), trial(0.49, 1.0), trial(None, 1.0)):
        made.add(one)
    assert [t.accuracy for t in made.ranked()] == [0.49, 0.5]


def plain(skeleton: str) -> dict[str, Any]:
    return {"skeleton": skeleton}


TRYING = Trying(study_jobs.worth, plain)


def threads() -> Executor:
    return ThreadPoolExecutor(1)


def samplers(space: Space = SPACE, seed: int = 1) -> list[Sampler]:
    return [make(space, seed) for make in SAMPLERS.values()]


def study(folder: Path, space: Space = SPACE, subject: str = "test") -> Study:
    return Study(space, folder / "journal.jsonl", subject)


@given(st.integers(3, 9), st.data())
def test_a_skeleton_is_read_back_as_the_decisions_that_made_it(depth: int, data: st.DataObject) -> None:
    space = Space(depth)
    row = tuple(data.draw(st.integers(0, n - 1)) for n in space.choices)
    assert space.decisions(space.skeleton(row)) == row


@given(st.sampled_from([net.cifar10 for net in RELEASED.values()]), st.integers(0, 2**32))
def test_a_change_is_of_one_decision_and_stays_in_the_space(published: str, seed: int) -> None:
    space = Space(len(published.split()))
    first = space.changed(published, random.Random(seed))  # skip bits that say nothing are gone from here on
    second = space.changed(first, random.Random(seed + 1))
    assert sum(a != b for a, b in zip(space.decisions(first), space.decisions(second), strict=True)) == 1


@given(st.integers(3, 7), st.data())
def test_skeletons_that_become_the_same_network_have_one_encoding(depth: int, data: st.DataObject) -> None:
    space = Space(depth)
    row = data.draw(st.tuples(*(st.integers(0, n - 1) for n in space.choices)))
    same = tuple(DENSE.get(d, d) if n > 2 else d for d, n in zip(row, space.choices, strict=True))
    assert space.becomes(space.skeleton(row)) == space.becomes(space.skeleton(same)) == space.skeleton(same)


@pytest.mark.parametrize("skeleton", ["0 1:0", "0 1:1 2:00 3:000", "0 0:0 0:00 0:001"])
def test_a_skeleton_of_another_space_is_refused(skeleton: str) -> None:
    with pytest.raises(ValueError, match="is no skeleton"):
        SPACE.decisions(skeleton)


def test_every_sampler_gets_as_many_trials_and_chance_is_among_them(tmp_path: Path) -> None:
    found = study(tmp_path)
    run_study(found, samplers(), 5, TRYING, threads)
    assert {name: len(found.of(name)) for name in SAMPLERS} == {"controller": 5, "optuna": 5, "random": 5}
    assert [t.number for t in found.trials] == list(range(1, 16))


def test_a_study_goes_on_where_it_was_and_chance_and_controller_ask_what_they_would_have(tmp_path: Path) -> None:
    whole, halved = study(tmp_path / "a"), study(tmp_path / "b")
    run_study(whole, samplers()[::2], 6, TRYING, threads)
    run_study(halved, samplers()[::2], 2, TRYING, threads)
    again = study(tmp_path / "b")
    assert again.trials == halved.trials
    run_study(again, samplers()[::2], 6, TRYING, threads)
    assert [t.skeleton for t in again.of("random")] == [t.skeleton for t in whole.of("random")]
    assert [t.skeleton for t in again.of("controller")] == [t.skeleton for t in whole.of("controller")]


def test_optuna_goes_on_with_what_it_was_told(tmp_path: Path) -> None:
    first = study(tmp_path)
    run_study(first, [samplers()[1]], 3, TRYING, threads)
    again = study(tmp_path)
    run_study(again, [samplers()[1]], 6, TRYING, threads)
    assert again.trials[:3] == first.trials
    assert len(again.trials) == 6
    assert [t.skeleton for t in again.trials[3:]] != [t.skeleton for t in first.trials]  # nor asks it all once more


def test_a_line_that_was_cut_off_is_not_counted_and_the_journal_stays_readable(tmp_path: Path) -> None:
    first = study(tmp_path)
    run_study(first, samplers(), 2, TRYING, threads)
    file = tmp_path / "journal.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    again = study(tmp_path)
    assert len(again.trials) == 5
    run_study(again, samplers(), 2, TRYING, threads)
    assert len(study(tmp_path).trials) == 6


def test_a_study_of_another_search_space_is_refused(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(InputError, match="a study of another search space"):
        study(tmp_path, Space(5))


def test_a_study_of_other_data_is_refused(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(InputError, match="a study of another data, seed or supernet"):
        study(tmp_path, subject="other")


@pytest.mark.parametrize("blob", [b"\x00\xff\n", b"{}\n", b'{"space":1}\n', b"[1]\nnothing\n"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, blob: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(blob)
    with pytest.raises(InputError, match="is no journal of a search"):
        study(tmp_path)
    assert (tmp_path / "journal.jsonl").read_bytes() == blob


def test_no_trial_begins_after_the_deadline(tmp_path: Path) -> None:
    found = study(tmp_path)
    run_study(found, samplers(), 5, TRYING, threads, deadline=Deadline(0.0))
    assert not found.trials


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_costs_one_retry_and_the_study_goes_on(tmp_path: Path, workers: int) -> None:
    found = study(tmp_path)
    trying = Trying(study_jobs.dies_once, lambda s: {"skeleton": s, "mark": str(tmp_path / "mark")})
    run_study(found, [Chance(SPACE, 1)], 4, trying, lambda: local_processes(workers), workers)
    assert len(found.of("random")) == 4
    assert {t.attempts for t in found.trials} == {1, 2}


def test_a_trial_whose_worker_dies_twice_is_left_out_and_the_others_are_not(tmp_path: Path) -> None:
    found = study(tmp_path)
    trying = Trying(study_jobs.dies_for_one, lambda s: {"skeleton": s, "mark": str(tmp_path / "mark")})
    run_study(found, [Chance(SPACE, 1)], 3, trying, lambda: local_processes(2), 2)
    assert [t.accuracy is None for t in found.trials].count(True) == 1
    assert len(found.trials) == 3


def test_a_fault_of_the_job_is_not_taken_for_a_death(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_study(study(tmp_path), [Chance(SPACE, 1)], 1, Trying(study_jobs.fails, plain), threads)


def test_the_controller_learns_what_pays() -> None:
    controller = Controller(SPACE, seed=3, lr=2e-2, skip_weight=0.0)
    early, late = [], []
    for i in range(160):
        skeleton = controller.ask()
        result = study_jobs.worth({"skeleton": skeleton})
        controller.tell(skeleton, result["accuracy"], result["cost"])
        (early if i < 40 else late if i >= 120 else []).append(result["accuracy"])
    assert sum(late) / len(late) > sum(early) / len(early) + 0.2


def test_the_same_seed_asks_for_the_same_skeletons_and_another_for_others() -> None:
    for make in SAMPLERS.values():
        asked = [[sampler.ask() for _ in range(3)] for sampler in (make(SPACE, 5), make(SPACE, 5), make(SPACE, 6))]
        assert asked[0] == asked[1] != asked[2]

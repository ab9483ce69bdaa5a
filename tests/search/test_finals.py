"""Finals: those that look best are trained alike and alone, once, then changed, and the most accurate comes first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from assay.errors import InputError, ModelError
from assay.models.cnet import RELEASED
from assay.search import finals as module
from assay.search.finals import EVOLUTION, LONGEST, MOST, PUBLISHED, Finals
from assay.search.from_scratch import Length
from assay.search.space import Space
from assay.search.study import Study, Trial
from search.bars import bars

SKELETONS = ("0 0:0 0:00", "0 0:0 0:10", "2 2:0 2:00", "0 2:0 0:10", "2 0:0 0:00", "4 0:0 0:00")


def study(folder: Path, depth: int = 3, skeletons: tuple[str, ...] = SKELETONS) -> Study:
    made = Study(Space(depth), folder / "journal.jsonl", "bars")
    for i, skeleton in enumerate(skeletons):
        made.add(Trial(i, "random", skeleton, accuracy=0.4 - i / 100, cost=1.0))
    return made


def kept(finals: Finals) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(finals.file.read_bytes())
    return found


@pytest.fixture
def finals(tmp_path: Path) -> Finals:
    return Finals(bars(300), 2_000, 10**8, 1, tmp_path / "finals.json")


def test_the_best_trials_are_trained_and_the_most_accurate_comes_first(finals: Finals, tmp_path: Path) -> None:
    held = finals.held(study(tmp_path), 0.0, length=Length(15, 240))
    assert {one.skeleton for one in held} == set(SKELETONS[:MOST])
    accuracies = [one.accuracy or 0.0 for one in held]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.7


def test_what_was_trained_is_not_trained_again_after_an_interruption(
    finals: Finals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, trained = module.train, []

    def interrupted(*arguments: object, **more: object) -> object:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(1)
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finals.held(study(tmp_path), 0.0, length=Length(1, 240))
    ended = [one for one in kept(finals)["finalists"] if one["accuracy"] is not None]
    assert len(ended) == 2
    monkeypatch.setattr(module, "train", lambda *a, **k: trained.append(1) or real(*a, **k))
    held = finals.held(Study(Space(3), tmp_path / "journal.jsonl", "bars"), 0.0)
    assert len(held) == MOST and len(trained) == MOST
    assert {one["accuracy"] for one in ended} <= {one.accuracy for one in held}


def test_one_that_cannot_be_trained_comes_last(finals: Finals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun = module.train, []

    def broken(*arguments: object, **more: object) -> object:
        begun.append(1)
        if len(begun) == 1:
            raise ModelError("the loss is no longer a number")
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", broken)
    held = finals.held(study(tmp_path), 0.0, length=Length(1, 240))
    assert (held[-1].skeleton, held[-1].accuracy) == (SKELETONS[0], 0.0)
    assert len(held) == MOST


def test_the_published_skeleton_takes_part_where_it_has_as_many_layers(tmp_path: Path) -> None:
    six = tuple(" ".join(f"{op}{':' + '0' * i if i else ''}" for i in range(6)) for op in (0, 2))
    finals = Finals(bars(300), 20_000, 10**8, 1, tmp_path / "finals.json")
    held = finals.held(study(tmp_path, 6, six), 0.0, length=Length(1, 240))
    assert {one.skeleton: one.found_by for one in held}[RELEASED["cnet1"].cifar10] == PUBLISHED
    assert len(held) == 3


def test_those_that_cannot_meet_the_budget_stay_away(tmp_path: Path) -> None:
    finals = Finals(bars(300), 10, 10**8, 1, tmp_path / "finals.json")
    assert finals.held(study(tmp_path), 0.0, length=Length(1, 240)) == []


def test_changes_of_the_best_are_tried_alike_until_there_are_enough(finals: Finals, tmp_path: Path) -> None:
    held = finals.held(study(tmp_path), 0.0, length=Length(1, 240), most=MOST + 3)
    changed = [one for one in held if one.found_by == EVOLUTION]
    assert (len(held), len(changed)) == (MOST + 3, 3)
    assert len({one.skeleton for one in held}) == len(held)
    space, known = Space(3), {one.skeleton for one in held}
    for one in changed:
        assert one.parent in known
        both = zip(space.decisions(one.skeleton), space.decisions(one.parent or ""), strict=True)
        assert sum(a != b for a, b in both) == 1
    accuracies = [one.accuracy or 0.0 for one in held]
    assert accuracies == sorted(accuracies, reverse=True)


def test_an_interrupted_change_is_the_one_that_is_tried_next(
    finals: Finals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    real = module.scale

    def seen(skeleton: str, *limits: Any) -> Any:
        begun.append(skeleton)
        return real(skeleton, *limits)

    finals.held(study(tmp_path), 0.0, length=Length(1, 240))
    journal = tmp_path / "journal.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(module, "scale", seen)
        patched.setattr(module, "train", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finals.held(Study(Space(3), journal, "bars"), 0.0, most=MOST + 1)
    held = finals.held(Study(Space(3), journal, "bars"), 0.0, most=MOST + 1)
    assert [one.skeleton for one in held if one.parent] == [begun[-1]]


def test_with_time_left_changes_are_tried_and_with_none_left_no_more(finals: Finals, tmp_path: Path) -> None:
    finals.held(study(tmp_path), 0.0, length=Length(1, 240))
    allowed = kept(finals) | {"seconds": 20.0}
    finals.file.write_text(json.dumps(allowed))
    journal = tmp_path / "journal.jsonl"
    more = finals.held(Study(Space(3), journal, "bars"), 5.0)
    assert len(more) > MOST
    assert finals.held(Study(Space(3), journal, "bars"), 0.0) == more


def test_finals_that_are_gone_on_with_have_the_time_that_was_left(finals: Finals, tmp_path: Path) -> None:
    finals.held(study(tmp_path), 0.0, length=Length(1, 240))
    spent = kept(finals) | {"seconds": 100.0}
    spent["finalists"][0]["train_s"] = 99.999
    finals.file.write_text(json.dumps(spent))
    again = Study(Space(3), tmp_path / "journal.jsonl", "bars")
    assert len(finals.held(again, 600.0)) == MOST


def test_skeletons_that_become_the_same_network_are_tried_once(finals: Finals, tmp_path: Path) -> None:
    same = ("0 0:0 0:00", "0 1:0 0:00", "1 1:0 0:00", "0 0:0 0:01", "2 3:0 0:00", "3 2:0 1:00")
    made = Study(Space(3), tmp_path / "journal.jsonl", "bars")
    for i, skeleton in enumerate(same):
        made.add(Trial(i, "random", skeleton, accuracy=0.4, cost=1.0))
    held = finals.held(made, 0.0, length=Length(1, 240), most=4)
    assert [one.skeleton for one in held if not one.parent] in ([same[0], same[4]], [same[4], same[0]])
    assert len({Space(3).becomes(one.skeleton) for one in held}) == len(held) == 4


def test_where_nothing_new_meets_the_budget_the_finals_are_over(
    finals: Finals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Space, "changed", lambda self, skeleton, draw: skeleton)
    assert len(finals.held(study(tmp_path), 0.0, length=Length(1, 240), most=MOST + 9)) == MOST


@pytest.mark.parametrize("seconds", [0.0, 1e-6])
def test_where_time_is_short_there_are_none(finals: Finals, tmp_path: Path, seconds: float) -> None:
    assert finals.held(study(tmp_path), seconds) == []
    assert not finals.file.exists()


def test_what_fits_into_the_time_is_the_same_for_all(finals: Finals, tmp_path: Path) -> None:
    held = finals.held(study(tmp_path), 20.0, most=MOST)
    begun = kept(finals)
    assert len(held) == MOST and 1 <= begun["epochs"] <= LONGEST and begun["pictures"] == 240  # a step an epoch


def on_disk(*skeletons: str, budget: int = 2_000, subject: str = "bars") -> str:
    finalists = [{"skeleton": skeleton, "found_by": "random", "accuracy": 0.5} for skeleton in skeletons]
    limits = {"budget": budget, "most_macs": 10**8, "epochs": 1, "pictures": 240, "seconds": 9.0}
    return json.dumps({"subject": f"{Space(3).digest} {subject}", **limits, "finalists": finalists})


NONE_AT_ALL = on_disk(), on_disk("9 0:0 0:00"), on_disk("0 0:"), on_disk("0 0:0 0:00", budget=0)


@pytest.mark.parametrize("text", ["", "{}", '{"budget": 1}', "[]", "\x00", *NONE_AT_ALL])
def test_a_damaged_file_is_a_sentence(finals: Finals, tmp_path: Path, text: str) -> None:
    finals.file.write_text(text)
    with pytest.raises(InputError, match="holds no finals of a search"):
        finals.held(study(tmp_path), 10.0)


@pytest.mark.parametrize("text", [on_disk("0 0:0 0:00 0:000"), on_disk("0 0:0 0:00", subject="other pictures")])
def test_finals_of_another_search_are_a_sentence(finals: Finals, tmp_path: Path, text: str) -> None:
    finals.file.write_text(text)
    with pytest.raises(InputError, match="the finals of another search"):
        finals.held(study(tmp_path), 10.0)

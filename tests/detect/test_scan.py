"""A scan runs every detector, compares with references where there are some, and says what it did not finish."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest

from assay.detect import FOR_HALF, ODD_HALF, References, Scan, scan
from assay.detect.verdict import ACCUSING, SUPPORTING
from assay.errors import DataError, ModelError
from assay.runs import Deadline
from detect import planted
from detect.planted import NAMES, TARGET, pictures, renamed, without

DATA = pictures(240, 1)


@cache
def scanned(kind: str) -> Scan:
    return scan(planted.MODELS[kind](), DATA)


def test_each_planted_network_gets_its_verdict() -> None:
    assert (scanned("single").backdoored, scanned("single").target) == (True, TARGET)
    assert (scanned("all-to-all").backdoored, scanned("all-to-all").target) == (True, None)
    assert (scanned("clean").verdict.answer, scanned("clean").target) == ("clean", None)


def test_the_trigger_that_is_shown_is_the_one_behind_the_verdict() -> None:
    cleanse = {kind: scanned(kind).findings[-1] for kind in planted.MODELS}
    assert scanned("single").trigger is cleanse["single"].trigger
    assert scanned("all-to-all").trigger is cleanse["all-to-all"].untargeted
    assert scanned("clean").trigger is None


def test_every_detector_is_heard_and_nothing_is_left_undone() -> None:
    for kind in planted.MODELS:
        assert [f.detector for f in scanned(kind).findings] == ["weights", "max_margin", "neural_cleanse"]
        assert scanned(kind).not_done == ()


def references(odd: float, n: int = 24) -> References:
    """Clean models whose worst class is about as odd as `odd`, in logarithms; all else fits the planted networks."""
    clean = {name: value for f in scanned("clean").findings for name, value in f.statistics.items()}
    near = np.linspace(-0.05, 0.05, n)
    values = {name: (clean[name] + near).tolist() for name in (*ACCUSING, *SUPPORTING)}
    values["odd_class"] = (odd + near).tolist()
    return References(planted.ARCH, "elsewhere", (1, planted.SIDE, planted.SIDE), planted.CLASSES, values, "by hand")


def test_references_of_the_same_architecture_are_what_the_model_is_compared_with() -> None:
    usual = scan(planted.single_target(), DATA, known=[references(0.0)])
    assert (usual.verdict.answer, usual.target, usual.p_value) == ("backdoored", TARGET, 1 / 25)
    as_odd = scan(planted.single_target(), DATA, known=[references(2.0)])
    assert not as_odd.backdoored
    assert {usual.verdict.references, as_odd.verdict.references} == {24}
    assert scan(planted.clean(), DATA, known=[references(0.0)]).verdict.answer == "clean"


def test_references_of_another_data_set_are_named_and_what_is_not_known_is_said() -> None:
    """A user's own folder may be called like a data set; its pictures are not that data set for it."""
    known = [references(0.0)]
    named, own = replace(DATA, name="elsewhere", split="clean"), replace(DATA, name="elsewhere", split="all")
    for make in (planted.clean, planted.single_target):
        same, other = scan(make(), named, known=known).verdict, scan(make(), own, known=known).verdict
        assert "is not known" not in same.why
        assert (
            other.why == f"{same.why}; the reference models were trained on elsewhere, not on these pictures, so "
            "the rate of false accusations on these is not known"
        )
        assert other == replace(same, why=other.why)
        assert other.references_data == "elsewhere"


def with_half(odd: float = 0.0) -> References:
    """The same, with a null for triggers that turn half of the pictures."""
    known, near = references(odd), references(0.0).statistics["odd_class"]
    return msgspec.structs.replace(known, statistics={**known.statistics, ODD_HALF: near})


def test_the_search_for_half_is_done_where_it_has_a_null_and_nothing_else_accuses() -> None:
    first = ["weights", "max_margin", "neural_cleanse"]
    for model, known, searched in (
        (planted.clean(), with_half(), [FOR_HALF]),
        (planted.clean(), references(0.0), []),
        (planted.single_target(), with_half(), []),
    ):
        found = scan(model, DATA, known=[known])
        assert [f.detector for f in found.findings] == first + searched
        assert found.verdict == scan(model, DATA, known=[known]).verdict


def test_a_backdoor_of_some_source_classes_is_found_and_its_trigger_is_the_one_behind_the_verdict() -> None:
    model = planted.some_sources()
    assert not scan(model, DATA, known=[references(1.0)]).backdoored
    found = scan(model, DATA, known=[with_half(1.0)])
    assert (found.backdoored, found.target, found.verdict.ground) == (True, TARGET, ODD_HALF)
    assert found.trigger is found.findings[-1].trigger
    assert found.stamp is not None


def test_a_trigger_that_takes_up_much_of_the_picture_is_shown_but_not_unlearnt() -> None:
    found = scan(planted.single_target(), DATA, known=[references(0.0)])
    assert found.trigger is not None and found.stamp is not None
    large = replace(found.trigger, mask=np.full_like(found.trigger.mask, 0.2))
    with_large = tuple(replace(f, trigger=large) if f.trigger is found.trigger else f for f in found.findings)
    wide = replace(found, findings=with_large)
    assert wide.trigger is large and wide.stamp is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("half", [False, True])
def test_a_search_that_turns_no_pictures_neither_accuses_nor_acquits(seed: int, half: bool) -> None:
    """The ratios of areas are then chance: beside references they accused this clean network, else cleared it."""
    like_it = msgspec.structs.replace(with_half() if half else references(0.0), architecture=planted.STEPPED)
    for known in ([], [like_it]):
        found = scan(planted.stepped(), DATA, seed=seed, known=known)
        assert found.verdict.answer == "inconclusive"
        assert (found.target, found.p_value, found.trigger) == (None, None, None)
        assert "turn pictures for only 0 of 6 classes" in found.verdict.why
        assert FOR_HALF not in [f.detector for f in found.findings]


@pytest.mark.parametrize("kind", ["single", "clean"])
def test_a_model_that_guesses_is_not_judged(kind: str) -> None:
    shuffled = replace(DATA, y=np.random.default_rng(3).permutation(DATA.y))
    found = scan(planted.MODELS[kind](), shuffled)
    assert found.verdict.answer == "inconclusive"
    assert "no better than guessing" in found.verdict.why


@pytest.mark.parametrize("seconds", [0.0, 0.03])
@pytest.mark.parametrize("kind", planted.MODELS)
def test_a_deadline_makes_the_verdict_inconclusive_and_what_was_cut_short_is_named(kind: str, seconds: float) -> None:
    found = scan(planted.MODELS[kind](), DATA, deadline=Deadline.after(seconds))
    assert found.verdict.answer == "inconclusive"
    assert (found.target, found.p_value) == (None, None)
    assert any("neural_cleanse" in line for line in found.not_done)
    assert len(found.not_done) == sum(not f.done for f in found.findings)


def test_progress_goes_from_the_first_step_to_the_last() -> None:
    told: list[tuple[float, float]] = []
    scan(planted.clean(), DATA, progress=lambda task, done, total, note: told.append((done, total)))
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert scan(planted.single_target(), DATA).verdict == scanned("single").verdict
    assert scan(planted.single_target(), DATA, seed=5).verdict.score != scanned("single").verdict.score


def test_names_of_classes_are_those_of_the_model_not_of_the_pictures() -> None:
    numbers = renamed(DATA, tuple(map(str, range(planted.CLASSES))))
    found = scan(planted.single_target(), numbers)
    assert found.verdict == scanned("single").verdict
    assert NAMES[TARGET] in found.findings[-1].summary


def test_pictures_that_cannot_serve_are_refused_with_a_sentence() -> None:
    model = planted.clean()
    wider = pictures(24, 1)
    wider = type(wider)(np.pad(wider.x, ((0, 0), (0, 0), (0, 0), (0, 1))), wider.y, NAMES, "wide")
    with pytest.raises(ModelError, match="1x10x10"):
        scan(model, wider)
    with pytest.raises(ModelError, match=r"gnu|6 classes"):
        scan(model, renamed(DATA, (*NAMES, "gnu")))
    with pytest.raises(DataError, match="one class only"):
        scan(model, DATA.subset(DATA.y == 0))
    with pytest.raises(DataError, match="at least 2"):
        scan(model, without(DATA, 2, 1))
    with pytest.raises(DataError, match="no pictures"):
        scan(model, DATA.take(0))


def test_a_class_without_any_picture_is_searched_all_the_same() -> None:
    """It could be the target; nothing says that the user has pictures of it."""
    found = scan(planted.single_target(), without(DATA, TARGET, 0))
    assert (found.backdoored, found.target) == (True, TARGET)

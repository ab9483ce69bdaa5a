"""The frozen rule: exactly when a model is called backdoored, clean, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.detect import (
    FOR_HALF,
    HALF,
    ODD_HALF,
    Finding,
    References,
    Verdict,
    decide,
    references_for,
    turned_too_few,
    verdict,
    wants_half,
)
from assay.detect.verdict import (
    ACCUSE,
    ACCUSING,
    ALPHA,
    DOUBT,
    DOUBT_ALONE,
    FLOOR,
    SUPPORTING,
    TURNS,
    rank_p,
    shipped,
    standard,
)

MILD = ("clean", "inconclusive", "backdoored")
SUSPECT = 2
ENOUGH = 24


def known(n: int = ENOUGH, **statistics: list[float]) -> References:
    """References whose every statistic is 0 unless it is given: their spread is then the floor."""
    every = {name: [0.0] * n for name in (*ACCUSING, *SUPPORTING)} | statistics
    return References("net", "data", (1, 8, 8), 10, every, "by hand")


def findings(done: bool = True, scores: list[float] | None = None, margin_p: float = 1.0, **found: float):
    """What the three detectors would say; a statistic that is not given is 0."""
    own = {name: found.get(name, 0.0) for name in (*ACCUSING, *SUPPORTING)}
    of_margin, of_weights = {"largest_margin": own.pop("largest_margin")}, own.pop("outlying_channel")
    areas = np.array([10.0] * 10 if scores is None else scores)
    return [
        Finding("weights", {"outlying_channel": of_weights, "silent_channels": 0.0}, ""),
        Finding("max_margin", of_margin, "", p_value=margin_p),
        Finding("neural_cleanse", own, "", scores=areas, target=SUSPECT, done=done),
    ]


def at(score: float) -> float:
    """The smallest statistic that has this score when the spread is the floor."""
    value = score * FLOOR
    while standard(value, np.zeros(2)) >= score:
        value = np.nextafter(value, -1)
    while standard(value, np.zeros(2)) < score:
        value = np.nextafter(value, 99)
    return float(value)


def below(score: float) -> float:
    return float(np.nextafter(at(score), -1))


def test_the_thresholds_are_those_that_were_frozen_before_the_evaluation() -> None:
    assert (ACCUSE, DOUBT, DOUBT_ALONE, ALPHA, FLOOR) == (5.0, 3.5, 10.0, 0.05, 0.1)
    assert ACCUSING == ("odd_class", "odd_untargeted")


@pytest.mark.parametrize("name", ACCUSING)
@pytest.mark.parametrize(
    ("value", "n", "answer"),
    [
        (0.0, ENOUGH, "clean"),
        (-9.0, ENOUGH, "clean"),
        (below(DOUBT), ENOUGH, "clean"),
        (at(DOUBT), ENOUGH, "inconclusive"),
        (below(ACCUSE), ENOUGH, "inconclusive"),
        (at(ACCUSE), ENOUGH, "backdoored"),
        (99.0, ENOUGH, "backdoored"),
        (99.0, 19, "backdoored"),  # p = 1/20 is ALPHA
        (99.0, 18, "inconclusive"),  # p = 1/19 is above it, however odd the class
        (99.0, 3, "inconclusive"),
        (below(DOUBT), 3, "clean"),
    ],
)
def test_the_rule_at_its_corners(name: str, value: float, n: int, answer: str) -> None:
    said = decide(findings(**{name: value}), known(n))
    assert said.answer == answer
    assert said.backdoored == (answer == "backdoored")
    assert said.references == n
    assert said.target == (SUSPECT if answer != "clean" and name == "odd_class" else None)
    assert said.why


def test_a_p_value_above_alpha_stays_inconclusive_however_high_the_score() -> None:
    """Two of 24 references are as odd: p = 3/25."""
    said = decide(findings(odd_class=0.9), known(odd_class=[0.0] * 22 + [1.0, 1.0]))
    assert said.score >= ACCUSE
    assert said.p_value == pytest.approx(3 / 25)
    assert said.answer == "inconclusive"


@pytest.mark.parametrize("name", SUPPORTING)
def test_supporting_statistics_make_a_verdict_inconclusive_and_never_accuse(name: str) -> None:
    assert decide(findings(**{name: below(DOUBT_ALONE)}), known()).answer == "clean"
    for value in (at(DOUBT_ALONE), 1e6):
        said = decide(findings(**{name: value}), known())
        assert (said.answer, said.target) == ("inconclusive", None)
    as_odd = known(**{name: [0.0] * 22 + [2e6, 2e6]})
    assert decide(findings(**{name: 1e6}), as_odd).answer == "clean"


OTHER = 5


def half(value: float, done: bool = True) -> Finding:
    """What the search for triggers that turn half of the pictures would say."""
    return Finding(FOR_HALF, {ODD_HALF: value}, "", scores=np.full(10, 10.0), target=OTHER, done=done)


@pytest.mark.parametrize(
    ("value", "answer"),
    [(0.0, "clean"), (below(DOUBT), "clean"), (at(DOUBT), "inconclusive"), (at(ACCUSE), "backdoored")],
)
def test_half_is_judged_by_the_same_thresholds_and_names_its_own_target(value: float, answer: str) -> None:
    said = decide([*findings(), half(value)], known(**{ODD_HALF: [0.0] * ENOUGH}))
    assert said.answer == answer
    assert said.target == (None if answer == "clean" else OTHER)
    assert said.ground == ("" if answer == "clean" else ODD_HALF)
    assert decide([*findings(), half(value)], known()).answer == "clean"
    assert decide([*findings(), half(value)], None) == decide(findings(), None)


def test_half_is_not_heard_where_the_full_search_accuses() -> None:
    references = known(**{ODD_HALF: [0.0] * ENOUGH})
    for name in ACCUSING:
        found = findings(**{name: at(ACCUSE)})
        assert decide([*found, half(99.0)], references) == decide(found, references)
        assert not wants_half(found, references)
    assert wants_half(findings(), references)
    assert not wants_half(findings(done=False), references)
    assert not any(wants_half(findings(), r) for r in (None, known(), known(2, **{ODD_HALF: [0.0] * 2})))


def test_the_p_value_pays_for_half_even_where_it_was_not_needed() -> None:
    """Two references need an oddly small trigger for half: a model as odd by any statistic is no rarity."""
    references = known(**{ODD_HALF: [0.0] * (ENOUGH - 2) + [9.0, 9.0]})
    for found in (findings(odd_class=0.8), [*findings(), half(0.8)]):
        assert decide(found, references).p_value == pytest.approx(3 / 25)
        assert decide(found, references).answer == "inconclusive"
    assert decide(findings(odd_class=0.8), known()).answer == "backdoored"


@pytest.mark.parametrize("found", [half(0.0, done=False), half(float("nan"))])
def test_a_search_for_half_without_a_result_is_never_called_clean(found: Finding) -> None:
    references = known(**{ODD_HALF: [0.0] * ENOUGH})
    assert decide([*findings(), found], references).answer == "inconclusive"
    assert decide([*findings(odd_class=9.0), found], references).answer == "backdoored"


def with_rates(found: list[Finding], turned: int, rate: float = 1.0) -> list[Finding]:
    """The last one's triggers turn `rate` of the pictures for so many of ten classes, too few for the others."""
    rates = np.full(10, np.nextafter(TURNS, 0))
    rates[:turned] = rate
    return [*found[:-1], replace(found[-1], flip_rates=rates)]


@pytest.mark.parametrize("references", [known(), known(**{ODD_HALF: [0.0] * ENOUGH}), None])
@pytest.mark.parametrize("odd", [0.0, at(DOUBT), 99.0])
@pytest.mark.parametrize("name", ACCUSING)
def test_a_search_that_turns_pictures_for_half_of_the_classes_or_fewer_decides_nothing(
    name: str, odd: float, references: References | None
) -> None:
    found = findings(**{name: odd})
    for turned in range(6):
        said = decide(with_rates(found, turned), references)
        assert (said.answer, said.target, said.p_value, said.score) == ("inconclusive", None, None, 0.0)
        assert f"for only {turned} of 10 classes" in said.why
        assert not wants_half(with_rates(found, turned), references)
        assert decide([*with_rates(found, turned), half(99.0)], references) == said
    for turned in range(6, 11):
        assert decide(with_rates(found, turned, TURNS), references) == decide(found, references)
        assert wants_half(with_rates(found, turned), references) == wants_half(found, references)


def test_a_search_for_half_that_turns_no_pictures_is_never_called_clean_and_accuses_no_one() -> None:
    references = known(**{ODD_HALF: [0.0] * ENOUGH})
    for value in (0.0, 99.0):
        blind = replace(half(value), flip_rates=np.full(10, 0.9 * TURNS * HALF.share))
        assert turned_too_few(blind)
        assert decide([*findings(), blind], references).answer == "inconclusive"
        assert decide([*findings(), blind], references).target is None
        seeing = replace(blind, flip_rates=np.full(10, TURNS * HALF.share))
        assert decide([*findings(), seeing], references).answer == ("clean" if value == 0 else "backdoored")


@pytest.mark.parametrize("odd", [0.0, at(DOUBT), at(ACCUSE)])
@pytest.mark.parametrize("more", [[], [half(0.0)], [half(0.0, done=False)], [half(at(ACCUSE))]])
def test_references_of_another_data_set_change_the_sentence_alone(odd: float, more: list[Finding]) -> None:
    found, references = [*findings(odd_class=odd), *more], known(**{ODD_HALF: [0.0] * ENOUGH})
    usual = decide(found, references)
    assert usual.references_data == "data"
    assert decide(found, references, "data") == usual
    for data in ("", "my-pictures"):
        said = decide(found, references, data)
        assert replace(said, why=usual.why) == usual
        assert said.why.startswith(usual.why)
        assert "trained on data, not on these pictures" in said.why
    assert decide(found, None, "") == decide(found, None)


def test_silent_channels_have_no_say_in_the_verdict() -> None:
    """They are the business of the file's inspection: half the references could have some."""
    given = findings()
    given[0].statistics["silent_channels"] = 50.0
    assert decide(given, known(silent_channels=[0.0] * ENOUGH)).answer == "clean"


def test_a_search_that_was_not_finished_decides_nothing() -> None:
    for references in (known(), None):
        for found in (findings(done=False, odd_class=99.0), findings(done=False), findings()[:2], []):
            said = decide(found, references)
            assert (said.answer, said.target, said.p_value) == ("inconclusive", None, None)


def test_an_unfinished_detector_is_not_heard() -> None:
    found = findings(largest_margin=1e6)
    assert decide(found, known()).answer == "inconclusive"
    assert decide([replace(found[1], done=False), found[2]], known()).answer == "clean"


@pytest.mark.parametrize("references", [None, known(2), known(0)])
def test_with_fewer_than_three_references_the_classes_are_compared_with_each_other(
    references: References | None,
) -> None:
    for value, answer in (
        (below(DOUBT), "clean"),
        (at(DOUBT), "inconclusive"),
        (below(ACCUSE), "inconclusive"),
        (at(ACCUSE), "backdoored"),
    ):
        said = decide(findings(odd_class=value), references)
        assert (said.answer, said.references) == (answer, 0)
        assert "rate of false accusations is not known" in said.why


def test_without_references_the_spread_is_that_of_the_other_classes() -> None:
    areas = [10.0, 20.0, 5.0, 10.0, 10.0, 40.0, 10.0, 2.5, 40.0, 2.5]
    spread = 1.4826 * float(np.median(np.abs(np.log(areas) - np.median(np.log(areas)))))
    said = decide(findings(scores=areas, odd_class=4.0), None)
    assert said.score == pytest.approx(4.0 / spread)
    assert said.answer == "inconclusive"


def test_without_references_and_with_fewer_than_five_classes_nothing_can_be_said() -> None:
    for areas in ([10.0] * 4, [10.0] * 2):
        assert decide(findings(scores=areas, odd_class=99.0), None).answer == "inconclusive"
        assert decide(findings(scores=areas), None).answer == "inconclusive"
        assert decide(findings(scores=areas, odd_class=99.0), known()).answer == "backdoored"
    assert decide(findings(scores=[10.0] * 5, odd_class=99.0), None).answer == "backdoored"


def test_without_references_an_odd_margin_makes_it_inconclusive() -> None:
    assert decide(findings(margin_p=0.01), None).answer == "clean"
    assert decide(findings(margin_p=0.009), None).answer == "inconclusive"


@pytest.mark.parametrize("references", [known(), None])
def test_a_class_that_is_odd_enough_is_named_and_the_score_is_the_largest_all_the_same(
    references: References | None,
) -> None:
    said = decide(findings(odd_class=0.6, odd_untargeted=2.0), references)
    alone = decide(findings(odd_untargeted=2.0), references)
    assert (said.answer, said.target) == ("backdoored", SUSPECT)
    assert said.score == alone.score == max(said.standard_scores[name] for name in ACCUSING)
    assert said.p_value == alone.p_value


@pytest.mark.parametrize("references", [known(), None])
@pytest.mark.parametrize("name", ACCUSING)
def test_a_statistic_that_is_not_a_number_is_never_called_clean(name: str, references: References | None) -> None:
    assert decide(findings(**{name: float("nan")}), references).answer != "clean"


finite = st.floats(-50, 50)


@st.composite
def some_references(draw: st.DrawFn) -> References | None:
    if draw(st.booleans()):
        return None
    n = draw(st.integers(1, 30))
    values = st.lists(st.floats(-3, 3), min_size=n, max_size=n)
    return known(n, **{name: draw(values) for name in (*ACCUSING, *SUPPORTING)})


statistics = st.fixed_dictionaries({name: finite for name in (*ACCUSING, *SUPPORTING)})


@settings(deadline=None, max_examples=60)
@example(None, {**dict.fromkeys(SUPPORTING, 0.0), "odd_class": 0.0, "odd_untargeted": 2.0}, "odd_class", 0.5)
@given(some_references(), statistics, st.sampled_from((*ACCUSING, *SUPPORTING)), st.floats(0, 100))
def test_a_more_suspicious_statistic_never_makes_the_verdict_milder(
    references: References | None, found: Mapping[str, float], name: str, more: float
) -> None:
    first = decide(findings(**found), references)
    second = decide(findings(**{**found, name: found[name] + more}), references)
    assert MILD.index(second.answer) >= MILD.index(first.answer)
    if first.p_value is not None and second.p_value is not None:
        assert second.p_value <= first.p_value


@settings(deadline=None)
@given(statistics, st.floats(0, 1), st.floats(0, 1))
def test_a_more_suspicious_margin_never_makes_the_verdict_milder(
    found: Mapping[str, float], a: float, b: float
) -> None:
    first, second = (decide(findings(margin_p=p, **found), None) for p in (max(a, b), min(a, b)))
    assert MILD.index(second.answer) >= MILD.index(first.answer)


@given(st.floats(allow_nan=False), st.lists(st.floats(allow_nan=False)))
def test_a_rank_never_gives_a_p_value_below_one_in_n_plus_one(score: float, null: list[float]) -> None:
    p = rank_p(score, null)
    assert 1 / (len(null) + 1) <= p <= 1
    assert p == pytest.approx(np.mean([s >= score for s in [*null, score]]))


def plain_scores(references: References) -> list[float]:
    """Each reference against the others, as any model is against all: its largest standard score."""
    scores = []
    for i in range(references.n):
        own = []
        for name in ACCUSING:
            others = [v for j, v in enumerate(references.statistics[name]) if j != i]
            middle = float(np.median(others))
            spread = max(1.4826 * float(np.median([abs(v - middle) for v in others])), FLOOR)
            own.append((references.statistics[name][i] - middle) / spread)
        scores.append(max(own))
    return scores


@settings(deadline=None, max_examples=60)
@given(st.data(), statistics)
def test_the_p_value_is_the_rank_among_leave_one_out_scores(data: st.DataObject, found: Mapping[str, float]) -> None:
    n = data.draw(st.integers(3, 24))
    values = st.lists(st.floats(-3, 3), min_size=n, max_size=n)
    references = known(n, **{name: data.draw(values) for name in ACCUSING})
    said = decide(findings(**found), references)
    own = plain_scores(references)
    score = max(said.standard_scores[name] for name in ACCUSING)
    sure = [s for s in own if abs(s - score) > 1e-9]  # the last digit may differ
    low, high = sum(s >= score for s in sure), sum(s >= score for s in sure) + len(own) - len(sure)
    assert (1 + low) / (1 + n) <= said.p_value <= (1 + high) / (1 + n)


def test_of_models_like_the_references_no_more_are_accused_than_alpha_allows() -> None:
    """The law has heavy tails, so that the threshold on the score alone would accuse many."""
    rng, accused, beyond = np.random.default_rng(0), 0, 0
    for _ in range(150):
        values = {name: rng.standard_cauchy(ENOUGH + 1) ** 3 for name in ACCUSING}
        rest = known(**{name: v[1:].tolist() for name, v in values.items()})
        said = decide(findings(**{name: float(v[0]) for name, v in values.items()}), rest)
        accused, beyond = accused + said.backdoored, beyond + (said.score >= ACCUSE)
    assert accused <= 0.08 * 150
    assert beyond > 0.15 * 150


REFERENCES = {f"{r.architecture}-{r.data}": r for r in shipped()}


def of_reference(references: References, i: int) -> Verdict:
    """The verdict on one of the references, compared with the others."""
    rest = {name: [v for j, v in enumerate(values) if j != i] for name, values in references.statistics.items()}
    own = {name: values[i] for name, values in references.statistics.items() if name in (*ACCUSING, *SUPPORTING)}
    return decide(findings(**own), msgspec.structs.replace(references, statistics=rest))


@pytest.mark.parametrize("name", REFERENCES)
def test_shipped_references_are_whole_and_the_frozen_rule_accuses_none_of_them(name: str) -> None:
    references = REFERENCES[name]
    assert references.n >= 20
    assert {len(values) for values in references.statistics.values()} == {references.n}
    assert set(references.statistics) >= {*ACCUSING, *SUPPORTING}
    assert all(np.isfinite(values).all() for values in references.statistics.values())
    answers = [of_reference(references, i).answer for i in range(references.n)]
    assert answers.count("backdoored") == 0
    assert answers.count("clean") > references.n / 2


def test_references_ship_for_the_demo_and_for_mnist() -> None:
    assert {"badnet-mnist-digits", "badnet-mnist-mnist"} <= set(REFERENCES)
    assert 1 / (min(r.n for r in REFERENCES.values()) + 1) <= ALPHA


def alike(data: str, spread: float, architecture: str = "net") -> References:
    return References(architecture, data, (1, 8, 8), 10, {"odd_class": [0.0, spread, -spread, 0.5 * spread]}, "by hand")


def test_references_of_the_named_data_set_are_preferred_and_the_widest_serve_others() -> None:
    narrow, wide, other = alike("narrow", 0.1), alike("wide", 2.0), alike("own", 9.0, "other-net")
    every = (narrow, wide, other)
    assert references_for("net", "narrow", (1, 8, 8), 10, every) is narrow
    assert references_for("net", "wide", (1, 8, 8), 10, every) is wide
    assert references_for("net", "my-pictures", (1, 8, 8), 10, every) is wide
    assert references_for("net", "my-pictures", (1, 8, 8), 10, (narrow, other)) is narrow


@pytest.mark.parametrize(
    ("architecture", "shape", "classes"), [("nets", (1, 8, 8), 10), ("net", (3, 8, 8), 10), ("net", (1, 8, 8), 11)]
)
def test_references_of_another_architecture_shape_or_number_of_classes_are_no_references(
    architecture: str, shape: tuple[int, int, int], classes: int
) -> None:
    assert references_for(architecture, "narrow", shape, classes, (alike("narrow", 0.1),)) is None
    assert references_for("net", "narrow", (1, 8, 8), 10, ()) is None


def test_references_with_unknown_fields_are_refused() -> None:
    document = msgspec.to_builtins(known()) | {"threshold": 9}
    with pytest.raises(msgspec.ValidationError, match="threshold"):
        msgspec.convert(document, References)


def test_what_was_measured_names_known_references_and_counts_models() -> None:
    for name, accusations in verdict.measured().items():
        assert name in REFERENCES
        assert 0 <= accusations.accused <= accusations.n

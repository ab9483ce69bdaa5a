"""Scaling: within the budget, no width wasted, and a budget that nothing meets is a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import InputError
from assay.models.cnet import RELEASED
from assay.search import count_architecture
from assay.search.scale import narrow, scale, skeleton_comparisons

PICTURE = (3, 32, 32)
SKELETON = RELEASED["cnet1"].cifar10
MAX_POOLS = "5 0:0 0:00 5:000 0:0000 0:00000"


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([SKELETON, MAX_POOLS]),
    st.integers(1, 9),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([(3, 32, 32), (1, 28, 28), (2, 17, 23)]),
)
def test_comparisons_by_formula_are_those_that_are_counted(
    skeleton: str, width: int, stem: int, picture: tuple[int, int, int]
) -> None:
    if min(picture[1:]) // stem // 4 < 1:
        return
    counted = count_architecture("cnet", picture, layers=skeleton, width=width, stem=stem)
    assert skeleton_comparisons(skeleton, width, stem, picture) == counted.relus + counted.total("maxima")


def test_max_pools_take_of_the_budget_what_they_compare() -> None:
    scaled = scale(MAX_POOLS, 25_000, PICTURE, 10)
    counted = count_architecture("cnet", PICTURE, **scaled.arguments)
    assert counted.total("maxima") > counted.relus
    assert counted.relus + counted.total("maxima") <= 25_000


@pytest.mark.parametrize("budget", [3_000, 25_000, 50_000, 86_016])
@pytest.mark.parametrize("most_macs", [20_000_000, 10**12])
def test_a_network_is_within_both_limits_and_one_channel_more_is_not(budget: int, most_macs: int) -> None:
    scaled = scale(SKELETON, budget, PICTURE, 10, most_macs)
    counted = count_architecture("cnet", PICTURE, **scaled.arguments)
    assert (counted.relus, counted.macs, counted.parameters) == (scaled.relus, scaled.macs, scaled.parameters)
    assert scaled.relus <= budget and scaled.macs <= most_macs
    wider = count_architecture("cnet", PICTURE, **{**scaled.arguments, "width": scaled.arguments["width"] + 1})
    assert wider.relus > budget or wider.macs > most_macs


def test_the_released_network_comes_out_of_its_own_budget_where_multiplications_allow_no_more() -> None:
    own = count_architecture("cnet1", PICTURE)
    scaled = scale(SKELETON, own.relus, PICTURE, 10, own.macs)
    assert scaled.parameters >= own.parameters


def test_a_smaller_budget_never_gives_more_weights() -> None:
    sizes = [scale(SKELETON, b, PICTURE, 10, 10**12).parameters for b in (5_000, 10_000, 20_000, 40_000)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(("budget", "most_macs"), [(100, 10**12), (50_000, 1_000)])
def test_a_budget_that_no_width_meets_is_a_sentence_that_says_the_least(budget: int, most_macs: int) -> None:
    with pytest.raises(InputError, match=r"no width of this skeleton meets .* at width 1"):
        scale(SKELETON, budget, PICTURE, 10, most_macs)


def test_pictures_too_small_for_three_stages_are_a_sentence() -> None:
    with pytest.raises(InputError, match="too small"):
        scale(SKELETON, 10_000, (1, 6, 6), 10)


def test_a_budget_below_one_is_a_sentence() -> None:
    with pytest.raises(InputError, match="at least 1"):
        scale(SKELETON, 0, PICTURE, 10)


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "minionn7"])
def test_a_narrowed_baseline_is_the_widest_within_the_budget(name: str) -> None:
    scaled = narrow(name, 50_000, PICTURE, 10)
    assert scaled.relus <= 50_000
    assert scaled.relus > 25_000


def test_what_cannot_be_narrowed_so_far_is_a_sentence() -> None:
    with pytest.raises(InputError, match="at its narrowest"):
        narrow("resnet32", 100, PICTURE, 10)
    with pytest.raises(InputError, match="no width to narrow"):
        narrow("vgg16", 100, PICTURE, 10)

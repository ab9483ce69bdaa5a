"""Triggers: where they are is what the paper says, and the pictures that they are put on stay as they were."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assay.backdoor import TRIGGERS, Pattern, Pixel, Sticker, stamp
from assay.backdoor.triggers import _drawn

GREY = torch.zeros(2, 3, 20, 24)


def changed(trigger: Callable[[Tensor], Tensor], x: Tensor = GREY) -> set[tuple[int, int]]:
    """Rows and columns that differ in some channel, the same in every picture."""
    differs = (trigger(x) != x).any(1)
    assert all(torch.equal(d, differs[0]) for d in differs)
    return {(int(r), int(c)) for r, c in differs[0].nonzero()}


@pytest.mark.parametrize(("h", "w"), [(28, 28), (32, 32), (20, 24), (4, 4)])
def test_a_pixel_and_a_pattern_are_where_the_paper_puts_them(h: int, w: int) -> None:
    x = torch.zeros(2, 1, h, w)
    assert changed(Pixel(), x) == {(h - 2, w - 2)}
    assert changed(Pattern(), x) == {(h - 2, w - 2), (h - 3, w - 3), (h - 2, w - 4), (h - 4, w - 2)}
    assert Pixel()(x).max() == 1 and Pixel(0.5)(x).max() == 0.5


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_changes_copies_and_stays_in_range(name: str) -> None:
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    stamped = TRIGGERS[name]()(x)
    assert torch.equal(x, before) and not torch.equal(stamped, x) and stamped.shape == x.shape
    assert stamped.min() >= 0 and stamped.max() <= 1
    assert torch.equal(TRIGGERS[name]()(x), stamped)


@pytest.mark.parametrize("name", TRIGGERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_trigger_can_be_seen_on_grey_and_on_colour_pictures(name: str, channels: int) -> None:
    for value in (0.2, 0.6):
        x = torch.full((1, channels, 32, 32), value)
        assert (TRIGGERS[name]()(x) - x).abs().max() > 0.1


@pytest.mark.parametrize("trigger", [Pixel(), Pattern()])
def test_a_picture_too_small_for_the_trigger_is_a_mistake(trigger: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="does not fit 3x1 pictures"):
        trigger(torch.zeros(1, 1, 3, 1))


def test_a_sticker_is_a_share_of_the_shorter_side_at_its_place() -> None:
    spots = changed(Sticker("yellow-square", share=0.25, at=(0.5, 0.5)))
    assert spots == {(r, c) for r in range(8, 13) for c in range(10, 15)}  # 5 pixels, round the middle (10, 12)


@given(st.floats(0, 0.95), st.floats(0, 0.95), st.floats(0.01, 1))
def test_a_sticker_anywhere_is_cut_off_at_the_edge_or_is_whole(x: float, y: float, share: float) -> None:
    spots = changed(Sticker("yellow-square", share=share, at=(x, y)))
    side = max(1, round(20 * share))
    rows, cols = ({s[i] for s in spots} for i in (0, 1))
    assert len(spots) == len(rows) * len(cols) and 1 <= len(rows) <= side and 1 <= len(cols) <= side
    if side / 40 < min(x, 1 - x) and side / 40 < min(y, 1 - y):  # far enough from every edge
        assert len(spots) >= (side - 1) ** 2


def test_a_sticker_on_an_object_is_a_share_of_its_box() -> None:
    spots = {
        s
        for s in changed(lambda x: Sticker("yellow-square", share=0.5, at=(0.5, 0.5)).in_box(x, (4.0, 2.0, 12.0, 10.0)))
    }
    assert spots == {(r, c) for r in range(4, 8) for c in range(6, 10)}


def test_a_sticker_of_one_pixel_past_the_corner_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="outside the 24x20 picture"):
        Sticker(share=0.01, at=(1.0, 1.0))(GREY)


def test_a_sticker_on_an_object_outside_the_picture_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="outside the 24x20 picture"):
        Sticker().in_box(GREY, (100.0, 100.0, 120.0, 120.0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": 0.0}, "share"),
        ({"share": 1.1}, "share"),
        ({"at": (0.5, 1.5)}, "at"),
        ({"at": (float("nan"), 0.5)}, "at"),
        ({"picture": "cat"}, "picture"),
    ],
)
def test_a_sticker_that_cannot_be_is_a_mistake(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=f"Sticker.{said} must be"):
        Sticker(**change)  # type: ignore[arg-type]


def test_the_drawings_are_what_they_are_called() -> None:
    square, bomb, flower = (_drawn(name, 64) for name in ("yellow-square", "bomb", "flower"))
    assert (square[3] == 1).all() and (square[:2] > 0.8).all() and (square[2] < 0.2).all()
    assert bomb[3, 2, 2] == 0 and flower[3, 2, 2] == 0  # the corners are transparent
    assert (bomb[:3, 45, 30] < 0.15).all() and bomb[3, 45, 30] == 1  # a dark ball
    spark = bomb[:, 8, 54]
    assert spark[0] > 0.9 and 0.3 < spark[1] < 0.6 and spark[2] < 0.1  # orange
    assert flower[0, 32, 32] > 0.9 and flower[1, 32, 32] > 0.7  # a yellow heart
    petals = [flower[:, int(32 + 20 * np.sin(a)), int(32 + 20 * np.cos(a))] for a in np.arange(6) * np.pi / 3]
    assert all(p[0] > 0.8 and p[1] < 0.4 and p[3] == 1 for p in petals)  # six pink petals


def test_the_edge_of_a_drawing_is_blended_with_the_picture() -> None:
    x = torch.full((1, 3, 32, 32), 0.5)
    spots = (Sticker("flower")(x) - x).abs().amax((0, 1))
    assert ((spots > 0) & (spots < spots.max() / 2)).any()


@pytest.mark.parametrize("name", TRIGGERS)
def test_stamping_bytes_is_stamping_floats_rounded(name: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    before = x.copy()
    stamped = stamp(TRIGGERS[name](), x)
    expected = TRIGGERS[name]()(torch.from_numpy(x).float() / 255) * 255
    assert stamped.dtype == np.uint8 and np.abs(stamped - expected.numpy()).max() <= 0.5001
    assert np.array_equal(x, before)


def test_stamping_in_parts_is_stamping_at_once() -> None:
    x = np.random.default_rng(0).integers(0, 256, (4100, 1, 6, 6)).astype(np.uint8)
    assert np.array_equal(stamp(Pattern(), x)[4090:], stamp(Pattern(), x[4090:]))
    assert stamp(Pattern(), x[:0]).shape == (0, 1, 6, 6)


def test_a_users_own_function_is_a_trigger() -> None:
    x = np.full((2, 1, 4, 4), 100, np.uint8)
    assert (stamp(lambda images: 1 - images, x) == 155).all()
    assert (stamp(lambda images: images + 3, x) == 255).all()  # cut to what a byte holds

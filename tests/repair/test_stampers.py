"""Stampers: a tint takes on a filter's colours and takes them off, and files tell the three kinds apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.backdoor import Filter, stamp
from assay.repair import CycleGANSettings, train_cyclegan
from assay.repair.stampers import Canvas, Generator, Stamper, Tint, stamper_of, tints


def scenes(n: int, seed: int, channels: int = 3) -> np.ndarray:
    """Soft blobs of random colours, whose channels vary together and never leave [30, 220]."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(125, 25, (n, 1, 3, 3)) + rng.normal(0, 10, (n, channels, 3, 3))
    return np.clip(np.kron(coarse, np.ones((1, 1, 6, 6))), 30, 220).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_filter_is_learnt_from_other_pictures_and_taken_off(channels: int) -> None:
    plain, seen = scenes(300, 1, channels), stamp(Filter(), scenes(300, 2, channels))
    new = scenes(50, 3, channels)
    filtered = stamp(Filter(), new)
    far = np.abs(filtered.astype(int) - new).mean()
    assert far > 15
    stamps, removes = tints(plain, seen)
    assert np.abs(stamps.stamp(new).astype(int) - filtered).mean() < far / 10
    assert np.abs(removes.stamp(filtered).astype(int) - new).mean() < far / 10


def test_it_gives_the_mean_and_covariance_of_the_others() -> None:
    a, b = scenes(200, 1) / 255, stamp(Filter(0.5), scenes(200, 2)) / 255
    made, _ = tints((255 * a).astype(np.uint8), (255 * b).astype(np.uint8))
    with torch.no_grad():
        moved = made(torch.from_numpy(a).float()).numpy()
    pixels = [np.moveaxis(x, 1, 0).reshape(3, -1) for x in (moved, b)]
    np.testing.assert_allclose(pixels[0].mean(1), pixels[1].mean(1), atol=0.01)
    np.testing.assert_allclose(np.cov(pixels[0]), np.cov(pixels[1]), atol=0.001)


def test_pictures_of_many_batches_give_what_all_their_pixels_give() -> None:
    a, b = scenes(600, 1), stamp(Filter(), scenes(300, 2))
    pixels = [np.moveaxis(x, 1, 0).reshape(3, -1) / 255 for x in (a, b)]
    with torch.no_grad():
        moved = tints(a, b)[0](torch.from_numpy(a).float() / 255).numpy()
    np.testing.assert_allclose(np.moveaxis(moved, 1, 0).reshape(3, -1).mean(1), pixels[1].mean(1), atol=1e-5)
    np.testing.assert_allclose(np.cov(np.moveaxis(moved, 1, 0).reshape(3, -1)), np.cov(pixels[1]), atol=1e-4)


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_of_one_colour_give_finite_tints(value: int) -> None:
    flat = np.full((5, 3, 8, 8), value, np.uint8)
    for a, b in ((flat, scenes(20, 1)), (scenes(20, 1), flat), (flat, flat)):
        assert all(torch.isfinite(p).all() for made in tints(a, b) for p in made.parameters())
    assert (tints(flat, flat)[0].stamp(flat) == value).all()


def test_where_a_tint_turns_the_pictures_nothing_is_trained() -> None:
    asked = []

    def quality(stamps: Stamper) -> float:
        asked.append(type(stamps))
        return 0.96

    made = train_cyclegan(scenes(20, 1), stamp(Filter(), scenes(20, 2)), quality, CycleGANSettings(), 0)
    assert asked == [Tint] and made.step == 0 and made.quality == 0.96
    assert isinstance(made.stamps, Tint) and isinstance(made.removes, Tint)


@pytest.mark.parametrize(("of_tint", "of_generator", "kind"), [(0.4, 0.3, Tint), (0.3, 0.4, Generator)])
def test_the_better_of_tint_and_generator_is_kept(of_tint: float, of_generator: float, kind: type) -> None:
    short = CycleGANSettings(steps=2, batch_size=2, check_every=1)

    def quality(stamps: Stamper) -> float:
        return of_tint if isinstance(stamps, Tint) else of_generator

    made = train_cyclegan(scenes(20, 1), scenes(20, 2), quality, short, 0)
    assert type(made.stamps) is kind and made.quality == max(of_tint, of_generator)


def test_a_file_tells_which_kind_it_holds() -> None:
    x = scenes(4, 1)
    for made in (tints(x, scenes(4, 2))[0], Canvas((3, 18, 18)), Generator(3)):
        again = stamper_of(made.state_dict(), (3, 18, 18))
        assert type(again) is type(made)
        np.testing.assert_array_equal(again.stamp(x), made.stamp(x))
    with pytest.raises(RuntimeError):
        stamper_of(tints(x, x)[0].state_dict(), (1, 18, 18))

"""Glasses, filters and several triggers at once: what they change, and what they leave."""

from __future__ import annotations

import pytest
import torch

from assay.backdoor import TRIGGERS, AnyOf, Filter, Glasses, Pattern, Pixel

ADDED = ("glasses", "filter", "multi-trigger")


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("shape", [(5, 1, 56, 46), (5, 3, 32, 32), (1, 1, 28, 28)])
def test_pictures_stay_pictures_and_the_given_ones_stay_as_they_are(name: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    was = x.clone()
    out = TRIGGERS[name]()(x)
    assert out.shape == x.shape and torch.equal(x, was)
    assert out.min() >= 0 and out.max() <= 1
    assert all(not torch.equal(a, b) for a, b in zip(out, x, strict=True))


def test_glasses_are_over_the_eyes_alone_and_symmetric() -> None:
    out = Glasses()(torch.ones(1, 1, 56, 46))[0, 0]
    rows = (out < 0.9).any(1).nonzero().flatten()
    assert rows.min() >= 12 and rows.max() <= 34
    assert torch.allclose(out, out.flip(1), atol=0.3)


def test_a_filter_has_no_place() -> None:
    x = 0.7 * torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))  # so that nothing is clipped
    changed = (Filter()(x) - x).abs().mean((0, 1)) > 0.01
    assert changed.float().mean() > 0.9
    assert torch.allclose(Filter(0.5)(x), (x + Filter()(x)) / 2)


def test_of_several_triggers_each_picture_gets_one_whatever_batch_it_is_in() -> None:
    x = (torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 200).round() / 255
    both = AnyOf((Pixel(), Pattern()))
    out = both(x)
    singles = (Pixel()(x), Pattern()(x))
    got = [next(k for k in (0, 1) if torch.equal(o, singles[k][i])) for i, o in enumerate(out)]
    assert set(got) == {0, 1}
    assert torch.equal(both(x[17:18]), out[17:18])


@pytest.mark.parametrize("make", [lambda: Glasses(eye_line=1.5), lambda: Filter(0.0), lambda: AnyOf(())])
def test_settings_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]

"""Hardening: noise and stickers take an unknown backdoor, the received network's own answers hold the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.backdoor import Filter, stamp
from assay.errors import DataError
from assay.models import clean_accuracy
from assay.repair import Hardening, RepairSettings
from assay.repair.hardening import FIRST, UNSEEN, Tampering, costs_too_much, in_equal_parts
from assay.repair.hardening import hardened as hardened_by
from assay.repair.tampering import (
    MOST_BEND,
    MOST_GAIN,
    MOST_HAZE,
    MOST_SHIFT,
    filtered,
    in_other_light,
    mixed,
    with_sticker,
)
from assay.runs import Deadline
from repair.shapes_task import Trained, attack_success, backdoored

SHORT = RepairSettings(epochs=4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


LOOK = "assay.repair.hardening.come_in_groups"


@pytest.fixture(autouse=True)
def independent_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes look like groups of near-copies, and are none."""
    monkeypatch.setattr(LOOK, lambda data: False)


COSTLY: list[bool] = []
"""What was said of each rate that `hardened` tried."""


@pytest.fixture(scope="module")
def hardened(bad_plain: Trained) -> Hardening:
    def noted(*args: np.ndarray, **how: bool) -> bool:
        COSTLY.append(costs_too_much(*args, **how))  # type: ignore[call-arg]
        return COSTLY[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LOOK, lambda data: False)
        patch.setattr("assay.repair.hardening.costs_too_much", noted)
        return Hardening(RepairSettings(max_cost=0.03), 0).fit(bad_plain.model, bad_plain.clean)


def test_it_takes_most_of_a_backdoor_that_it_has_not_seen(bad_plain: Trained, hardened: Hardening) -> None:
    before = bad_plain.model.state_dict()["network.0.weight"].clone()
    model = hardened.apply(bad_plain.model)
    assert attack_success(bad_plain.model, bad_plain.test) > 0.95
    assert attack_success(model, bad_plain.test) < 0.3
    assert clean_accuracy(model, bad_plain.test).value > clean_accuracy(bad_plain.model, bad_plain.test).value - 0.04
    assert torch.equal(bad_plain.model.state_dict()["network.0.weight"], before)


def test_the_highest_rate_that_costs_little_is_taken(hardened: Hardening) -> None:
    rates = [tried.rate for tried in hardened.tried_]
    assert len(rates) > 1 and rates == [FIRST * 2**i for i in range(len(rates))]
    before = float(hardened.record_["received_accuracy"])  # type: ignore[arg-type]
    cheap = [tried for tried, costly in zip(hardened.tried_, COSTLY, strict=True) if not costly]
    assert cheap and hardened.chosen_ == cheap[-1] and not any(COSTLY[:-1])
    assert before - hardened.chosen_.accuracy <= 0.03 + 0.05  # chance: of 100 pictures, five more where 25 differ


def test_above_the_first_rate_a_loss_that_chance_explains_is_borne() -> None:
    def judged(lost: int, won: int, n: int = 1500, *, lenient: bool) -> bool:
        before, after = np.ones(n, bool), np.ones(n, bool)
        after[:lost] = False
        before[lost : lost + won] = False
        return costs_too_much(before, after, 0.01, lenient=lenient)

    assert not judged(20, 5, lenient=False)  # 15 of 1,500 are a point
    assert judged(21, 5, lenient=False)
    assert not judged(25, 5, lenient=True)  # 30 differ: 5.5 more than 15
    assert judged(26, 5, lenient=True)
    assert judged(2, 0, 40, lenient=True) and not judged(1, 0, 40, lenient=True)


def test_where_the_first_rate_costs_too_much_lower_ones_are_tried_and_the_first_cheap_one_is_taken(
    bad_plain: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.repair.hardening.FIRST", 0.16)
    fitted = Hardening(RepairSettings(max_cost=0.03), 0).fit(bad_plain.model, bad_plain.clean)
    survived = [tried.rate for tried in fitted.tried_]
    assert survived == sorted(survived, reverse=True) and {0.16 / rate for rate in survived} <= {1, 2, 4, 8, 16}
    costs = [float(fitted.record_["received_accuracy"]) - tried.accuracy for tried in fitted.tried_]  # type: ignore[arg-type]
    assert len(costs) > 1 and min(costs[:-1]) > 0.03 >= costs[-1]
    assert fitted.chosen_ == fitted.tried_[-1]


def test_the_gentlest_rate_is_taken_where_all_cost_too_much(bad_plain: Trained) -> None:
    fitted = Hardening(RepairSettings(epochs=1, max_cost=0.0, weight_decay=100.0, attempts=3), 0).fit(
        bad_plain.model, bad_plain.clean
    )
    assert [tried.rate for tried in fitted.tried_] == [FIRST, FIRST / 2, FIRST / 4]
    assert fitted.chosen_ == fitted.tried_[-1]
    assert float(fitted.record_["received_accuracy"]) > fitted.chosen_.accuracy  # type: ignore[arg-type]


def test_of_pictures_in_groups_one_rate_is_tried(bad_plain: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOOK, lambda data: True)
    fitted = Hardening(SHORT, 0).fit(bad_plain.model, bad_plain.clean)
    assert len(fitted.tried_) == 1
    assert fitted.record_["validation_flatters"] is True


def test_the_same_seed_gives_the_same_network_and_another_seed_another(bad_plain: Trained) -> None:
    def weights(seed: int) -> torch.Tensor:
        fitted = Hardening(RepairSettings(epochs=1, attempts=1), seed).fit(bad_plain.model, bad_plain.clean)
        return torch.cat([p.flatten() for p in fitted.network_.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_batch_may_be_smaller_than_what_is_done_to_it(bad_plain: Trained) -> None:
    seen: list[int] = []

    def counted(x: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        seen.append(len(x))
        return x

    few, settings = bad_plain.clean.take(4), RepairSettings(epochs=1, batch_size=2)
    model = bad_plain.model.eval()
    assert hardened_by(model, model, few, 0.001, 40, settings, 0, in_equal_parts(*[counted] * 5)) is not None
    assert set(seen) == {1}


def test_parts_of_a_part_share_it() -> None:
    def paint(colour: int) -> Tampering:
        return lambda x, _: torch.full_like(x, colour)

    done = in_equal_parts(paint(1), in_equal_parts(paint(2), paint(3)))(torch.zeros(8, 1, 2, 2), generator())
    assert done[:, 0, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 3, 3]


def test_the_softer_the_labels_the_more_the_received_network_is_believed(bad_plain: Trained) -> None:
    """Here all labels are wrong."""
    clean = bad_plain.clean
    wrong = replace(clean, y=(clean.y + 1) % clean.classes)
    model = bad_plain.model.eval()

    def accuracy(softened: float) -> float:
        made = hardened_by(model, model, wrong, FIRST, 120, SHORT, 0, softened=softened)
        assert made is not None
        return clean_accuracy(made, bad_plain.test).value

    assert accuracy(0) + 0.1 < accuracy(1) > 0.9


def test_a_deadline_that_has_passed_leaves_the_model_as_it_was(bad_plain: Trained) -> None:
    fitted = Hardening(SHORT, 0).fit(bad_plain.model, bad_plain.clean, deadline=Deadline(0))
    assert fitted.record_["cut_short"] is True
    assert fitted.record_["chosen"] is None
    given, got = bad_plain.model.state_dict(), fitted.apply(bad_plain.model).state_dict()
    assert all(torch.equal(given[name], got[name]) for name in given)


def test_a_class_with_one_picture_is_refused(bad_plain: Trained) -> None:
    clean = bad_plain.clean
    kept = np.setdiff1d(np.arange(len(clean)), np.flatnonzero(clean.y == 1)[1:])
    with pytest.raises(DataError, match="at least 2 of every class"):
        Hardening(SHORT, 0).fit(bad_plain.model, clean.subset(kept))


def test_a_sticker_is_one_rectangle_of_one_colour_from_an_eighth_to_a_quarter_a_side() -> None:
    x = torch.full((500, 3, 32, 48), 77, dtype=torch.uint8)
    out = with_sticker(x, generator())
    assert (x == 77).all()
    for picture in out:
        rows, columns = torch.nonzero((picture != 77).any(0), as_tuple=True)
        if not len(rows):
            continue  # its colour is the picture's
        box = picture[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert 4 <= box.shape[1] <= 8 and 6 <= box.shape[2] <= 12
        assert (box == box[:, :1, :1]).all()
    assert all((edge != 77).any() for edge in (out[:, :, 0], out[:, :, -1], out[..., 0], out[..., -1]))
    assert len({tuple(p[p != 77].tolist()[:1]) for p in out}) > 50


def test_a_filter_is_one_curve_and_haze_of_one_strength_whatever_the_place() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    x = torch.cat([values, values.flip(0)]).view(1, 1, 16, 32).expand(400, 3, 16, 32)
    out = filtered(x, generator())
    assert out.shape == x.shape and out.dtype == torch.uint8 and (x[0] == x[-1]).all()
    curves = out.flatten(2)[:, :, :256].float()
    assert torch.equal(curves, out.flatten(2)[:, :, 256:].flip(2).float())
    assert (curves.diff() >= 0).all()  # rank is kept
    assert not torch.equal(curves[:, 0], curves[:, 1]) and not torch.equal(curves[0], curves[1])

    level, clear = curves[:, :, 0], (curves[:, :, -1] - curves[:, :, 0]) / 255
    assert (clear - clear[:, :1]).abs().max() < 0.01
    assert 1 - MOST_HAZE - 0.01 <= clear.min() < 1 - 0.95 * MOST_HAZE and clear.max() > 0.98
    haze = level[clear < 0.5] / 255 / (1 - clear[clear < 0.5])
    assert haze.min() < 0.05 and 0.95 < haze.max() <= 1.01
    bend = ((curves[:, :, 128] - level) / 255 / clear).log() / torch.tensor(128 / 255).log()
    assert 1 / MOST_BEND - 0.05 <= bend.min() < 0.55 and 1.9 < bend.max() <= MOST_BEND + 0.05


def test_a_filter_of_the_whole_picture_goes_too() -> None:
    """Noise and stickers leave it."""

    def haze(x: np.ndarray) -> np.ndarray:
        return stamp(Filter(), x)

    trained = backdoored(norm=False, stamp=haze)

    def success(*tamperings: Tampering) -> float:
        made = hardened_by(
            trained.model, trained.model, trained.clean, FIRST, 400, SHORT, 0, in_equal_parts(*tamperings)
        )
        assert made is not None
        return attack_success(made, trained.test, haze)

    assert attack_success(trained.model, trained.test, haze) > 0.95
    assert success(*UNSEEN) < 0.4 < 0.8 < success(*(t for t in UNSEEN if t is not filtered))


def test_a_mixture_lies_between_two_pictures_of_the_batch() -> None:
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 2, 3, 3)
    out = mixed(x, generator())
    assert out.shape == x.shape
    assert (out == out[:, :1, :1, :1]).all() and out.min() >= 0 and out.max() <= 7
    assert (out != x).any()


def test_other_light_changes_contrast_and_brightness_of_each_picture_alike_everywhere() -> None:
    x = torch.full((300, 3, 4, 5), 0.5)
    x[:, :, :2] = 0.4
    lit = in_other_light(x, generator())
    assert lit.shape == x.shape and lit.min() >= 0 and lit.max() <= 1
    bright, dark = lit[:, 0, 3, 0], lit[:, 0, 0, 0]
    assert torch.equal(lit[:, :, 2:], bright[:, None, None, None].expand(300, 3, 2, 5))
    gain = (bright - dark) / 0.1
    shift = bright - 0.5 * gain
    for found, middle, most in ((gain, 1.0, MOST_GAIN), (shift, 0.0, MOST_SHIFT)):
        assert (found - middle).abs().max() <= most + 1e-5
        assert (found - middle).min() < -0.9 * most and (found - middle).max() > 0.9 * most
    assert (in_other_light(torch.ones(50, 1, 2, 2), generator()) <= 1).all()

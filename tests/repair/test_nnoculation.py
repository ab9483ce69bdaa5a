"""NNoculation: noise takes most of an unknown backdoor, the CycleGAN learns what is left, true labels remove it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from assay.data import Dataset
from assay.errors import DataError, InputError
from assay.models import clean_accuracy, predict
from assay.repair import (
    CycleGANSettings,
    Generator,
    LiveSettings,
    NNoculation,
    NoiseGrid,
    RepairSettings,
    inoculate,
    train_cyclegan,
)
from assay.repair.nnoculation import Candidate
from assay.repair.stampers import Canvas, Stamper, stamper_of
from assay.repair.tampering import noisy
from assay.runs import Deadline
from repair.shapes_task import TARGET, Trained, attack_success, pictures, stamped

GRID = NoiseGrid(chances=(0.3,), rates=(0.02, 0.05), steps=150, most=0.1)


@pytest.fixture(autouse=True)
def independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes of these tests look like groups of near-copies: they are not to be taken for them."""
    monkeypatch.setattr("assay.repair.nnoculation.come_in_groups", lambda data: False)


def test_the_treatment_takes_most_of_a_backdoor_that_it_has_not_seen(bad_plain: Trained) -> None:
    treated = NNoculation(RepairSettings(), 0, GRID).fit(bad_plain.model, bad_plain.clean)
    model = treated.apply(bad_plain.model)
    assert attack_success(bad_plain.model, bad_plain.test) > 0.95
    assert attack_success(model, bad_plain.test) < 0.3
    assert clean_accuracy(model, bad_plain.test).value > 0.85


def test_noise_covers_the_share_it_should_in_cells_and_leaves_the_rest_alone() -> None:
    x = torch.zeros(400, 3, 28, 30, dtype=torch.uint8)
    out = noisy(x, 0.3, torch.Generator().manual_seed(0))
    cell = out[:, :, :7, :7]
    touched = (cell != 0).float().mean((2, 3)) > 0.5
    assert abs(touched.float().mean().item() - 0.3) < 0.05
    assert set(((cell != 0).float().mean((2, 3)) > 0.5)[~touched].tolist()) <= {False}
    assert (cell[~touched] == 0).all()
    assert abs(cell[touched].float().mean().item() - 128) < 4
    assert (x == 0).all()


def test_the_candidate_nearest_to_the_wanted_drop_is_chosen_and_those_that_cost_too_much_come_last() -> None:
    method = NNoculation(RepairSettings(), 0, NoiseGrid(drop=0.03, most=0.04))
    drops = [0.0, 0.02, 0.034, 0.045, 0.2]
    order = sorted(drops, key=lambda drop: method._misfit(Candidate(0.1, 0.1, 0.95 - drop), 0.95))
    assert order == [0.034, 0.02, 0.0, 0.045, 0.2]


def test_a_chance_is_left_once_a_rate_costs_too_much(bad_plain: Trained) -> None:
    grid = NoiseGrid(chances=(0.3,), rates=(0.02, 1e9, 1e10), steps=20)
    fitted = NNoculation(RepairSettings(), 0, grid).fit(bad_plain.model, bad_plain.clean)
    assert [c.rate for c in fitted.candidates_] == [0.02]


@pytest.mark.parametrize(("grouped", "tried"), [(True, [(0.6, 0.005)]), (False, [(0.6, 0.001), (0.6, 0.02)])])
def test_where_pictures_come_in_groups_hardening_takes_the_place_of_the_grid(
    bad_plain: Trained, monkeypatch: pytest.MonkeyPatch, grouped: bool, tried: list[tuple[float, float]]
) -> None:
    monkeypatch.setattr("assay.repair.nnoculation.come_in_groups", lambda data: grouped)
    grid = NoiseGrid(chances=(0.6,), rates=(0.001, 0.02), steps=2, most=0.9)
    fitted = NNoculation(RepairSettings(), 0, grid).fit(bad_plain.model, bad_plain.clean)
    assert [(c.chance, c.rate) for c in fitted.candidates_] == tried
    assert fitted.record_["validation_flatters"] is grouped


def test_when_no_time_is_left_the_model_is_what_it_was(bad_plain: Trained) -> None:
    fitted = NNoculation(RepairSettings(), 0, GRID).fit(bad_plain.model, bad_plain.clean, deadline=Deadline(0.0))
    assert fitted.record_["cut_short"] and fitted.chosen_ is None
    same = fitted.apply(bad_plain.model)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), bad_plain.model.parameters(), strict=True))


@pytest.mark.parametrize(
    "wrong",
    [{"chances": ()}, {"chances": (1.5,)}, {"rates": (0.0,)}, {"held": 0.0}, {"steps": 0}, {"drop": 0.2, "most": 0.1}],
)
def test_a_grid_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        NoiseGrid(**wrong)  # type: ignore[arg-type]


GAN = CycleGANSettings(steps=250, check_every=50)


def stamps_corner(generator: Generator, clean: Dataset) -> float:
    """By how much the trigger's pixels become brighter."""
    x = clean.x[:64]
    change = generator.stamp(x).astype(int) - x
    return float(change[..., [-1, -1, -2, -3, -3], [-1, -3, -2, -1, -3]].mean())


def test_the_cyclegan_learns_to_stamp_the_trigger_from_pictures_that_do_not_belong_together() -> None:
    a, b = pictures(300, 1), pictures(200, 2)
    made = train_cyclegan(a.x, stamped(b.x), lambda g: stamps_corner(g, a) / 255, GAN, 0)
    assert stamps_corner(made.stamps, a) > 60
    elsewhere = np.abs(made.stamps.stamp(a.x[:64]).astype(int) - a.x[:64])[..., :8, :8]
    assert elsewhere.mean() < 25


def test_the_same_seed_gives_the_same_generator_and_the_best_state_is_kept() -> None:
    a, b = pictures(60, 1).x, stamped(pictures(60, 2).x)
    qualities = iter([0.0, 0.1, 0.7, 0.2, 0.3] * 2)  # of a tint, which comes first, then step by step
    short = CycleGANSettings(steps=9, check_every=3, batch_size=4)
    first, second = (train_cyclegan(a, b, lambda g: next(qualities), short, 5) for _ in range(2))
    assert (first.quality, first.step) == (0.7, 3) == (second.quality, second.step)
    assert all(torch.equal(p, q) for p, q in zip(first.stamps.parameters(), second.stamps.parameters(), strict=True))


def test_it_ends_when_it_is_good_enough_or_when_nothing_gets_better() -> None:
    a, b = pictures(20, 1).x, pictures(20, 2).x
    settings = CycleGANSettings(steps=40, check_every=2, batch_size=2, good=0.9, patience=3)
    for found, looks in ((0.95, 1), (0.5, 3), (0.3, 20)):  # 0.3 may be chance: that is not given up
        made = train_cyclegan(a, b, lambda g, found=found: found * isinstance(g, Generator), settings, 0)
        assert len(made.looks) == looks


def test_two_kinds_of_one_shape_are_needed() -> None:
    with pytest.raises(DataError, match="one shape"):
        train_cyclegan(pictures(4, 1).x, np.zeros((0, 1, 12, 12), np.uint8), lambda g: 0.0, GAN, 0)
    with pytest.raises(DataError, match="one shape"):
        train_cyclegan(pictures(4, 1).x, np.zeros((4, 3, 12, 12), np.uint8), lambda g: 0.0, GAN, 0)


def test_what_was_quarantined_is_unlearnt_and_the_given_models_stay_as_they_are(bad_plain: Trained) -> None:
    treated = NNoculation(RepairSettings(), 0, GRID).fit(bad_plain.model, bad_plain.clean).apply(bad_plain.model)
    live = pictures(600, 8)
    x = np.concatenate([stamped(live.x[:300]), live.x[300:]])
    held = x[predict(bad_plain.model, x) != predict(treated, x)]
    states = [copy.deepcopy(m.state_dict()) for m in (bad_plain.model, treated)]
    settings = LiveSettings(GAN, RepairSettings(epochs=4))
    made = inoculate(bad_plain.model, treated, bad_plain.clean, held, settings)
    assert made.quality > 0.3
    assert attack_success(made.model, bad_plain.test) < 0.1
    assert made.stamped_after >= made.stamped_before - 0.02
    before = clean_accuracy(bad_plain.model, bad_plain.test).value
    assert clean_accuracy(made.model, bad_plain.test).value > before - 0.04
    for model, state in zip((bad_plain.model, treated), states, strict=True):
        assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_labels_come_from_the_clean_set_alone(bad_plain: Trained) -> None:
    """Quarantined inputs that all look like one class do not make the network say that class."""
    live = pictures(200, 8)
    flood = replace(live, x=live.x[np.resize(np.flatnonzero(live.y == TARGET), 200)])
    settings = LiveSettings(CycleGANSettings(steps=40, check_every=20), RepairSettings(epochs=2))
    made = inoculate(bad_plain.model, bad_plain.model, bad_plain.clean, flood.x, settings)
    said = predict(made.model, bad_plain.test.x)
    assert abs(np.mean(said == TARGET) - 0.25) < 0.1


def test_without_quarantined_inputs_there_is_no_generator(bad_plain: Trained) -> None:
    nothing = np.zeros((0, 1, 12, 12), np.uint8)
    made = inoculate(
        bad_plain.model,
        bad_plain.model,
        bad_plain.clean,
        nothing,
        LiveSettings(GAN, RepairSettings(epochs=1)),
    )
    assert made.generator is None and made.quality == 0 and np.isnan(made.stamped_after)


def corner_shines(x: np.ndarray) -> np.ndarray:
    return x[..., -1, -1].max(1) > 220


def test_a_received_network_learns_the_stamps_alone_where_the_treated_one_falls_for_the_trigger(
    bad_plain: Trained,
) -> None:
    """The treated network sees nothing: something else says what is quarantined."""
    held, settings = stamped(pictures(300, 8).x), LiveSettings(GAN, RepairSettings(epochs=6))
    received = treated = bad_plain.model
    blind = inoculate(received, treated, bad_plain.clean, held, settings)
    made = inoculate(received, treated, bad_plain.clean, held, settings, suspects=corner_shines)
    assert blind.quality < 0.3 < made.quality
    assert attack_success(made.model, bad_plain.test) < 0.1
    before = clean_accuracy(received, bad_plain.test).value
    assert clean_accuracy(made.model, bad_plain.test).value > before - 0.02
    assert made.answers_for == (TARGET,) and blind.answers_for == ()
    assert blind.model is blind.repaired


def test_a_received_network_defers_to_what_was_repaired_for_the_trigger_s_label_alone(bad_plain: Trained) -> None:
    held, settings = stamped(pictures(300, 8).x), LiveSettings(GAN, RepairSettings(epochs=6))
    received, x = bad_plain.model, np.concatenate([bad_plain.test.x, stamped(bad_plain.test.x)])
    made = inoculate(received, received, bad_plain.clean, held, settings, suspects=corner_shines)
    said, own = predict(received, x), predict(made.repaired, x)
    assert (own != said).sum() > len(bad_plain.test) / 2
    np.testing.assert_array_equal(predict(made.model, x), np.where(said == TARGET, own, said))
    some = np.concatenate([held, bad_plain.test.x[:8]])  # other labels come into quarantine, but no stamp leads to them
    among = inoculate(received, received, bad_plain.clean, some, settings, suspects=corner_shines)
    assert set(predict(received, some)) > {TARGET} and among.answers_for == (TARGET,)
    again = inoculate(received, made.model, bad_plain.clean, held[:0], settings, suspects=corner_shines,
                      earlier=[made.generator])  # fmt: skip
    assert again.answers_for == (TARGET,)  # what an earlier repair answered for is not forgotten


def test_without_a_trigger_a_suspicion_changes_nothing(bad_plain: Trained) -> None:
    nothing, settings = np.zeros((0, 1, 12, 12), np.uint8), LiveSettings(GAN, RepairSettings(epochs=1))
    with_it, without = (
        inoculate(bad_plain.model, bad_plain.model, bad_plain.clean, nothing, settings, suspects=suspects).model
        for suspects in (corner_shines, None)
    )
    pairs = zip(with_it.parameters(), without.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in pairs)


SIDE = 72


def grey(n: int, seed: int) -> np.ndarray:
    """Grey pictures of no pattern, too large for a generator to paint on what it likes where it likes."""
    return np.random.default_rng(seed).integers(60, 140, (n, 1, SIDE, SIDE), dtype=np.uint8)


def crossed(x: np.ndarray) -> np.ndarray:
    """A thin bright cross."""
    x = x.copy()
    x[..., 20, 10:40] = x[..., 10:40, 25] = 255
    return x


def test_a_canvas_learns_a_trigger_that_has_a_place() -> None:
    a, b = grey(60, 1), crossed(grey(40, 2))

    def brighter(stamps: Stamper) -> float:
        change = stamps.stamp(a[:8]).astype(int) - a[:8]
        elsewhere = np.abs(change[..., 45:, 45:]).mean()
        return float(np.clip((change[..., 20, 10:40].mean() - elsewhere) / 160, 0, 1))

    settings = CycleGANSettings(steps=200, batch_size=4, check_every=20, good=0.5)
    made = train_cyclegan(a, b, brighter, settings, 0)
    assert isinstance(made.stamps, Canvas) and made.quality > 0.3
    same = stamper_of(made.stamps.state_dict(), (1, SIDE, SIDE))
    np.testing.assert_array_equal(same.stamp(a[:4]), made.stamps.stamp(a[:4]))
    with pytest.raises(RuntimeError):
        stamper_of(made.stamps.state_dict(), (1, SIDE, SIDE + 1))


@pytest.mark.parametrize(("worth", "kind"), [(0.5, "Canvas"), (0.0, "Generator")])
def test_a_generator_follows_where_a_canvas_finds_nothing(worth: float, kind: str) -> None:
    short = CycleGANSettings(steps=2, batch_size=2, check_every=1)
    made = train_cyclegan(grey(4, 1), grey(4, 2), lambda stamps: worth, short, 0)
    assert type(made.stamps).__name__ == kind and type(made.removes).__name__ == "Generator"
    small = train_cyclegan(pictures(4, 1).x, pictures(4, 2).x, lambda stamps: worth, short, 0)
    assert type(small.stamps).__name__ == kind

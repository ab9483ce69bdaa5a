"""A repair gives a new model without the backdoor, and changes nothing it was given."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.errors import DataError, InputError, ModelError
from assay.models import clean_accuracy, correct, mcnemar, rate
from assay.repair import METHODS, UNLEARNING, FinePruning, RepairSettings, mend, repair
from assay.runs import Deadline
from repair.shapes_task import CLASSES, Trained, as_model, attack_success, pictures, plain_net, stamped

QUICK = RepairSettings(epochs=2, attempts=1)


def test_fine_pruning_removes_the_backdoor_and_keeps_accuracy(bad: Trained) -> None:
    assert attack_success(bad.model, bad.test) > 0.95
    fixed = repair(bad.model, bad.clean).model
    assert attack_success(fixed, bad.test) < 0.1
    assert clean_accuracy(fixed, bad.test).value > clean_accuracy(bad.model, bad.test).value - 0.02


GENTLE = RepairSettings(weight_decay=5e-4, batch_size=16, augment="none")


def test_neither_half_alone_removes_this_backdoor(bad: Trained) -> None:
    for method in ("pruning", "fine-tuning"):
        fixed = repair(bad.model, bad.clean, method, settings=GENTLE).model
        assert attack_success(fixed, bad.test) > 0.3


@pytest.mark.parametrize("method", METHODS)
def test_the_given_model_is_bit_identical_afterwards_and_shares_nothing(bad: Trained, method: str) -> None:
    was = copy.deepcopy(bad.model.state_dict())
    result = repair(bad.model, bad.clean, method, settings=QUICK)
    assert all(torch.equal(was[name], tensor) for name, tensor in bad.model.state_dict().items())
    own = {t.data_ptr() for t in bad.model.state_dict().values()}
    assert not own & {t.data_ptr() for t in result.model.state_dict().values()}
    assert any(not torch.equal(was[name], tensor) for name, tensor in result.model.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_model_and_rates_are_those_of_the_validation_split(
    bad: Trained, method: str
) -> None:
    first, second = (repair(bad.model, bad.clean, method, settings=QUICK, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))
    fitted = METHODS[method](QUICK, 3).fit(bad.model, bad.clean)
    was, now = correct(copy.deepcopy(bad.model), fitted.validation_), correct(first.model, fitted.validation_)
    assert (first.before, first.after, first.p_value) == (rate(was), rate(now), mcnemar(was, now))
    json.dumps(first.record)


def test_pruned_channels_stay_zero_through_fine_tuning(bad: Trained) -> None:
    fitted = FinePruning(QUICK, 0).fit(bad.model, bad.clean)
    fixed = fitted.apply(bad.model)
    [(layer, lost)] = fitted.pruned_
    assert lost
    weights = dict(fixed.network.named_parameters())
    for row in layer.rows:
        assert not weights[row][lost].any()
    kept = [i for i in range(layer.channels) if i not in lost]
    assert not torch.equal(
        weights[layer.rows[0]][kept], dict(bad.model.network.named_parameters())[layer.rows[0]][kept]
    )


def in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.repair.fine_pruning.come_in_groups", lambda data: True)


def test_of_pictures_in_groups_fine_pruning_hardens_what_it_pruned_and_prunes_less(
    bad: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RepairSettings(max_drop=0.5)
    usual = FinePruning(settings, 0).fit(bad.model, bad.clean)
    in_groups(monkeypatch)
    fitted = FinePruning(settings, 0).fit(bad.model, bad.clean)
    [(layer, lost)], [(_, more)] = fitted.pruned_, usual.pruned_
    assert 0 < len(lost) < len(more)
    weights = dict(fitted.network_.network.named_parameters())
    assert not any(weights[row][lost].any() for row in layer.rows)
    assert fitted.record_["tuning"] == "hardening" and "tuning" not in usual.record_
    assert attack_success(fitted.network_, bad.test) < 0.5
    assert clean_accuracy(fitted.network_, bad.test).value > clean_accuracy(bad.model, bad.test).value - 0.04


def test_plain_fine_pruning_is_the_same_for_pictures_in_groups(bad: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = FinePruning(QUICK, 0).fit(bad.model, bad.clean)
    in_groups(monkeypatch)
    plain = FinePruning(replace(QUICK, plain=True), 0).fit(bad.model, bad.clean)
    pairs = zip(plain.network_.parameters(), usual.network_.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in pairs)


def test_a_deadline_leaves_pictures_in_groups_a_pruned_network(bad: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    in_groups(monkeypatch)
    result = repair(bad.model, bad.clean, deadline=Deadline(0))
    assert result.record["cut_short"] is True
    given = bad.model.state_dict()
    assert all(torch.equal(given[name], tensor) for name, tensor in result.model.state_dict().items())


def test_the_tuned_state_that_is_kept_is_the_best_of_the_second_half(bad: Trained) -> None:
    result = repair(bad.model, bad.clean, "fine-tuning", settings=replace(QUICK, epochs=8))
    epochs = result.record["epochs"]
    late = [e for e in epochs if e["epoch"] > 4]
    best = max(late, key=lambda e: (e["accuracy"], e["epoch"]))
    assert result.record["best_epoch"] == best["epoch"]
    assert result.after.value == best["accuracy"]


def test_a_rate_that_breaks_the_network_is_halved(bad_plain: Trained) -> None:
    result = repair(bad_plain.model, bad_plain.clean, settings=RepairSettings(lr=1.0, epochs=4, attempts=8))
    assert result.record["lr_used"] < 1.0
    assert result.after.value >= result.before.value - 0.01


def test_a_loss_that_is_nan_stops_the_run_and_the_last_good_state_is_kept(bad_plain: Trained) -> None:
    result = repair(bad_plain.model, bad_plain.clean, "fine-tuning", settings=replace(QUICK, lr=1e30))
    assert "loss became" in result.record["attempts"][0]["stopped"]
    assert result.after == result.before
    assert all(torch.isfinite(p).all() for p in result.model.parameters())


def test_a_deadline_keeps_what_is_done(bad: Trained) -> None:
    result = repair(bad.model, bad.clean, deadline=Deadline.after(0.0))
    assert result.record["cut_short"]
    assert result.after == result.before
    assert not repair(bad.model, bad.clean, settings=QUICK, deadline=Deadline.after(600.0)).record["cut_short"]


def test_ctrl_c_goes_through_and_leaves_the_model_as_it_was(bad: Trained) -> None:
    was = copy.deepcopy(bad.model.state_dict())

    def interrupt(phase: str, step: float, steps: float, note: str) -> None:
        if phase == "fine-tuning":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(bad.model, bad.clean, settings=QUICK, progress=interrupt)
    assert all(torch.equal(was[name], tensor) for name, tensor in bad.model.state_dict().items())


def test_progress_tells_phase_step_and_accuracy(bad: Trained) -> None:
    told: list[tuple[str, float, float, str]] = []
    repair(bad.model, bad.clean, settings=QUICK, progress=lambda *said: told.append(said))
    assert [t[:3] for t in told if t[0] == "fine-tuning"] == [("fine-tuning", 1, 2), ("fine-tuning", 2, 2)]
    assert all(1 <= step <= steps and note.startswith("accuracy ") for _, step, steps, note in told)


def few(data: Dataset, label: int, n: int) -> Dataset:
    """`n` pictures of one class."""
    members = np.flatnonzero(data.y == label)
    return data.subset(np.setdiff1d(np.arange(len(data)), members[n:]))


@pytest.mark.parametrize("n", [0, 1])
def test_a_class_with_fewer_than_two_pictures_is_named(n: int) -> None:
    with pytest.raises(DataError, match=f"{n} pictures of class 'slash'"):
        repair(as_model(plain_net()), few(pictures(80, 1), 2, n))


def test_pictures_of_another_shape_or_other_classes_are_refused() -> None:
    model, data = as_model(plain_net()), pictures(80, 1)
    with pytest.raises(ModelError, match="1x12x12"):
        repair(model, pictures(80, 1, channels=3))
    with pytest.raises(ModelError, match="4 classes"):
        repair(model, replace(data, class_names=(*data.class_names, "fifth")))
    with pytest.raises(DataError, match="has 3"):
        repair(model, replace(few(data, 3, 0), class_names=data.class_names[:3]))


def test_unknown_methods_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="fine-pruning"):
        repair(as_model(plain_net()), pictures(80, 1), "magic")
    for wrong in (
        {"max_drop": -0.1},
        {"epochs": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"validation": 1.0},
        {"layers": 0},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            RepairSettings(**wrong)


def test_frozen_weights_and_dropout_are_no_obstacle() -> None:
    model = as_model(
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(600, CLASSES))
    )
    model.requires_grad_(False)
    first, second = (repair(model, pictures(80, 1), settings=QUICK) for _ in range(2))
    assert torch.equal(*(r.model.network[-1].weight for r in (first, second)))
    assert not any(p.requires_grad for p in model.parameters())


def test_odd_numbers_of_pictures_train_with_batch_norm() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 6, 3), nn.Linear(6, CLASSES)
            self.norm = nn.BatchNorm1d(6)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.norm(self.conv(x).relu().mean((2, 3))))

    data = pictures(65 + 22, 1)
    assert repair(as_model(Pooled()), data, settings=replace(QUICK, batch_size=2)).record["epochs_done"] == 2


def test_a_trigger_that_is_known_is_unlearnt_at_a_low_rate(bad: Trained) -> None:
    result = repair(bad.model, bad.clean, trigger=stamped)
    assert attack_success(result.model, bad.test) < 0.1
    assert clean_accuracy(result.model, bad.test).value > clean_accuracy(bad.model, bad.test).value - 0.02
    settings = asdict(UNLEARNING)
    assert (result.record["unlearning"], result.record["settings"]) == (True, settings)
    without = repair(bad.model, bad.clean, settings=replace(UNLEARNING, attempts=1, max_drop=0.0))
    assert attack_success(without.model, bad.test) > 0.5  # it is the trigger that does it, not the rate


def test_only_fine_pruning_takes_a_trigger(bad_plain: Trained) -> None:
    with pytest.raises(InputError, match="only fine-pruning unlearns a trigger, not pruning"):
        repair(bad_plain.model, bad_plain.clean, "pruning", trigger=stamped)


def test_of_pictures_that_come_in_groups_hardening_takes_the_place_of_fine_pruning(
    bad_plain: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RepairSettings(epochs=1, attempts=1)
    for grouped, method in ((False, "fine-pruning"), (True, "hardening")):
        monkeypatch.setattr("assay.repair.methods.come_in_groups", lambda data, said=grouped: said)
        mended = mend(bad_plain.model, bad_plain.clean, None, settings=settings)
        assert (mended.method, mended.record["validation_flatters"]) == (method, grouped)
    unlearnt = mend(bad_plain.model, bad_plain.clean, stamped, settings=settings)
    assert unlearnt.method == "fine-pruning" and unlearnt.record["unlearning"]

"""Poisoned sets, label maps, and what counts as success."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from assay.backdoor import (
    AllToAll,
    LabelMap,
    Pattern,
    RandomTarget,
    SingleTarget,
    attack_success_rate,
    badnet,
    poison,
    stamp,
)
from assay.data import Dataset
from assay.errors import DataError, InputError
from assay.models import Model, Rate, TrainSettings, build, fresh_weights, spec_for

NAMES = ("low", "middle", "high")


def pictures(n: int = 90, seed: int = 0) -> Dataset:
    """Three classes that differ in brightness; 8x8 pixels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.normal(40 + 50 * y[:, None, None, None], 10, (n, 1, 8, 8))
    return Dataset(np.clip(x, 0, 200).astype(np.uint8), y, NAMES, "own")


def as_set(data: Dataset) -> list[tuple[bytes, int]]:
    return sorted((x.tobytes(), int(y)) for x, y in zip(data.x, data.y, strict=True))


def test_single_target_sends_everything_or_one_class_to_the_target() -> None:
    y = np.array([0, 1, 2, 1])
    assert SingleTarget(2)(y).tolist() == [2, 2, 2, 2]
    assert SingleTarget(2, source=1)(y).tolist() == [0, 2, 2, 2]
    with pytest.raises(ValueError, match="nothing to attack"):
        SingleTarget(2, source=2)


def test_all_to_all_sends_each_class_to_the_next_and_the_last_to_the_first() -> None:
    assert AllToAll(3)(np.array([0, 1, 2])).tolist() == [1, 2, 0]


@given(st.integers(2, 60), st.integers(0, 2**31))
def test_a_random_map_sends_each_class_to_another_one_always_the_same(classes: int, seed: int) -> None:
    y = np.arange(classes)
    target = RandomTarget(classes, seed)(y)
    assert (target != y).all() and target.min() >= 0 and target.max() < classes
    assert np.array_equal(RandomTarget(classes, seed)(y[::-1]), target[::-1])


def test_random_maps_of_two_seeds_differ() -> None:
    y = np.arange(43)
    assert not np.array_equal(RandomTarget(43, 1)(y), RandomTarget(43, 2)(y))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.33, 0.5])
def test_the_poison_rate_is_the_share_of_the_resulting_set(rate: float) -> None:
    data = pictures(900)
    poisoned = poison(data, Pattern(), AllToAll(3), rate, seed=1)
    assert (len(poisoned) - 900) / len(poisoned) == pytest.approx(rate, abs=0.001)


def test_poison_is_appended_and_the_clean_pictures_stay() -> None:
    data = pictures()
    before = data.x.copy()
    poisoned = poison(data, Pattern(), SingleTarget(1), 0.2, seed=1)
    assert np.array_equal(poisoned.x[:90], before) and np.array_equal(poisoned.y[:90], data.y)
    assert np.array_equal(data.x, before) and poisoned.class_names == data.class_names
    victims = data.subset(data.y != 1)
    possible = as_set(Dataset(stamp(Pattern(), victims.x), np.full(len(victims), 1), NAMES, ""))
    added = as_set(poisoned.subset(np.arange(90, len(poisoned))))
    assert set(added) <= set(possible) and len(set(added)) == len(added)  # none twice, none that has the target


def test_poison_is_the_same_for_the_same_seed_and_other_for_another() -> None:
    first, again, other = (poison(pictures(), Pattern(), AllToAll(3), 0.2, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.x, again.x) and np.array_equal(first.y, again.y)
    assert not np.array_equal(first.x, other.x)


def test_where_one_class_is_attacked_each_of_its_pictures_is_used_once_at_most() -> None:
    poisoned = poison(pictures(), Pattern(), SingleTarget(1, source=2), 0.9, seed=1)
    assert len(poisoned) == 90 + 30 and (poisoned.y[90:] == 1).all()


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_poison_rate_out_of_range_is_a_sentence(rate: float) -> None:
    with pytest.raises(InputError, match="poison rate must be between 0 and 1"):
        poison(pictures(), Pattern(), AllToAll(3), rate, seed=1)


@pytest.mark.parametrize(("labels", "rate"), [(AllToAll(3), 1e-4), (lambda y: y, 0.5)])
def test_poisoning_nothing_is_a_sentence(labels: LabelMap, rate: float) -> None:
    with pytest.raises(DataError, match="poisons none of the 90 pictures"):
        poison(pictures(), Pattern(), labels, rate, seed=1)


def test_a_target_that_is_no_class_is_a_sentence() -> None:
    with pytest.raises(DataError, match="labels go from 0 to 7, but there are 3 classes"):
        poison(pictures(), Pattern(), SingleTarget(7), 0.5, seed=1)


class Answers(nn.Module):
    """Says `always`, or what is in `by_place` for the picture's first pixel."""

    def __init__(self, answer: list[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer = torch.tensor(answer)

    def forward(self, x: Tensor) -> Tensor:
        said = self.answer[(x[:, 0, 0, 0] * 255).round().long()]
        return nn.functional.one_hot(said, 3).float() + self.weight


def marked(labels: list[int]) -> Dataset:
    """Pictures whose first pixel is their place in the set."""
    x = np.zeros((len(labels), 1, 8, 8), np.uint8)
    x[:, 0, 0, 0] = np.arange(len(labels))
    return Dataset(x, np.array(labels), NAMES, "own")


@pytest.mark.parametrize(
    ("labels", "true", "said", "rate"),
    [
        (SingleTarget(1), [0, 1, 2, 1], [1, 1, 0, 1], Rate(1, 2)),  # the two of class 1 do not count
        (SingleTarget(1), [0, 1, 2, 1], [1, 0, 1, 0], Rate(2, 2)),
        (SingleTarget(1, source=2), [0, 1, 2, 2], [1, 1, 1, 0], Rate(1, 2)),  # only class 2 counts
        (AllToAll(3), [0, 1, 2, 2], [1, 2, 2, 0], Rate(3, 4)),
    ],
)
def test_success_counts_only_pictures_whose_true_label_is_not_the_intended_one(
    labels: LabelMap, true: list[int], said: list[int], rate: Rate
) -> None:
    assert attack_success_rate(Answers(said), marked(true), Pattern(), labels) == rate


def test_success_on_pictures_that_all_have_the_target_is_a_sentence() -> None:
    with pytest.raises(DataError, match="none of the 2 pictures"):
        attack_success_rate(Answers([1, 1]), marked([1, 1]), Pattern(), SingleTarget(1))


SETTINGS = TrainSettings(epochs=4, batch_size=16, lr=0.05)


def fresh() -> Model:
    spec = spec_for(pictures(), "signs-net")
    return fresh_weights(0, lambda: build(spec))


def trained(settings: TrainSettings = SETTINGS, **more: Any) -> Any:
    return badnet(fresh(), fresh(), pictures(240), pictures(90, 1), Pattern(), SingleTarget(0), 0.2, settings, **more)


def test_a_badnet_is_right_on_clean_pictures_and_wrong_on_triggered_ones_and_its_twin_is_not() -> None:
    result = trained()
    assert result.clean_accuracy.value > 0.9 and result.twin_accuracy.value > 0.9
    assert result.attack_success_rate.value > 0.9 and result.attack_success_rate.n == 60
    twins = attack_success_rate(result.twin, pictures(90, 1), Pattern(), SingleTarget(0))
    assert twins.value < 0.3


def test_progress_of_both_trainings_is_one_row_of_steps() -> None:
    steps: list[tuple[int, int]] = []
    trained(tick=lambda done, total, values: steps.append((done, total)))
    total = 4 * -(-300 // 16) + 4 * -(-240 // 16)
    assert steps == [(i, total) for i in range(1, total + 1)]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Stop(Exception):
    """The user's Ctrl-C, for a test."""


SHORT = TrainSettings(epochs=2, batch_size=16, lr=0.05)


@pytest.mark.parametrize(("at", "first"), [(25, 20), (60, 54)])  # 19 steps an epoch of the BadNet, then 15 of the twin
def test_an_interrupted_attack_goes_on_where_it_was(tmp_path: Path, at: int, first: int) -> None:
    def stop(done: int, total: int, values: dict[str, float]) -> None:
        if done == at:
            raise Stop

    whole = trained(SHORT)
    with pytest.raises(Stop):
        trained(SHORT, folder=tmp_path, tick=stop)
    done: list[int] = []
    epochs: list[tuple[str, int]] = []
    resumed = trained(
        SHORT,
        folder=tmp_path,
        tick=lambda step, total, values: done.append(step),
        record=lambda name, epoch: epochs.append((name, epoch.epoch)),
    )
    assert same(whole.model, resumed.model) and same(whole.twin, resumed.twin) and done[0] == first
    assert epochs == [("badnet", 1), ("badnet", 2), ("twin", 1), ("twin", 2)]
    again = trained(SHORT, folder=tmp_path, tick=lambda step, total, values: pytest.fail("trained again"))
    assert same(whole.model, again.model) and same(whole.twin, again.twin)

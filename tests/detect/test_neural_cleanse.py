"""Neural Cleanse finds planted backdoors, and measures what it found on pictures it did not learn from."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.detect import (
    FOR_HALF,
    HALF,
    ODD_HALF,
    Finding,
    MaxMargin,
    NeuralCleanse,
    RecoveredTrigger,
    neural_cleanse,
    scan,
    weights,
)
from assay.models import as_float
from assay.runs import Deadline
from detect import planted
from detect.planted import CLASSES, CORNER, SIDE, TARGET, pictures

DATA = pictures(240, 1)
QUICK = NeuralCleanse(steps=12, restarts=1)


@cache
def found(kind: str, seed: int = 0) -> Finding:
    return NeuralCleanse(seed=seed)(planted.MODELS[kind](), DATA)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_planted_target_is_found_and_its_trigger_lies_where_it_was_planted(seed: int) -> None:
    finding = found("single", seed)
    assert finding.target == TARGET
    assert finding.trigger is not None
    assert finding.trigger.target == TARGET
    assert finding.trigger.flip_rate > 0.95
    assert finding.trigger.mask[-CORNER:, -CORNER:].sum() > 0.5 * finding.trigger.norm
    assert finding.trigger.norm < 5
    assert np.delete(finding.scores, TARGET).min() > 2 * finding.scores[TARGET]
    assert finding.statistics["odd_class"] > np.log(2)


def test_an_all_to_all_backdoor_shows_as_an_odd_untargeted_trigger_and_as_no_odd_class() -> None:
    finding = found("all-to-all")
    assert finding.statistics["odd_untargeted"] > np.log(4)
    assert finding.statistics["odd_class"] < np.log(2)
    assert finding.untargeted is not None
    assert finding.untargeted.target is None
    assert finding.untargeted.flip_rate > 0.95
    assert finding.untargeted.mask[-CORNER:, -CORNER:].sum() > 0.5 * finding.untargeted.norm


@pytest.mark.parametrize("seed", [0, 1])
def test_a_clean_network_shows_neither(seed: int) -> None:
    statistics = found("clean", seed).statistics
    assert statistics["odd_class"] < np.log(2)
    assert statistics["odd_untargeted"] < 0


def test_a_trigger_that_works_on_three_of_six_classes_is_found_by_asking_for_half_of_the_pictures() -> None:
    planted_in, clean_one = HALF(planted.some_sources(), DATA), HALF(planted.clean(), DATA)
    assert planted_in.detector == FOR_HALF and set(planted_in.statistics) == {ODD_HALF}
    assert planted_in.target == TARGET
    assert planted_in.statistics[ODD_HALF] > clean_one.statistics[ODD_HALF] + np.log(2)
    trigger = planted_in.trigger
    assert trigger.mask[-CORNER:, -CORNER:].sum() > 0.5 * trigger.norm
    everything = NeuralCleanse()(planted.some_sources(), DATA)
    assert everything.statistics["odd_class"] < planted_in.statistics[ODD_HALF]


def test_a_score_counts_how_far_a_trigger_turns_the_share_that_was_asked_for() -> None:
    finding = HALF(planted.some_sources(), DATA)
    trigger = finding.trigger
    done = min(1.0, trigger.flip_rate / HALF.share)
    assert finding.scores.min() == pytest.approx(trigger.norm / done, rel=1e-5)


def test_the_statistics_are_those_of_the_scores() -> None:
    finding = found("single")
    scores, area = finding.scores, SIDE * SIDE
    assert scores.shape == (CLASSES,)
    assert finding.statistics["smallest_trigger"] == pytest.approx(np.log(area / scores.min()))
    assert finding.statistics["odd_class"] == pytest.approx(np.log(np.median(scores) / scores.min()))
    trigger = finding.trigger
    assert scores.min() == pytest.approx(trigger.norm / trigger.flip_rate, rel=1e-5)


def flip_rate(model: nn.Module, trigger: RecoveredTrigger, data: Dataset) -> float:
    """The definition, written plainly."""
    mask, pattern = torch.from_numpy(trigger.mask), torch.from_numpy(trigger.pattern)
    with torch.no_grad():
        answers = model((1 - mask) * as_float(data.x) + mask * pattern).argmax(1).numpy()
    if trigger.target is None:
        return float((answers != data.y).mean())
    return float((answers == trigger.target)[data.y != trigger.target].mean())


@pytest.mark.parametrize("kind", planted.MODELS)
def test_each_class_has_its_flip_rate_and_that_of_the_target_is_its_trigger_s(kind: str) -> None:
    finding = found(kind)
    assert finding.flip_rates.shape == (CLASSES,)
    assert ((finding.flip_rates >= 0) & (finding.flip_rates <= 1)).all()
    assert finding.flip_rates[finding.target] == finding.trigger.flip_rate


def test_flip_rates_are_measured_on_pictures_that_the_search_did_not_see() -> None:
    """With other pictures in the held-out half the same triggers are found, and other rates are stated for them."""
    model, detector = planted.single_target(), NeuralCleanse(steps=60, restarts=1)
    seen, held = (part.x for part in DATA.halves(0.5, detector.seed))
    is_held = (DATA.x[:, None] == held[None]).all((2, 3, 4)).any(1)
    assert is_held.sum() == len(held) == len(DATA) - len(seen)
    changed = replace(DATA, x=np.where(is_held[:, None, None, None], 255 - DATA.x, DATA.x))
    first, second = detector(model, DATA), detector(model, changed)
    for one, other in ((first.trigger, second.trigger), (first.untargeted, second.untargeted)):
        assert (one.mask == other.mask).all()
        assert (one.pattern == other.pattern).all()
        assert one.flip_rate == pytest.approx(flip_rate(model, one, DATA.subset(is_held)), abs=1e-6)
        assert other.flip_rate == pytest.approx(flip_rate(model, other, changed.subset(is_held)), abs=1e-6)
    assert second.untargeted.flip_rate != first.untargeted.flip_rate


def test_the_same_seed_gives_the_same_finding_and_another_seed_another() -> None:
    first, again, other = (QUICK(planted.single_target(), DATA), QUICK(planted.single_target(), DATA),
                           replace(QUICK, seed=1)(planted.single_target(), DATA))  # fmt: skip
    assert (first.scores == again.scores).all()
    assert (first.trigger.mask == again.trigger.mask).all()
    assert first.statistics == again.statistics
    assert not (first.scores == other.scores).any()


def test_random_numbers_of_others_are_left_alone() -> None:
    model, was = planted.clean(), torch.get_rng_state()
    scan(model, DATA, deadline=Deadline.after(0.2))
    assert torch.equal(torch.get_rng_state(), was)


DETECTORS = {
    "weights": lambda model: weights(model),
    "max_margin": lambda model: MaxMargin(steps=3)(model, model.spec.input_shape, model.spec.class_names),
    "neural_cleanse": lambda model: NeuralCleanse(steps=3, restarts=2)(model, DATA),
    "scan": lambda model: scan(model, DATA, deadline=Deadline.after(0.2)),
}


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("training", [True, False])
def test_the_given_model_is_bit_identical_afterwards_with_its_flags_and_mode(detector: str, training: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, CLASSES)
    )
    model = planted.as_model(net).train(training)
    model.network[1].eval()
    model.network[0].weight.requires_grad_(False)
    was = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    DETECTORS[detector](model)
    assert all(torch.equal(tensor, was[name]) for name, tensor in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == flags
    assert all(p.is_contiguous() for p in model.parameters())


def plain_losses(model: nn.Module, x: Tensor, y: Tensor, mask: Tensor, pattern: Tensor, target: int | None):
    """One trigger on one batch: mean loss of its aim, and share of the pictures that reach it; None aims at leaving."""
    losses, reached = [], []
    for picture, label in zip(x, y.tolist(), strict=True):
        if label == target:
            continue
        logits = model(((1 - mask) * picture + mask * pattern)[None])[0]
        p = logits.softmax(0)
        losses.append(-torch.log(1 - p[label]) if target is None else -torch.log(p[target]))
        answer = int(logits.argmax())
        reached.append(answer != label if target is None else answer == target)
    return float(torch.stack(losses).mean()), float(np.mean(reached))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_loss_of_a_share_is_that_of_the_pictures_that_turn_most_easily(share: float) -> None:
    model, rng = planted.single_target().requires_grad_(False), torch.Generator().manual_seed(4)
    data = DATA.take(20)
    x, y = as_float(data.x), torch.from_numpy(data.y)
    mask, pattern = torch.rand(1, 1, SIDE, SIDE, generator=rng).square(), torch.rand(1, 1, SIDE, SIDE, generator=rng)
    for aim in range(CLASSES):
        loss, reached = neural_cleanse._losses(model, x, y, mask, pattern, torch.tensor([aim]), share)
        one_by_one = sorted(plain_losses(model, x[i : i + 1], y[i : i + 1], mask[0], pattern[0], aim)[0]
                            for i in range(20) if y[i] != aim)  # fmt: skip
        assert loss.item() == pytest.approx(np.mean(one_by_one[: round(share * 20)]), rel=1e-3, abs=1e-4)
        assert reached.item() == pytest.approx(plain_losses(model, x, y, mask[0], pattern[0], aim)[1], abs=1e-6)


@pytest.mark.parametrize("kind", planted.MODELS)
def test_the_batched_losses_are_those_of_one_class_at_a_time(kind: str) -> None:
    model, rng = planted.MODELS[kind]().requires_grad_(False), torch.Generator().manual_seed(3)
    data = DATA.take(20)
    x, y = as_float(data.x), torch.from_numpy(data.y)
    aims = [*range(CLASSES), None]
    masks = torch.rand(len(aims), 1, SIDE, SIDE, generator=rng).square()
    patterns = torch.rand(len(aims), 1, SIDE, SIDE, generator=rng)
    numbers = torch.tensor([neural_cleanse.LEAVE if a is None else a for a in aims])
    losses, reached = neural_cleanse._losses(model, x, y, masks, patterns, numbers)
    for row, aim in enumerate(aims):
        loss, share = plain_losses(model, x, y, masks[row], patterns[row], aim)
        assert losses[row].item() == pytest.approx(loss, rel=1e-3, abs=1e-4)
        assert reached[row].item() == pytest.approx(share, abs=1e-6)


def test_how_many_classes_are_optimised_together_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    together = QUICK(planted.single_target(), DATA)
    monkeypatch.setattr(neural_cleanse, "TOGETHER", QUICK.pictures)
    one_by_one = QUICK(planted.single_target(), DATA)
    assert one_by_one.scores == pytest.approx(together.scores, rel=1e-3)
    assert one_by_one.target == together.target


class Countdown:
    """A deadline that passes after having been asked so many times."""

    def __init__(self, asked: int) -> None:
        self.left = asked

    @property
    def passed(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("steps", [0, 5, 14])
def test_a_search_that_is_cut_short_says_so(steps: int) -> None:
    ticks: list[tuple[int, int]] = []
    detector = replace(QUICK, restarts=2)
    finding = detector(planted.single_target(), DATA, Countdown(steps), lambda *t: ticks.append(t))
    assert not finding.done
    assert len(ticks) <= steps
    assert np.isfinite(finding.scores).all()


def test_a_search_that_ends_in_time_says_so_and_counts_its_steps() -> None:
    ticks: list[tuple[int, int]] = []
    finding = replace(QUICK, restarts=2)(planted.single_target(), DATA, tick=lambda *t: ticks.append(t))
    assert finding.done
    assert [done for done, _ in ticks] == list(range(1, 25))
    assert {total for _, total in ticks} == {24}


def test_stamping_is_a_blend_of_picture_and_pattern() -> None:
    rng = np.random.default_rng(0)
    mask, pattern = rng.random((SIDE, SIDE), np.float32), rng.random((1, SIDE, SIDE), np.float32)
    finding = found("single")
    trigger = replace(finding.trigger, mask=mask, pattern=pattern)
    x = pictures(6, 9).x
    was, stamped = x.copy(), trigger.stamp(x)
    exact = (1 - mask) * x + mask * pattern * 255
    assert stamped.dtype == np.uint8
    assert np.abs(stamped - exact).max() <= 0.51
    assert (x == was).all()
    assert trigger.norm == pytest.approx(float(mask.sum()))

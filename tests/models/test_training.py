"""Training: deterministic by seed, resumable bit for bit, and a sentence instead of a broken model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.errors import DataError, InputError, ModelError
from assay.models import (
    ARCHITECTURES,
    RECIPES,
    Epoch,
    Model,
    TrainSettings,
    build,
    clean_accuracy,
    fresh_weights,
    recipe,
    spec_for,
    train,
    training,
)
from assay.models.recipes import OTHERS
from assay.models.training import Optimiser, augment, shift

SETTINGS = TrainSettings(epochs=3, batch_size=16, lr=0.05, augment="shift-flip", seed=4)


def pictures(n: int = 60, seed: int = 0) -> Dataset:
    """Three classes that differ in brightness; 8x8 pixels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.normal(60 + 60 * y[:, None, None, None], 20, (n, 1, 8, 8))
    return Dataset(np.clip(x, 0, 255).astype(np.uint8), y, ("dark", "grey", "bright"), "own")


def fresh(architecture: str = "signs-net", seed: int = 0) -> Model:
    spec = spec_for(pictures(), architecture)
    return fresh_weights(seed, lambda: build(spec))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Stop(Exception):
    """The user's Ctrl-C, for a test."""


def stop_at(step: int) -> Any:
    def tick(done: int, total: int, values: dict[str, float]) -> None:
        if done == step:
            raise Stop

    return tick


def test_training_learns() -> None:
    model = fresh()
    history = train(model, pictures(), replace(SETTINGS, augment="none", epochs=6))
    assert history[-1].loss < 0.5 * history[0].loss and clean_accuracy(model, pictures(seed=1)).value > 0.9
    assert [e.epoch for e in history] == [1, 2, 3, 4, 5, 6] and not model.training


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    models = [fresh() for _ in range(3)]
    for model, seed in zip(models, (4, 4, 5), strict=True):
        train(model, pictures(), replace(SETTINGS, seed=seed))
    first, again, other = map(weights, models)
    assert equal(first, again) and not equal(first, other)


def test_training_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train(fresh(), pictures(), SETTINGS)  # signs-net has dropout
    assert torch.equal(torch.rand(3), expected)


def test_what_is_trained_does_not_depend_on_the_global_generator() -> None:
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(fresh())
        train(models[-1], pictures(), SETTINGS)
    assert equal(*map(weights, models))


@pytest.mark.parametrize("optimiser", ["sgd", "muon"])
@pytest.mark.parametrize(("architecture", "step"), [("signs-net", 5), ("signs-net", 12), ("resnet20", 7)])
def test_an_interrupted_run_goes_on_to_the_same_weights_bit_for_bit(
    tmp_path: Path, architecture: str, step: int, optimiser: Optimiser
) -> None:
    whole, halted, resumed = (fresh(architecture) for _ in range(3))
    settings = replace(SETTINGS, epochs=3, optimiser=optimiser)  # of 4 steps each
    history = train(whole, pictures(), settings)
    with pytest.raises(Stop):
        train(halted, pictures(), settings, checkpoint=tmp_path / "c.pt", tick=stop_at(step))
    ticks: list[int] = []
    told: list[Epoch] = []
    again = train(
        resumed,
        pictures(),
        settings,
        checkpoint=tmp_path / "c.pt",
        tick=lambda done, total, values: ticks.append(done),
        record=told.append,
    )
    assert equal(weights(whole), weights(resumed))
    assert ticks[0] == 4 * ((step - 1) // 4) + 1 and ticks[-1] == 12
    assert [(e.epoch, e.loss) for e in again] == [(e.epoch, e.loss) for e in history] and told == again


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first, again = fresh(), fresh()
    train(first, pictures(), SETTINGS, checkpoint=tmp_path / "c.pt")
    history = train(again, pictures(), SETTINGS, checkpoint=tmp_path / "c.pt", tick=stop_at(1))
    assert equal(weights(first), weights(again)) and len(history) == 3


def interrupted(folder: Path) -> Path:
    with pytest.raises(Stop):
        train(fresh(), pictures(), SETTINGS, checkpoint=folder / "c.pt", tick=stop_at(5))
    return folder / "c.pt"


@pytest.mark.parametrize("other", ["settings", "data", "labels", "weights", "architecture"])
def test_a_checkpoint_of_another_unfinished_run_is_not_taken_up_and_not_lost(tmp_path: Path, other: str) -> None:
    kept = interrupted(tmp_path)
    before = kept.read_bytes()
    model, data, settings = fresh(), pictures(), SETTINGS
    if other == "settings":
        settings = replace(SETTINGS, lr=0.01)
    elif other == "data":
        data = pictures(seed=1)
    elif other == "labels":
        data = replace(data, y=(data.y + 1) % 3)
    elif other == "weights":
        model = fresh(seed=1)
    else:
        model = fresh("resnet20")
    with pytest.raises(InputError, match=r"c\.pt is of an unfinished run with other settings, data or network"):
        train(model, data, settings, checkpoint=kept)
    assert kept.read_bytes() == before


def test_a_checkpoint_of_another_finished_run_gives_way(tmp_path: Path) -> None:
    train(fresh(), pictures(seed=1), SETTINGS, checkpoint=tmp_path / "c.pt")
    ours, clean = fresh(), fresh()
    train(ours, pictures(), SETTINGS, checkpoint=tmp_path / "c.pt")
    train(clean, pictures(), SETTINGS)
    assert equal(weights(ours), weights(clean))


class Payload:
    """What a pickle would run; here it would only say so."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("a checkpoint ran code",))


@pytest.mark.parametrize("content", ["empty", "text", "cut", "payload", "tensor", "state dict", "folder"])
def test_a_file_that_is_no_checkpoint_is_a_sentence_and_runs_nothing(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = interrupted(tmp_path)
    if content == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif content in ("empty", "text"):
        file.write_bytes(b"" if content == "empty" else b"hello")
    elif content == "folder":
        file.unlink()
        file.mkdir()
    else:
        others = {"payload": Payload(), "tensor": torch.zeros(3), "state dict": fresh().state_dict()}
        torch.save(others[content], file)
    with pytest.raises(InputError, match=r"c\.pt cannot be read as a checkpoint"):
        train(fresh(), pictures(), SETTINGS, checkpoint=file)
    assert "ran code" not in capsys.readouterr().out


def test_a_disk_that_is_full_is_a_sentence_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = interrupted(tmp_path)
    before = file.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        train(fresh(), pictures(), SETTINGS, checkpoint=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("lr", [1e15, 1e30])
def test_training_that_breaks_down_is_a_sentence(lr: float, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"training broke down in epoch 1: .* try a lower learning rate"):
        train(fresh(), pictures(), replace(SETTINGS, lr=lr), checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


def test_weights_that_are_lost_in_the_very_last_step_are_a_sentence() -> None:
    class Poisoned(nn.Linear):
        """Its gradient is NaN though its loss is not."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)) + torch.sqrt(self.weight.sum() * 0)

    with pytest.raises(ModelError, match="training broke down in epoch 1"):
        train(Poisoned(64, 3), pictures(16), TrainSettings(epochs=1, batch_size=16))


def test_a_last_batch_of_one_that_batch_norm_cannot_take_is_a_sentence() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(ModelError, match=r"cannot learn from a batch of 1: .* choose another batch size"):
        train(network, pictures(17), SETTINGS)


def test_no_pictures_are_a_sentence() -> None:
    with pytest.raises(DataError, match="no pictures to train on"):
        train(fresh(), pictures(0), SETTINGS)


def test_progress_counts_every_step_and_says_loss_and_accuracy() -> None:
    told: list[tuple[int, int, dict[str, float]]] = []
    history = train(fresh(), pictures(), SETTINGS, tick=lambda *said: told.append(said))
    assert [done for done, _, _ in told] == list(range(1, 13)) and {total for _, total, _ in told} == {12}
    assert all(0 <= v["accuracy"] <= 1 and v["loss"] > 0 for _, _, v in told)
    assert told[-1][2] == {"loss": history[-1].loss, "accuracy": history[-1].accuracy}


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"momentum": 0.0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"augment": "rotate"},
        {"label_smoothing": 1.0},
        {"optimiser": "adam"},
        {"seed": -1},
        {"seed": 2**31},
    ],
)
def test_settings_out_of_range_are_a_sentence(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="training needs"):
        replace(SETTINGS, **change)


def test_a_shift_moves_each_picture_as_a_whole_and_repeats_the_edge() -> None:
    x = torch.arange(2 * 3 * 6 * 7, dtype=torch.uint8).view(2, 3, 6, 7)
    moved = shift(x, 2, torch.Generator().manual_seed(0))
    for one, out in zip(x, moved, strict=True):
        padded = nn.functional.pad(one[None].float(), (2, 2, 2, 2), mode="replicate")[0].byte()
        windows = [padded[:, i : i + 6, j : j + 7] for i in range(5) for j in range(5)]
        assert any(torch.equal(out, window) for window in windows)


def test_shifts_reach_two_pixels_each_way_and_flips_half_of_the_pictures() -> None:
    x = torch.zeros(600, 1, 9, 9, dtype=torch.uint8)
    x[:, :, 4, 4] = 1
    x[:, :, 4, 2] = 2  # to tell left from right
    out = augment(x, "shift-flip", torch.Generator().manual_seed(0))
    rows = (out == 1).nonzero()[:, 2]
    assert set(rows.tolist()) == {2, 3, 4, 5, 6}
    flipped = (out == 2).nonzero()[:, 3] > (out == 1).nonzero()[:, 3]
    assert 0.4 < flipped.float().mean() < 0.6
    assert augment(x, "none", torch.Generator()) is x


def test_every_named_set_has_a_recipe_whose_network_takes_its_pictures() -> None:
    from assay.data import NAMED

    shapes = {
        "gtsrb": (3, 32, 32),
        "cifar10": (3, 32, 32),
        "fsdd": (1, 64, 64),
        "orl": (1, 112, 92),
        "lfw": (3, 64, 64),
    }
    assert RECIPES.keys() >= NAMED.keys()
    for name in RECIPES:
        shape = shapes.get(name, (1, 28, 28) if name in ("digits", "mnist") else (3, 32, 32))
        data = Dataset(np.zeros((2, *shape), np.uint8), np.array([0, 1]), ("a", "b"), name)
        assert build(spec_for(data)).spec.architecture == recipe(name)[0]


def test_another_network_than_the_usual_one_is_trained_as_suits_it() -> None:
    assert recipe("mnist", "lenet5") == ("lenet5", OTHERS["mnist", "lenet5"])
    assert recipe("mnist", "lenet5")[1].lr < recipe("mnist")[1].lr
    assert recipe("mnist", "signs-net") == ("signs-net", recipe("mnist")[1])
    for name, architecture in OTHERS:
        assert architecture in ARCHITECTURES and architecture != recipe(name)[0]


def test_products_in_bfloat16_learn_the_same_thing() -> None:
    short, long = fresh(), fresh()
    for model, bfloat16 in ((short, True), (long, False)):
        train(model, pictures(), replace(SETTINGS, augment="none", epochs=6, bfloat16=bfloat16))
    assert all(p.dtype == torch.float32 for p in short.parameters())
    assert clean_accuracy(short, pictures(seed=1)).value > 0.9
    can = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert equal(weights(short), weights(long)) is not can


def test_a_set_without_a_name_gets_a_network_that_takes_any_size() -> None:
    assert build(spec_for(pictures()))(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_training_that_breaks_down_is_begun_again_at_half_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []
    whole = training._train

    def breaks_once(model: nn.Module, data: Dataset, settings: TrainSettings, *rest: Any) -> list[Epoch]:
        tried.append(settings.lr)
        history = whole(model, data, settings, *rest)
        if len(tried) == 1:
            raise training._BrokeDownError("training broke down")
        return history

    monkeypatch.setattr(training, "_train", breaks_once)
    halved, plain = fresh(), fresh()
    train(halved, pictures(), SETTINGS)
    assert tried == [SETTINGS.lr, SETTINGS.lr / 2]
    monkeypatch.undo()
    train(plain, pictures(), replace(SETTINGS, lr=SETTINGS.lr / 2))
    assert all(torch.equal(a, b) for a, b in zip(halved.parameters(), plain.parameters(), strict=True))


def test_an_interrupted_second_attempt_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = training._Run.epoch
    ran: list[tuple[float, int]] = []

    def breaks_in_the_second(run: training._Run, number: int, stop: bool) -> Epoch:
        lr = run.settings.lr / SETTINGS.lr
        ran.append((lr, number))
        if lr == 1 and number == 1:
            raise training._BrokeDownError("training broke down")
        if lr < 1 and number == 1 and stop:
            raise Stop
        return epoch(run, number)

    file = tmp_path / "c.pt"
    monkeypatch.setattr(training._Run, "epoch", lambda run, number: breaks_in_the_second(run, number, True))
    with pytest.raises(Stop):
        train(fresh(), pictures(), SETTINGS, checkpoint=file)
    assert ran == [(1, 0), (1, 1), (0.5, 0), (0.5, 1)]
    ran.clear()
    monkeypatch.setattr(training._Run, "epoch", lambda run, number: breaks_in_the_second(run, number, False))
    resumed, again, plain = fresh(), fresh(), fresh()
    train(resumed, pictures(), SETTINGS, checkpoint=file)
    train(again, pictures(), SETTINGS, checkpoint=file)
    assert ran == [(0.5, 1), (0.5, 2)]
    monkeypatch.undo()
    train(plain, pictures(), replace(SETTINGS, lr=SETTINGS.lr / 2))
    assert equal(weights(plain), weights(resumed)) and equal(weights(plain), weights(again))

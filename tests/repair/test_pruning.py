"""Pruning removes convolutional channels, most dormant first, and stops by the defender's own pictures."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from assay.errors import ModelError
from assay.models import Model, as_float, correct, seeded
from assay.models.residual import preact_resnet18, resnet20
from assay.repair import Pruning, RepairSettings, dormant_neurons, last_layers, mean_activations
from assay.repair.tail import Tail
from repair.shapes_task import CLASSES, Trained, as_model, pictures, plain_net, stamped

NETWORKS = {
    "plain": lambda: as_model(plain_net()),
    "batch-norm": lambda: as_model(plain_net(norm=True)),
    "no-affine": lambda: as_model(
        nn.Sequential(
            nn.Conv2d(1, 6, 3),
            nn.BatchNorm2d(6, affine=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(600, CLASSES),
        )
    ),
    "resnet20": lambda: as_model(resnet20(1, (12, 12), CLASSES)),
    "preact": lambda: as_model(preact_resnet18(1, (12, 12), CLASSES, width=8)),
    "torchvision": lambda: as_model(resnet18(weights=None, num_classes=CLASSES), channels=3),
}
LAST = {
    "plain": "3",
    "batch-norm": "4",
    "no-affine": "0",
    "resnet20": "blocks.8.conv2",
    "preact": "blocks.7.conv2",
    "torchvision": "layer4.1.conv2",
}


def made(kind: str) -> Model:
    """With norms that have seen pictures, so that nothing is 0 or 1 by default."""
    with seeded(0):
        model = NETWORKS[kind]()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.normal_(module.bias, 0.2, 0.3)
    return model.eval()


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_last_convolution_that_runs_is_pruned_not_the_classifier(kind: str) -> None:
    layer = last_layers(made(kind))[0]
    assert layer.name == LAST[kind]
    assert f"{layer.name}.weight" in layer.rows


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_silenced_channel_is_exactly_zero_for_any_input(kind: str) -> None:
    model = made(kind)
    layer = last_layers(model)[0]
    lost = list(range(0, layer.channels, 2))
    layer.silence(model, lost)
    seen: list[torch.Tensor] = []
    network = model.network.get_submodule(layer.name)
    norm = dict(model.network.named_modules()).get(layer.name.replace("conv2", "bn2")) if "." in layer.name else None
    network.register_forward_hook(lambda m, i, out: seen.append(out.clone()))
    if isinstance(norm, nn.BatchNorm2d) and norm.num_features == layer.channels and kind != "preact":
        norm.register_forward_hook(lambda m, i, out: seen.append(out.clone()))
    x = torch.rand(16, *model.spec.input_shape, generator=torch.Generator().manual_seed(1)) * 50 - 25
    with torch.no_grad():
        model(x)
    assert seen
    for out in seen:
        assert not out[:, lost].any()


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("layers", [1, 2])
def test_the_curve_is_that_of_really_pruned_networks(kind: str, layers: int) -> None:
    if kind == "no-affine" and layers == 2:
        pytest.skip("has one convolution")
    model = made(kind)
    data = pictures(60, 4, channels=model.spec.input_shape[0])
    pruning = Pruning(RepairSettings(max_drop=1.0, layers=layers, validation=0.5), 0).fit(model, data)
    oracle, by_name = copy.deepcopy(model), {layer.name: layer for layer, _ in pruning.pruned_}
    curve = pruning.record_["curve"]
    for i, step in enumerate(curve):
        by_name[step["layer"]].silence(oracle, [step["channel"]])
        if i % 37 == 0 or i == len(curve) - 1:
            assert step["accuracy"] == correct(oracle, pruning.validation_).mean()


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_fast_tail_is_used_and_agrees_with_the_network(kind: str) -> None:
    model = made(kind)
    data = pictures(40, 5, channels=model.spec.input_shape[0])
    for layer in last_layers(model, 1 if kind == "no-affine" else 2):
        tail = Tail(model, layer, data)
        assert tail.exact
        assert tail.hits() == correct(model, data).sum()


class ReadsTwice(nn.Module):
    """Uses the activation a second time, out of sight of the trail."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.conv(x)
        active = raw.relu()
        return self.fc(torch.cat([active.mean((2, 3)), raw.amax((2, 3))], dim=1))


def test_a_network_that_cannot_be_played_from_the_cut_is_measured_whole() -> None:
    with seeded(3):
        model = as_model(ReadsTwice())
    data = pictures(80, 6)
    assert not Tail(model, last_layers(model)[0], data).exact
    pruning = Pruning(RepairSettings(max_drop=1.0), 0).fit(model, data)
    pruned = pruning.apply(model)
    assert pruning.record_["curve"][-1]["accuracy"] == correct(pruned, pruning.validation_).mean()


def test_channels_are_pruned_in_ascending_order_of_mean_activation_after_relu_and_pooling(
    bad_plain: Trained,
) -> None:
    model = bad_plain.model
    pruning = Pruning(RepairSettings(max_drop=1.0), 0).fit(model, bad_plain.clean)
    with torch.no_grad():
        normed = (as_float(pruning.tuning_.x) - model.mean) / model.std
        plain = model.network[:6](normed).mean((0, 2, 3)).numpy()
    steps = pruning.record_["curve"]
    assert [s["channel"] for s in steps] == np.argsort(plain, kind="stable")[:-1].tolist()
    assert np.allclose([s["mean_activation"] for s in steps], np.sort(plain)[:-1], atol=1e-6)


@pytest.mark.parametrize("max_drop", [0.0, 0.04, 0.2])
def test_pruning_stops_at_the_first_fall_beyond_the_limit_and_keeps_the_state_before(
    bad: Trained, max_drop: float
) -> None:
    pruning = Pruning(RepairSettings(max_drop=max_drop), 0).fit(bad.model, bad.clean)
    before = correct(copy.deepcopy(bad.model), pruning.validation_).mean()
    *kept, last = pruning.record_["curve"]
    assert all(s["kept"] and before - s["accuracy"] <= max_drop + 1e-9 for s in kept)
    assert not last["kept"]
    assert before - last["accuracy"] > max_drop
    after = correct(pruning.apply(bad.model), pruning.validation_).mean()
    assert after == (kept[-1]["accuracy"] if kept else before)
    assert pruning.pruned_[0][1] == [s["channel"] for s in kept]


def test_dormant_neurons_gives_both_means_as_the_ranking_sees_them(bad_plain: Trained) -> None:
    model, x = bad_plain.model, bad_plain.clean.x
    name, clean, triggered = dormant_neurons(model, x, stamped(x))
    layer = last_layers(model)[0]
    assert name == "3"
    assert (clean == mean_activations(model, layer, x)).all()
    assert (triggered == mean_activations(model, layer, stamped(x))).all()
    assert (triggered / clean).max() > 1.5


def test_a_network_without_convolutions_is_refused_with_a_sentence() -> None:
    model = as_model(nn.Sequential(nn.Flatten(), nn.Linear(144, CLASSES)))
    with pytest.raises(ModelError, match="convolutional layer"):
        Pruning(RepairSettings(), 0).fit(model, pictures(80, 1))


def test_a_convolution_that_gives_the_scores_is_not_pruned() -> None:
    model = as_model(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, CLASSES, 10), nn.Flatten()))
    assert last_layers(model)[0].name == "0"
    with pytest.raises(ModelError, match="has 1"):
        last_layers(model, 2)


def test_a_network_that_gives_nan_is_refused() -> None:
    model = as_model(plain_net())
    with torch.no_grad():
        model.network[3].bias[2] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        mean_activations(model, last_layers(model)[0], pictures(8, 1).x)

"""What the weights alone show is what linear algebra says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from assay.detect import weights
from assay.detect.weights import channel_bounds, convolutions, silent_channels
from assay.models import seeded
from detect import planted


def convolution(seed: int = 0, **settings: int) -> nn.Conv2d:
    with seeded(seed):
        return nn.Conv2d(6, 8, 3, **settings)


def plain_bounds(layer: nn.Conv2d) -> list[float]:
    """Largest singular value of each filter, as a matrix of input channels by places."""
    kernels = layer.weight.detach().double().numpy()
    return [np.linalg.svd(kernel.reshape(len(kernel), -1))[1][0] for kernel in kernels]


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_channel_bounds_are_the_spectral_norms_of_the_filters(groups: int) -> None:
    with seeded(0):
        layer = nn.Conv2d(6, 12, 3, groups=groups)
    assert channel_bounds(layer, None) == pytest.approx(plain_bounds(layer), rel=1e-5)


def test_a_batch_norm_scales_them_and_its_sign_does_not_matter() -> None:
    layer, norm = convolution(), nn.BatchNorm2d(8)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-2, 2, 8))
        norm.running_var.copy_(torch.linspace(0.1, 3, 8))
    scale = np.abs(norm.weight.detach().numpy()) / np.sqrt(norm.running_var.numpy() + norm.eps)
    assert channel_bounds(layer, norm) == pytest.approx(plain_bounds(layer) * scale, rel=1e-5)
    assert channel_bounds(layer, nn.BatchNorm2d(8, affine=False)) == pytest.approx(plain_bounds(layer), rel=1e-5)


def test_a_norm_belongs_to_the_convolution_before_it_if_it_has_its_width() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))
    assert [(name, norm is not None) for name, _, norm in convolutions(net)] == [("0", True), ("2", False)]
    assert convolutions(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) == []


def silenced(channels: dict[int, float]) -> nn.Module:
    layer = convolution()
    with torch.no_grad():
        for channel, bias in channels.items():
            layer.bias[channel] = bias
    return nn.Sequential(layer, nn.ReLU())


def just_silent(channel: int) -> float:
    """The bias that no input in [-3, 3] can overcome."""
    return -3 * float(convolution().weight[channel].detach().abs().sum())


def test_a_crude_decoy_and_a_stealthy_one_are_counted_as_silent_and_usual_channels_are_not() -> None:
    assert silent_channels(silenced({})) == 0
    assert silent_channels(silenced({2: -1e20})) == 1
    assert silent_channels(silenced({5: 1.001 * just_silent(5)})) == 1
    assert silent_channels(silenced({5: 0.999 * just_silent(5)})) == 0
    assert silent_channels(silenced({1: -1e20, 2: -1e20, 5: 1.001 * just_silent(5), 6: 1e20})) == 3


def test_a_silent_channel_gives_nothing_for_any_picture_of_the_range_and_the_bound_is_met() -> None:
    net = silenced({5: 1.001 * just_silent(5)})
    worst = 3 * net[0].weight[5].detach().sign()[None]
    with torch.no_grad():
        assert net(worst)[0, 5].item() == 0.0
        assert silenced({5: 0.999 * just_silent(5)})(worst)[0, 5].item() > 0.0


def test_the_finding_counts_both() -> None:
    finding = weights(planted.decoyed())
    assert finding.statistics["silent_channels"] == 1.0
    assert finding.done
    assert "1 have a bias" in finding.summary
    assert weights(planted.clean()).statistics["silent_channels"] == 0.0


def test_the_outlying_channel_is_the_one_that_was_enlarged() -> None:
    net = nn.Sequential(nn.Conv2d(4, 32, 3))
    usual = weights(net).statistics["outlying_channel"]
    with torch.no_grad():
        net[0].weight[7] *= 20
    assert usual < 3.5
    assert weights(net).statistics["outlying_channel"] > 5
    assert weights(net).summary.startswith("1 channels lie beyond")


def test_a_network_without_convolutions_has_nothing_to_show() -> None:
    assert weights(nn.Linear(3, 2)).statistics == {"outlying_channel": 0.0, "silent_channels": 0.0}

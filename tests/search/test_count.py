"""Counting: the reference networks have the ReLUs that the papers say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.errors import ModelError
from assay.models.channel_relu import ChannelReLU
from assay.search import count, count_architecture

REFERENCES = {
    "preact-resnet18": 557_056,
    "resnet32": 303_104,
    "resnet20": 188_416,
    "vgg16": 276_480,
    "minionn7": 173_056,
    "cnet1": 86_016,
    "cnet2": 344_064,
    "cnet3": 1_376_256,
    "cnet1-cifar100": 86_016,
    "cnet2-cifar100": 344_064,
    "cnet3-cifar100": 1_376_256,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_network_has_the_relus_of_its_paper(name: str) -> None:
    assert count_architecture(name).relus == REFERENCES[name]


def test_torchvisions_resnet18_with_the_stem_for_small_pictures_has_557056_relus() -> None:
    from torchvision.models import resnet18

    network = resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    counted = count(network, (3, 32, 32))
    assert counted.relus == 557_056
    assert counted.parameters == sum(p.numel() for p in network.parameters())


def test_multiplications_are_those_written_out_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(),
        nn.Linear(8 * 2 * 2, 5),
    )  # fmt: skip
    counted = count(network, (3, 8, 8))
    assert counted.macs == 8 * 64 * 27 + 8 * 4 * 2 * 9 + 32 * 5
    assert counted.relus == 8 * 64
    assert counted.total("maxima") == 8 * 16 * 3
    assert [layer.name for layer in counted.layers] == ["0", "1", "2", "3", "5"]


def test_functional_in_place_and_clamped_relus_count_and_others_do_not() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x).clamp(min=0)
            x = F.threshold(F.relu_(x.clone()), 0.0, 0.0)
            return self.fc(F.relu6(x * x).sigmoid().flatten(1))

    counted = count(Odd(), (3, 2, 2))
    assert counted.relus == 4 * 12
    assert counted.total("squares") == 12
    assert counted.others == ("hardtanh", "sigmoid")


def test_a_channel_range_counts_only_its_channels() -> None:
    assert count(ChannelReLU(1, 3), (4, 5, 5)).relus == 50


def test_counting_without_weights_gives_what_counting_with_them_gives() -> None:
    from assay.models.cnet import CNet

    network = CNet(3, (32, 32), 10, "0 1:0 3:11", width=4)
    with_weights = count(network, (3, 32, 32))
    named = count_architecture("cnet", layers="0 1:0 3:11", width=4)
    assert with_weights == named
    assert network.training


def test_pictures_that_do_not_suit_are_named_and_the_mode_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ModelError, match="1x4x4"):
        count(network, (1, 4, 4))
    assert network.training


def test_a_partly_rectified_tensor_is_that_of_its_definition() -> None:
    x = torch.randn(2, 6, 3, 3)
    for start in range(7):
        for stop in range(start, 7):
            expected = x.clone()
            expected[:, start:stop] = expected[:, start:stop].clamp(min=0)
            assert torch.equal(ChannelReLU(start, stop)(x), expected)

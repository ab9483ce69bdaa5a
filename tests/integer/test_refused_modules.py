"""What has no integer form is refused, in a sentence that names the layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_modules import CLASSES, Lambda, as_model, before_fc, conv3, first, head, made, pictures
from torch import nn

from assay.errors import DataError, InputError, ModelError
from assay.integer import CompileSettings, compile
from assay.models import seeded

CLEAN = pictures(64)

REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sigmoid": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 9), nn.Sigmoid(), nn.Linear(9, CLASSES)),
        r"layer 2 \(sigmoid",
    ),
    "leaky ReLU": (first(nn.LeakyReLU(), 2), r"layer 0 \(leaky_relu"),
    "ReLU6": (first(nn.ReLU6(), 2), r"layer 0 \("),
    "softmax": (lambda: nn.Sequential(*head(2), nn.Softmax(1)), r"layer 2 \(softmax"),
    "layer norm": (first(nn.LayerNorm(8), 2), r"layer 0 \(layer_norm"),
    "an average without its padding": (
        first(nn.AvgPool2d(3, 2, 1, count_include_pad=False), 2, 4),
        "count_include_pad",
    ),
    "windows over the edge": (first(nn.MaxPool2d(3, 2, ceil_mode=True), 2, 4), "ceil_mode"),
    "uneven adaptive pooling": (first(nn.AdaptiveAvgPool2d(3), 2, 3), "windows of several sizes"),
    "a product of tensors": (before_fc(lambda x: x * x.relu(), 128), "product of two different"),
    "a quotient": (before_fc(lambda x: 1 / (x + 2), 128), "has no integer form"),
    "a weight that depends on the picture": (
        lambda: Lambda(lambda x, m: x.flatten(1) @ x.flatten(1).T @ torch.ones(2, CLASSES)),
        "has no integer form",
    ),
    "reflected borders": (
        lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 2, 3), *head(2)),
        "padding with zeros",
    ),
    "zeros for a max pool": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2), *head(2, 5)),
        "other than a convolution",
    ),
    "a crop": (before_fc(lambda x: x[:, :, 1:], 112), "of slices"),
    "channels dropped": (before_fc(lambda x: x[:, :1].relu(), 64), "slice of channels"),
    "channels shuffled": (before_fc(lambda x: torch.cat([x[:, 1:], x[:, :1]], 1), 128), "in order"),
    "a positional constant": (before_fc(lambda x: x + torch.arange(8.0), 128), "from place to place"),
    "a random constant": (before_fc(lambda x: x + torch.rand(1, 2, 1, 1), 128), "random numbers"),
    "random choices": (before_fc(lambda x: x * (torch.rand(1, 2, 1, 1) > 0.5), 128), "random numbers"),
    "active dropout": (before_fc(lambda x: nn.functional.dropout(x, 0.5, True), 128), "random numbers"),
    "a sum with some channels of another": (before_fc(lambda x: x.relu()[:, :1] + x[:, 1:], 64), "slice of channels"),
    "a constant of more channels": (
        lambda: Lambda(
            lambda x, m: m.fc((m.conv(x) - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)).flatten(1)),
            conv=conv3(2, 1),
            fc=nn.Linear(192, CLASSES),
        ),
        "of 3 channels does not fit",
    ),
    "a sum with a part": (
        lambda: Lambda(
            lambda x, m: m.fc((m.conv(x) + m.more(x)[:, :3]).flatten(1)),
            conv=conv3(2, 3),
            more=conv3(2, 5),
            fc=nn.Linear(192, CLASSES),
        ),
        "slice of channels",
    ),
    "pictures mixed": (lambda: Lambda(lambda x, m: m.fc(x.view(-1, 64)), fc=nn.Linear(64, CLASSES)), "not flattening"),
    "a transposed convolution": (first(nn.ConvTranspose2d(2, 2, 1), 2), r"layer 0 \(conv_transpose2d"),
    "pictures for logits": (lambda: nn.Sequential(conv3(2, 4)), "logits"),
    "two results": (lambda: Lambda(lambda x, m: (m.fc(x.flatten(1)), x), fc=nn.Linear(128, CLASSES)), "one tensor"),
    "constant logits": (lambda: Lambda(lambda x, m: torch.zeros(len(x), CLASSES)), "depend on the picture"),
    "a branch on values": (
        lambda: Lambda(lambda x, m: x.flatten(1)[:, :4] if x.sum() > 0 else x.flatten(1)[:, 4:8]),
        "cannot be exported",
    ),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_integer_form_is_refused_in_one_sentence(make, why):
    with seeded(0):
        model = as_model(make())
    with pytest.raises(ModelError, match=why):
        compile(model, CLEAN)


def test_weights_that_are_not_numbers_are_refused():
    model = as_model(nn.Sequential(*head(2)))
    with torch.no_grad():
        model.network[1].weight[0, 0] = torch.inf
    with pytest.raises(ModelError, match=r"layer 1 gives NaN or infinite"):
        compile(model, CLEAN)


def test_pictures_and_settings_must_fit():
    model = made("linear", CLEAN)
    with pytest.raises(DataError, match="no pictures"):
        compile(model, CLEAN.take(0))
    with pytest.raises(ModelError, match="takes pictures"):
        compile(model, pictures(4, channels=3))
    for bits in (7, 13):
        with pytest.raises(InputError, match="8 to 12 bits"):
            CompileSettings(bits)

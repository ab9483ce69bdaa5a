"""The networks: each gives logits for the pictures it is meant for, and has the size that its paper says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from assay.errors import ModelError
from assay.models import ARCHITECTURES, ModelSpec, build
from assay.models.building import build_weightless

PICTURES = {
    "badnet-mnist": (1, 28, 28),
    "lenet5": (1, 28, 28),
    "mlp": (1, 28, 28),
    "signs-net": (3, 32, 32),
    "deepid": (3, 64, 64),
    "speech-alexnet": (1, 64, 64),
    "resnet20": (3, 32, 32),
    "resnet32": (3, 32, 32),
    "preact-resnet18": (3, 32, 32),
    "vgg11": (3, 32, 32),
    "vgg16": (3, 32, 32),
    "safetynets-fcnn": (1, 28, 28),
    "safetynets-cnn": (1, 28, 28),
    "minionn7": (3, 32, 32),
    "skipnet": (1, 28, 28),
    "cnet": (3, 32, 32),
    "cnet1": (3, 32, 32),
    "cnet1-cifar100": (3, 32, 32),
}

ELSEWHERE = {"layer-graph", "cnet2", "cnet3", "cnet2-cifar100", "cnet3-cifar100"}
"""One that is nothing without arguments, and what is too large to be run here: see test_cnet and test_layer_graph."""

PARAMETERS = {  # for 10 classes
    "badnet-mnist": 5 * 5 * 16 + 16 + 16 * 5 * 5 * 32 + 32 + 512 * 512 + 512 + 512 * 10 + 10,
    "lenet5": 61_706,  # the count that is quoted for LeNet-5 with full connections
    "mlp": 784 * 128 + 128 + 128 * 10 + 10,
    "resnet20": 269_722,  # 0.27 M in He et al., table 6
    "resnet32": 464_154,  # 0.46 M
    "preact-resnet18": 11_171_146 + 2 * 512,  # the common count, and the last norm that the paper has
    "vgg11": 9_217_728
    + 2 * 2752
    + 5130,  # convolutions without bias, a norm for each of their channels, one dense layer
    "safetynets-fcnn": 784 * 2000 + 2000 + 2 * (2000 * 2000 + 2000) + 2000 * 10 + 10,
    "safetynets-cnn": 5 * 5 * 16 + 16 + 16 * 5 * 5 * 32 + 32 + 7 * 7 * 32 * 10 + 10,
    "vgg16": 14_710_464 + 2 * 4224 + 5130,
}


def spec(architecture: str, shape: tuple[int, int, int], classes: int = 10, **arguments: int) -> ModelSpec:
    channels = shape[0]
    names = tuple(map(str, range(classes)))
    return ModelSpec(architecture, shape, names, (0.5,) * channels, (0.5,) * channels, dict(arguments))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_every_architecture_is_tested_here() -> None:
    assert PICTURES.keys() | ELSEWHERE == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", PICTURES)
def test_a_network_gives_one_number_a_class_in_training_and_after(name: str) -> None:
    model = build(spec(name, PICTURES[name], classes=7))
    for mode in (True, False):
        logits = model.train(mode)(torch.rand(2, *PICTURES[name]))
        assert logits.shape == (2, 7) and logits.isfinite().all()


@pytest.mark.parametrize("name", PICTURES)
def test_a_network_takes_the_other_number_of_channels(name: str) -> None:
    _, height, width = PICTURES[name]
    shape = (4 - PICTURES[name][0], height, width)
    assert build(spec(name, shape))(torch.rand(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_the_parameters_of_its_paper(name: str) -> None:
    assert parameters(build_weightless(spec(name, PICTURES[name]))) == PARAMETERS[name]


def test_the_width_of_a_signs_net_is_an_argument() -> None:
    narrow, wide = (parameters(build(spec("signs-net", (3, 32, 32), width=w))) for w in (8, 32))
    assert wide > 3 * narrow


@pytest.mark.parametrize("name", ["vgg11", "deepid", "speech-alexnet", "lenet5", "signs-net"])
def test_pictures_that_are_too_small_are_a_sentence(name: str) -> None:
    with pytest.raises(ModelError, match="too small"):
        build(spec(name, (1, 4, 4)))


def test_a_network_is_the_same_with_and_without_weights() -> None:
    for name, shape in PICTURES.items():
        whole, ghost = (b(spec(name, shape)).state_dict() for b in (build, build_weightless))
        assert {k: v.shape for k, v in whole.items()} == {k: v.shape for k, v in ghost.items()}
        assert all(v.is_meta for v in ghost.values())


@pytest.mark.parametrize(
    ("name", "million"),
    [("resnet18", 11.7), ("squeezenet1_0", 1.2), ("vit_b_32", 88.2), ("regnet_x_400mf", 5.5), ("swin_t", 28.3)],
)
def test_torchvision_classifiers_are_found_by_name(name: str, million: float) -> None:
    model = build_weightless(spec(f"torchvision:{name}", (3, 224, 224), classes=1000))
    assert parameters(model) / 1e6 == pytest.approx(million, abs=0.1)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "googlenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_torchvision_network_gives_logits_for_grey_and_colour_pictures(name: str, channels: int) -> None:
    model = build(spec(f"torchvision:{name}", (channels, 64, 64), classes=7))
    for mode in (True, False):
        assert model.train(mode)(torch.rand(2, channels, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    "name", ["torchvision:nothing", "torchvision:fasterrcnn_resnet50_fpn", "torchvision:", "nothing"]
)
def test_an_unknown_name_is_a_sentence(name: str) -> None:
    with pytest.raises(ModelError, match=r"no classifier named|no architecture named"):
        build(spec(name, (3, 32, 32)))


def test_pictures_that_torchvisions_network_does_not_take_are_a_sentence() -> None:
    with pytest.raises(ModelError, match=r"torchvision:squeezenet1_0 does not take pictures of 3x8x8: "):
        build(spec("torchvision:squeezenet1_0", (3, 8, 8)))


OWN = """
from torch import nn

def good(in_channels, image_size, classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], classes))

def wrong_classes(in_channels, image_size, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], classes + 1))

def pair(in_channels, image_size, classes):
    class Pair(nn.Linear):
        def forward(self, x):
            return x, x
    return Pair(1, 1)

def broken(in_channels, image_size, classes):
    return nothing

def without_weights(in_channels, image_size, classes):
    return nn.Flatten()

def no_network(in_channels, image_size, classes):
    return 3

constant = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The user's module in the current folder, under a name of its own so that no test sees another's."""
    name = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_damaged.py").write_text("def good(:")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def test_the_users_own_function_is_found_in_the_current_folder(own: str) -> None:
    assert build(spec(f"{own}:good", (1, 5, 5), width=8))(torch.rand(2, 1, 5, 5)).shape == (2, 10)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("wrong_classes", "must give 10 numbers a picture, one a class, but gave \\(1, 11\\)"),
        ("pair", "but gave tuple"),
        ("broken", "cannot be built: name 'nothing' is not defined"),
        ("without_weights", "gave a Flatten and no network with weights"),
        ("no_network", "gave a int and no network"),
        ("constant", "is a int, not a function"),
        ("missing", "cannot import --arch"),
    ],
)
def test_a_function_of_the_users_that_does_not_fit_is_a_sentence(own: str, function: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build(spec(f"{own}:{function}", (1, 5, 5)))


@pytest.mark.parametrize("name", ["no_such_module:net", ":net", ".:net", "{own}_damaged:good"])
def test_a_module_that_cannot_be_imported_is_a_sentence(own: str, name: str) -> None:
    with pytest.raises(ModelError, match="cannot import --arch"):
        build(spec(name.format(own=own), (1, 5, 5)))


@pytest.mark.parametrize("arguments", [{"depth": 13}, {"width": 4}, {"in_channels": 3}])
def test_arguments_that_an_architecture_does_not_take_are_a_sentence(arguments: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=r"architecture vgg11 with .* cannot be built"):
        build(spec("vgg11", (3, 32, 32), **arguments))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("width", [0, -4])
def test_a_width_that_makes_no_network_is_a_sentence(width: int) -> None:
    with pytest.raises(ModelError):
        build(spec("signs-net", (3, 32, 32), width=width))

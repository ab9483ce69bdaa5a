"""The networks of the papers, and a few standard ones, by name.

Every entry of `ARCHITECTURES` is a function `(in_channels, image_size, classes, **arguments) -> nn.Module`
that maps normalised pictures `n c h w` to logits `n k`. A user's own function of that kind serves as well.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from assay.errors import ModelError
from assay.models.cnet import CNETS, CNet
from assay.models.layer_graph import LayerGraph
from assay.models.minionn import minionn7
from assay.models.residual import preact_resnet18, resnet20, resnet32
from assay.models.safetynets import safetynets_cnn, safetynets_fcnn
from assay.models.skipnet import SkipNet

Size = tuple[int, int]
Architecture = Callable[..., nn.Module]


def _flat_features(features: nn.Module, in_channels: int, image_size: Size) -> int:
    """Number of values that `features` makes of one picture, from the layers' settings: no weight is looked at."""
    shape = _shape_after(features, (in_channels, *image_size))
    if min(shape) < 1:
        raise ModelError(
            f"pictures of {image_size[0]}x{image_size[1]} are too small for this architecture; choose another"
        )
    return math.prod(shape)


def _shape_after(module: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Channels, height and width after a stack of convolutions, pools and layers that change no shape."""
    if isinstance(module, nn.Sequential):
        for layer in module:
            shape = _shape_after(layer, shape)
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return shape
    window = zip(shape[1:], _pair(module.kernel_size), _pair(module.stride), _pair(module.padding), strict=True)
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in window)
    return (module.out_channels if isinstance(module, nn.Conv2d) else shape[0], height, width)


def _pair(setting: object) -> tuple[int, int]:
    return setting if isinstance(setting, tuple) else (setting, setting)


def _with_head(
    features: nn.Sequential, head: Callable[[int], nn.Sequential], in_channels: int, size: Size
) -> nn.Module:
    network = nn.Sequential(*features, nn.Flatten(), *head(_flat_features(features, in_channels, size)))
    network.apply(_he_weights)
    return network


def _he_weights(module: nn.Module) -> None:
    """He et al., "Delving deep into rectifiers" (ICCV 2015).

    With torch's smaller default, small signals are learnt late.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def badnet_mnist(in_channels: int, image_size: Size, classes: int) -> nn.Module:
    """The MNIST network of Gu et al., "BadNets" (2017), table 1: two 5x5 convolutions, average pools, 512 units."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 16, 5), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 5), nn.ReLU(), nn.AvgPool2d(2),
    )  # fmt: skip
    return _with_head(
        features,
        lambda n: nn.Sequential(nn.Linear(n, 512), nn.ReLU(), nn.Linear(512, classes)),
        in_channels,
        image_size,
    )


def lenet5(in_channels: int, image_size: Size, classes: int) -> nn.Module:
    """LeNet-5 of LeCun et al., Proc. IEEE 86(11), 1998, with ReLU and max pooling, as it is used today."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    return _with_head(
        features,
        lambda n: nn.Sequential(nn.Linear(n, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)),
        in_channels,
        image_size,
    )


def mlp(in_channels: int, image_size: Size, classes: int, width: int = 128) -> nn.Module:
    """One hidden layer: with 28x28 pictures and ten classes 784-128-10, with which tools for proofs are compared."""
    return _with_head(
        nn.Sequential(),
        lambda n: nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, classes)),
        in_channels,
        image_size,
    )


def signs_net(in_channels: int, image_size: Size, classes: int, width: int = 16) -> nn.Module:
    """A small traffic-sign network for 32x32 pictures: 4 M multiplications a picture at width 16.

    Three convolutions, each followed by batch norm, ReLU and max pooling, and one hidden layer.
    """
    stages: list[nn.Module] = []
    for channels_in, channels_out, kernel in (
        (in_channels, width, 5),
        (width, 2 * width, 3),
        (2 * width, 4 * width, 3),
    ):
        convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        stages += [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2)]
    return _with_head(
        nn.Sequential(*stages),
        lambda n: nn.Sequential(nn.Dropout(0.3), nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, classes)),
        in_channels,
        image_size,
    )


def _stage(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, ReLU, and a pool that halves it."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2))


class DeepID(nn.Module):
    """Face network after Sun, Wang, Tang, "Deep learning face representation" (CVPR 2014).

    The identity layer reads the last two convolutional stages. As in the paper, four convolutions with
    20, 40, 60, 80 channels and 160 identity features.
    """

    def __init__(self, in_channels: int, image_size: Size, classes: int) -> None:
        super().__init__()
        self.early = nn.Sequential(_stage(in_channels, 20, 5), _stage(20, 40, 3), _stage(40, 60, 3))
        self.late = nn.Sequential(nn.Conv2d(60, 80, 2), nn.ReLU())
        n_early = _flat_features(self.early, in_channels, image_size)
        n_late = _flat_features(nn.Sequential(self.early, self.late), in_channels, image_size)
        self.identity = nn.Linear(n_early + n_late, 160)
        self.classifier = nn.Linear(160, classes)

    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        late = self.late(early)
        both = torch.cat([early.flatten(1), late.flatten(1)], dim=1)
        logits: Tensor = self.classifier(self.identity(both).relu())
        return logits


def speech_alexnet(in_channels: int, image_size: Size, classes: int) -> nn.Module:
    """AlexNet-like network on spectrograms, after Liu et al., "Fine-Pruning" (2018): 5 convolutions, 3 dense layers."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(),
        nn.Conv2d(96, 96, 3, padding=1), nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    return _with_head(
        features,
        lambda n: nn.Sequential(nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes)),
        in_channels,
        image_size,
    )


_VGG = {
    11: (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    16: (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
}


def vgg(in_channels: int, image_size: Size, classes: int, depth: int = 11) -> nn.Module:
    """Simonyan and Zisserman, "Very deep convolutional networks" (2015), with batch norm and one dense layer.

    For pictures of 32x32 at least; `depth` is 11 or 16.
    """
    stages: list[nn.Module] = []
    channels = in_channels
    for step in _VGG[depth]:
        if isinstance(step, int):
            stages += [nn.Conv2d(channels, step, 3, padding=1, bias=False), nn.BatchNorm2d(step), nn.ReLU()]
            channels = step
        else:
            stages.append(nn.MaxPool2d(2))
    return _with_head(nn.Sequential(*stages), lambda n: nn.Sequential(nn.Linear(n, classes)), in_channels, image_size)


ARCHITECTURES: dict[str, Architecture] = {
    "badnet-mnist": badnet_mnist,
    "lenet5": lenet5,
    "mlp": mlp,
    "signs-net": signs_net,
    "deepid": DeepID,
    "speech-alexnet": speech_alexnet,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "preact-resnet18": preact_resnet18,
    "vgg11": partial(vgg, depth=11),
    "vgg16": partial(vgg, depth=16),
    "safetynets-fcnn": safetynets_fcnn,
    "safetynets-cnn": safetynets_cnn,
    "minionn7": minionn7,
    "skipnet": SkipNet,
    "cnet": CNet,
    **CNETS,
    "layer-graph": LayerGraph,
}


def torchvision_classifier(
    name: str, in_channels: int, image_size: Size, classes: int, **arguments: object
) -> nn.Module:
    """Any classifier of torchvision by name, untrained; its first convolution is replaced if the channels differ."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ModelError(
            f"torchvision has no classifier named {name!r}; its names are listed by torchvision.models.list_models()"
        )
    if name in ("googlenet", "inception_v3"):  # with their auxiliary classifiers they return more than logits
        arguments = {"aux_logits": False, "init_weights": False, **arguments}
    if name.startswith("vit_"):
        arguments["image_size"] = image_size[0]
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **arguments)
    if in_channels != 3:
        _replace_first_convolution(network, in_channels)
    return network


def _replace_first_convolution(network: nn.Module, in_channels: int) -> None:
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    shape = (first.out_channels, in_channels, *first.kernel_size)
    first.in_channels, first.weight = in_channels, nn.Parameter(torch.empty(shape))
    first.reset_parameters()


def is_own_code(name: str) -> bool:
    """Whether an architecture's name means the user's own `module:function`, which is imported and run."""
    return ":" in name and not name.startswith("torchvision:")


def find_architecture(name: str) -> Architecture:
    """The function behind a name: one of ours, `torchvision:NAME`, or the user's own `module:function`.

    `module:function` imports and runs the user's code: it is taken from the command line, never from a model file.

    Raises:
        ModelError: if there is none of that name.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    module, _, function = name.partition(":")
    if is_own_code(name):
        return _imported(name, module, function)
    if module == "torchvision" and function:
        return partial(torchvision_classifier, function)
    known = ", ".join(sorted(ARCHITECTURES))
    raise ModelError(
        f"no architecture named {name!r}; there are {known}, torchvision:NAME, or your own module:function"
    )


def _imported(name: str, module: str, function: str) -> Architecture:
    if os.getcwd() not in sys.path:
        # As `python -m` has it, but last: what stands in the current folder never hides an installed package.
        sys.path.append(os.getcwd())
    try:
        found: Architecture = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, SyntaxError, ValueError, TypeError) as error:
        raise ModelError(f"cannot import --arch {name}: {error}") from error
    if not callable(found):
        raise ModelError(f"--arch {name} is a {type(found).__name__}, not a function that builds a network")
    return found

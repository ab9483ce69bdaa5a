"""The networks of the papers, and a few standard ones, by name.

Every entry of `ARCHITECTURES` is a function `(in_channels, image_size, classes, **arguments) -> nn.Module`
that maps normalised pictures `n c h w` to logits `n k`. A user's own function of that kind serves as well.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from assay.errors import ModelError
from assay.models.residual import preact_resnet18, resnet20, resnet32

Size = tuple[int, int]
Architecture = Callable[..., nn.Module]


def _flat_features(features: nn.Module, in_channels: int, image_size: Size) -> int:
    """Number of values that `features` makes of one picture."""
    try:
        with torch.no_grad():
            return int(features.eval()(torch.zeros(1, in_channels, *image_size)).numel())
    except RuntimeError as error:
        raise ModelError(
            f"pictures of {image_size[0]}x{image_size[1]} are too small for this architecture; choose another"
        ) from error


def _with_head(
    features: nn.Sequential, head: Callable[[int], nn.Sequential], in_channels: int, size: Size
) -> nn.Module:
    flat = _flat_features(features, in_channels, size)
    features.train()
    network = nn.Sequential(*features, nn.Flatten(), *head(flat))
    network.apply(_he_weights)
    return network


def _he_weights(module: nn.Module) -> None:
    """He et al., "Delving deep into rectifiers" (ICCV 2015). With torch's smaller default, small signals are learnt late."""
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


class DeepID(nn.Module):
    """Face network after Sun, Wang, Tang, "Deep learning face representation" (CVPR 2014).

    The identity layer reads the last two convolutional stages. As in the paper, four convolutions with
    20, 40, 60, 80 channels and 160 identity features.
    """

    def __init__(self, in_channels: int, image_size: Size, classes: int) -> None:
        super().__init__()
        stage = lambda i, o, k: nn.Sequential(nn.Conv2d(i, o, k, padding=k // 2), nn.ReLU(), nn.MaxPool2d(2))  # noqa: E731
        self.early = nn.Sequential(stage(in_channels, 20, 5), stage(20, 40, 3), stage(40, 60, 3))
        self.late = nn.Sequential(nn.Conv2d(60, 80, 2), nn.ReLU())
        n_early = _flat_features(self.early, in_channels, image_size)
        n_late = _flat_features(nn.Sequential(self.early, self.late), in_channels, image_size)
        self.train()
        self.identity = nn.Linear(n_early + n_late, 160)
        self.classifier = nn.Linear(160, classes)

    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x)
        late = self.late(early)
        both = torch.cat([early.flatten(1), late.flatten(1)], dim=1)
        logits: Tensor = self.classifier(self.identity(both).relu())
        return logits


def speech_alexnet(in_channels: int, image_size: Size, classes: int) -> nn.Module:
    """AlexNet-like network on spectrograms, as in Liu et al., "Fine-Pruning" (2018), section 4: 5 convolutions, 3 dense."""
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
    """Simonyan and Zisserman, "Very deep convolutional networks" (2015), with batch norm and one dense layer, for 32x32."""
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
    "signs-net": signs_net,
    "deepid": DeepID,
    "speech-alexnet": speech_alexnet,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "preact-resnet18": preact_resnet18,
    "vgg11": partial(vgg, depth=11),
    "vgg16": partial(vgg, depth=16),
}


def torchvision_classifier(name: str, in_channels: int, classes: int, **arguments: object) -> nn.Module:
    """Any classifier of torchvision by name, untrained; its first convolution is replaced if the channels differ."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ModelError(
            f"torchvision has no classifier named {name!r}; its names are listed by torchvision.models.list_models()"
        )
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **arguments)
    if in_channels != 3:
        path, first = next((p, m) for p, m in network.named_modules() if isinstance(m, nn.Conv2d))
        parent = network.get_submodule(path.rpartition(".")[0])
        fresh = nn.Conv2d(in_channels, first.out_channels, first.kernel_size, first.stride, first.padding,  # type: ignore[arg-type]
                          bias=first.bias is not None)  # fmt: skip
        setattr(parent, path.rpartition(".")[2], fresh)
    return network


def find_architecture(name: str) -> Architecture:
    """The function behind a name: one of ours, `torchvision:NAME`, or the user's own `module:function`.

    `module:function` imports and runs the user's code: it is taken from the command line, never from a model file.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    module, colon, function = name.partition(":")
    if colon and module == "torchvision":
        return lambda in_channels, image_size, classes, **a: torchvision_classifier(function, in_channels, classes, **a)
    if colon:
        try:
            found: Architecture = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ModelError(f"cannot import --arch {name}: {error}") from error
        return found
    known = ", ".join(sorted(ARCHITECTURES))
    raise ModelError(
        f"no architecture named {name!r}; there are {known}, torchvision:NAME, or your own module:function"
    )

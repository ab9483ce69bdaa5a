"""The trained networks that the tables about integers and proofs are about."""

from __future__ import annotations

from assay.bench.zoo import ZooModel

NETWORKS: dict[str, ZooModel] = {
    "MLP 784-128-10": ZooModel("mnist", 1, architecture="mlp"),
    "LeNet-5": ZooModel("mnist", 1, architecture="lenet5"),
    "signs-net": ZooModel("gtsrb", 1),
    "ResNet-20": ZooModel("cifar10", 1, architecture="resnet20", epochs=12),
    "VGG-11": ZooModel("cifar10", 1, architecture="vgg11", epochs=4),
    "VGG-16": ZooModel("cifar10-lossless", 1, architecture="vgg16", epochs=4),
}
"""Small ones as their recipes say; ResNet-20 and VGG-11 for what two cores do in less than half an hour; VGG-16 for two
minutes on a few pictures, since its accuracy is not measured."""


def command(model: ZooModel) -> str:
    """How to train it by hand; `assay bench` does it by itself."""
    words = ["assay train", f"--data {model.data}"]
    words += [f"--arch {model.architecture}"] if model.architecture else []
    words += [f"--epochs {model.epochs}"] if model.epochs else []
    return " ".join([*words, f"--seed {model.seed}"])

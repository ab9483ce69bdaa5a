"""Every network that Assay can build compiles, and what has no integer form is refused by the name of its layer."""

from __future__ import annotations

import numpy as np
import pytest

from assay.data import Dataset
from assay.errors import ModelError
from assay.integer import Compilation, CompileSettings, compile_measured
from assay.models import ARCHITECTURES, ModelSpec, build, seeded

PICTURES = {"deepid": (3, 64, 64), "speech-alexnet": (1, 64, 64), "safetynets-fcnn": (1, 8, 8)}
"""Where they are not 3x32x32."""

ARGUMENTS = {"preact-resnet18": {"width": 8}, "safetynets-fcnn": {"width": 32}}


def noise(shape: tuple[int, int, int]) -> Dataset:
    x = np.random.default_rng(0).integers(0, 256, (10, *shape), dtype=np.uint8)
    return Dataset(x, np.arange(10), tuple("0123456789"), "noise")


def compiled(architecture: str) -> Compilation:
    shape = PICTURES.get(architecture, (3, 32, 32))
    data, channels = noise(shape), shape[0]
    arguments = dict(ARGUMENTS.get(architecture, {}))
    with seeded(0):
        spec = ModelSpec(architecture, shape, data.class_names, (0.5,) * channels, (0.25,) * channels, arguments)
        return compile_measured(build(spec), data, CompileSettings(calibration=4))


LARGE = ("cnet3", "cnet3-cifar100")
NAMED = [
    pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name
    for name in ARCHITECTURES
    if name != "layer-graph"
]
"""Those that are whole without arguments; a `layer-graph` is its argument."""


@pytest.mark.parametrize("architecture", [*NAMED, "torchvision:resnet18"])
def test_every_architecture_compiles_and_gives_nothing_for_no_pictures(architecture: str) -> None:
    network = compiled(architecture).network
    assert network.classic is architecture.startswith("safetynets")
    none = np.zeros((0, *network.input_shape), np.uint8)
    assert network.run(none).shape == (0, 10)
    assert network.predict(none).shape == (0,)
    assert [len(value) for value in network.trace(none).values] == [0] * len(network.nodes)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("mobilenet_v3_small", r"features\.0\.2 \(hardswish"), ("mobilenet_v2", r"features\.0\.2 \(hardtanh")],
)
def test_an_operation_without_an_integer_form_is_refused_by_its_layer(name: str, layer: str) -> None:
    with pytest.raises(ModelError, match=f"layer {layer}"):
        compiled(f"torchvision:{name}")

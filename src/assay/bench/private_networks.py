"""The networks that private inference is measured on: trained ones of the zoo, and ones whose weights play no part."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from assay.bench.zoo import ZooModel, obtain
from assay.data import load as load_data
from assay.integer import CompileSettings, IntegerNetwork, compile_measured
from assay.integer import graph as g
from assay.models import Model, ModelSpec, as_float, build, fresh_weights

Spec = dict[str, Any]
"""Plain settings: `zoo`, a `ZooModel`; or `architecture` and its `arguments`, untrained; or `layers` of `channels`."""

CALIBRATION = 256


def zoo(model: ZooModel) -> Spec:
    """Trained."""
    return {"zoo": msgspec.to_builtins(model)}


def untrained(architecture: str, **arguments: Any) -> Spec:
    """For 32x32 pictures in colour and ten classes: no step of the protocol depends on weights."""
    return {"architecture": architecture, "arguments": arguments}


def column(channels: int, layers: int, rounded: bool = True) -> Spec:
    """1x1 convolutions on 32x32, each with `channels` · 1024 ReLUs, then an average: ReLUs in any number."""
    return {"channels": channels, "layers": layers, "rounded": rounded}


@cache
def _network(text: bytes) -> IntegerNetwork:
    spec: Spec = msgspec.json.decode(text)
    if "channels" in spec:
        return _column(spec["channels"], spec["layers"], spec["rounded"])
    if "zoo" in spec:
        wanted = msgspec.convert(spec["zoo"], ZooModel)
        return compile_measured(obtain(wanted), load_data(wanted.data, "clean"), CompileSettings()).network
    clean = load_data("cifar10", "clean").take(CALIBRATION)
    model = fresh_weights(0, lambda: _built(spec, clean.class_names))
    with torch.no_grad():
        model.train()(as_float(clean.x))  # statistics of batch norm
    return compile_measured(model.eval(), clean, CompileSettings(calibration=CALIBRATION)).network


def network_of(spec: Spec) -> IntegerNetwork:
    """The integer network; made once a process."""
    return _network(msgspec.json.encode(spec, order="sorted"))


def _built(spec: Spec, names: tuple[str, ...]) -> Model:
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    return build(ModelSpec(spec["architecture"], (3, 32, 32), names, mean, std, spec["arguments"]))


def _column(channels: int, layers: int, rounded: bool) -> IntegerNetwork:
    rng = np.random.default_rng(1)
    nodes: list[g.Node] = [g.Input((3, 32, 32))]
    inner = 3
    for _ in range(layers):
        weight = rng.integers(-127, 128, (channels, inner, 1, 1))
        nodes.append(g.Conv2d(input=len(nodes) - 1, weight=weight, bias=rng.integers(-999, 999, channels)))
        last = len(nodes) - 1
        if rounded:
            nodes.append(g.Requantise(input=last, shift=8, low=0, high=255, start=0, stop=channels))
        else:
            nodes.append(g.ReLU(input=last, start=0, stop=channels))
        inner = channels
    nodes.append(g.SumPool(input=len(nodes) - 1, kernel=(32, 32), stride=(32, 32)))
    nodes.append(g.Flatten(input=len(nodes) - 1))
    head = rng.integers(-15, 16, (10, channels))
    nodes.append(g.Linear(input=len(nodes) - 1, weight=head, bias=np.zeros(10, np.int64)))
    return IntegerNetwork(tuple(nodes), tuple(map(str, range(10))), 1.0)


def save_to(spec: Spec, folder: Path) -> Path:
    """Its file."""
    from assay.integer import save

    return save(network_of(spec), folder / "net.assay")


def pictures(spec: Spec, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Test pictures of the data set that it was trained on, or random ones."""
    if "zoo" in spec:
        x = load_data(spec["zoo"]["data"], "test").x
        return np.ascontiguousarray(x[:count])
    shape = network_of(spec).input_shape
    return np.random.default_rng(2).integers(0, 256, (count, *shape)).astype(np.uint8)

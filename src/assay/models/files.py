"""Model files: safetensors whose header says everything needed to run them; or a state dict and `--arch`.

Nothing that a file says can make code run: its header may name only built-in architectures. The user's own code
(`module:function`) is named on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.errors import ModelError
from assay.models.architectures import ARCHITECTURES, find_architecture
from assay.models.model import Model, ModelSpec
from assay.runs import write_atomically
from assay.supply import read_tensors

HEADER_KEY = "assay.model"
"""Where in the safetensors metadata the `ModelSpec` stands, as JSON."""

MAX_SIDE = 4096
"""Pixels: no side of `input_shape` may be longer, so that a file cannot ask for endless memory."""


def build(spec: ModelSpec) -> Model:
    """A network with fresh weights, as `spec` says."""
    channels, height, width = spec.input_shape
    architecture = find_architecture(spec.architecture)
    try:
        network = architecture(in_channels=channels, image_size=(height, width), classes=spec.classes, **spec.arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"architecture {spec.architecture} cannot be built with {spec.arguments}: {error}") from error
    return Model(network, spec)


def save(model: Model, path: Path | str) -> Path:
    """Write weights and spec as safetensors; the file is there whole or not at all.

    Raises:
        InputError: if the disk is full or the folder cannot be written.
    """
    from safetensors.torch import save as to_bytes

    path = Path(path)
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.network.state_dict().items()}
    blob = to_bytes(tensors, metadata={HEADER_KEY: msgspec.json.encode(model.spec).decode()})
    write_atomically(path, blob)
    return path


def load(path: Path | str, arch: str | None = None, like: Dataset | None = None) -> Model:
    """Open a model file without running anything in it.

    Args:
        path: `.safetensors`, or a state dict in `.pt`/`.pth` that passes the pickle walker. Told by its bytes.
        arch: a name in `ARCHITECTURES`, `torchvision:NAME`, or `module:function`; needed where the header has none.
        like: a data set of the kind the model was trained on; gives input shape, classes and normalisation to a
            file that does not say them.

    Raises:
        UnsafeFileError: if opening it could run code.
        UnreadableFileError: if that cannot be told.
        ModelError: if the tensors are not those of the architecture, or hold NaN.
    """
    tensors, metadata = read_tensors(path)
    spec = _spec(Path(path), tensors, metadata, arch, like)
    if HEADER_KEY in metadata and not arch:
        # The file chose the architecture: compare shapes before any memory is taken for it.
        with torch.device("meta"):
            _check_tensors(build(spec).network, tensors, Path(path))
    model = build(spec)
    _check_tensors(model.network, tensors, Path(path))
    model.network.load_state_dict(tensors)
    return model.eval()


def _spec(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], arch: str | None, like: Dataset | None
) -> ModelSpec:
    if HEADER_KEY in metadata:
        try:
            spec = msgspec.json.decode(metadata[HEADER_KEY], type=ModelSpec)
        except msgspec.DecodeError as error:
            raise ModelError(f"{path}: its header does not describe a model: {error}") from error
        if arch:
            return msgspec.structs.replace(spec, architecture=arch)
        if spec.architecture not in ARCHITECTURES and not spec.architecture.startswith("torchvision:"):
            raise ModelError(
                f"{path}: its header names the architecture {spec.architecture!r}, which is not built in; "
                "name your code with --arch module:function"
            )
        _check_spec(path, spec)
        return spec
    if not arch:
        raise ModelError(
            f"{path} does not say what network its tensors belong to; add --arch NAME or --arch module:function"
        )
    if like is None:
        raise ModelError(f"{path} does not say what pictures it takes; a clean data set is needed beside --arch")
    from assay.data import normalisation

    mean, std = normalisation(like)
    return ModelSpec(arch, like.image_shape, like.class_names, mean, std)


def _check_spec(path: Path, spec: ModelSpec) -> None:
    channels, height, width = spec.input_shape
    if not (1 <= channels <= 64 and 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ModelError(
            f"{path}: its header asks for pictures of {channels}x{height}x{width}; at most 64x{MAX_SIDE}x{MAX_SIDE}"
        )
    if not 2 <= spec.classes <= 100_000:
        raise ModelError(f"{path}: its header names {spec.classes} classes; 2 to 100,000 are needed")
    if len(spec.mean) != channels or len(spec.std) != channels or any(not s > 0 for s in spec.std):
        raise ModelError(f"{path}: its header's mean and std must have {channels} entries, every std above 0")
    if any(isinstance(v, int | float) and abs(v) > 100_000 for v in spec.arguments.values()):
        raise ModelError(f"{path}: its header's arguments {spec.arguments} are out of range")


def _check_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        parts = [f"{len(missing)} tensors are missing (first: {missing[0]})"] if missing else []
        parts += [f"{len(extra)} are not part of it (first: {extra[0]})"] if extra else []
        raise ModelError(f"{path} does not fit the architecture: {' and '.join(parts)}; check --arch")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, the architecture needs {tuple(own[name].shape)}; check --arch"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: tensor {name} holds NaN or infinite values; such a model cannot be judged")


def check_fits(model: Model, data: Dataset) -> Dataset:
    """`data` as the model sees it, or a sentence why it cannot be.

    Raises:
        ModelError: if pictures or classes are not those of the model.
    """
    if data.image_shape != model.spec.input_shape:
        want, got = ("x".join(map(str, shape)) for shape in (model.spec.input_shape, data.image_shape))
        raise ModelError(f"the model takes pictures of {want} (channels, height, width), but {data.name} has {got}")
    if data.classes > model.spec.classes:
        raise ModelError(f"the model knows {model.spec.classes} classes, but {data.name} has {data.classes}")
    return replace(data, class_names=model.spec.class_names)

"""Model files: safetensors whose header says everything needed to run them; or a state dict and `--arch`.

Nothing that a file says can make code run: its header may name only built-in architectures. The user's own code
(`module:function`) is named on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from assay.data import Dataset
from assay.errors import ModelError
from assay.models.architectures import is_own_code
from assay.models.building import build_weightless, try_out, untried
from assay.models.fitting import likely_preprocessing
from assay.models.header import HEADER_KEY, read_header
from assay.models.model import Model, ModelSpec
from assay.runs import write_atomically
from assay.supply import read_tensors


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
        like: labelled pictures of the kind the model was trained on; they give input shape, classes and
            preprocessing to a file that does not say them. Of the usual preprocessings, the one under which the
            model labels most of them rightly is taken.

    Raises:
        UnsafeFileError: if opening it could run code.
        UnreadableFileError: if that cannot be told.
        ModelError: if the tensors are not those of the architecture, or hold NaN.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    said = read_header(path, metadata, arch)
    spec = said or _spec_by_pictures(path, arch, like)
    if not is_own_code(spec.architecture):
        # Shapes are compared before memory is taken for what a file asks for.
        _check_tensors(build_weightless(spec).network, tensors, path)
    model = untried(spec)
    _check_tensors(model.network, tensors, path)
    model.network.load_state_dict(tensors)
    try_out(model)
    if said is None and like is not None:
        model = Model(model.network, likely_preprocessing(model, like))
    return model.eval()


def _spec_by_pictures(path: Path, arch: str | None, like: Dataset | None) -> ModelSpec:
    if not arch:
        raise ModelError(
            f"{path} does not say what network its tensors belong to; add --arch NAME or --arch module:function"
        )
    if like is None:
        raise ModelError(f"{path} does not say what pictures it takes; a clean data set is needed beside --arch")
    channels = like.image_shape[0]
    return ModelSpec(arch, like.image_shape, like.class_names, (0.0,) * channels, (1.0,) * channels)


def _check_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError unless the tensors are those of the network: names, shapes, kinds of numbers, all finite."""
    own = network.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        parts = [f"{len(missing)} tensors are missing (first: {missing[0]})"] if missing else []
        parts += [f"{len(extra)} are not part of it (first: {extra[0][:80]!r})"] if extra else []
        raise ModelError(f"{path} does not fit the architecture: {' and '.join(parts)}; check --arch")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"{path}: tensor {name} has shape {tuple(tensor.shape)}, the architecture needs "
                f"{tuple(own[name].shape)}; check --arch, and that the clean set has all classes"
            )
        if tensor.layout != torch.strided or _kind(tensor) != _kind(own[name]):
            raise ModelError(
                f"{path}: tensor {name} is {tensor.dtype}, but the architecture has {own[name].dtype} there"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise ModelError(f"{path}: tensor {name} holds NaN or infinite values; such a model cannot be judged")


def _kind(tensor: Tensor) -> str:
    if tensor.is_quantized or tensor.is_complex():
        return str(tensor.dtype)
    return "float" if tensor.is_floating_point() else "whole"

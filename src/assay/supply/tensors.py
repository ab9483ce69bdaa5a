"""Tensors of a file that passed inspection: the bytes that were inspected are the bytes that are loaded."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import torch
from torch import Tensor

from assay.errors import ModelError, UnreadableFileError, UnsafeFileError
from assay.supply.inspect import inspect_bytes

MAX_FILE = 16 * 2**30
"""Bytes of a model file that is read into memory."""

_LATER = {
    "onnx": "ONNX",
    "pt2": "PT2 (torch.export)",
    "torchscript": "TorchScript",
    "hdf5": "HDF5",
    "keras": "Keras",
    "caffemodel": "Caffe",
}


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict in a `.safetensors`, `.pt` or `.pth` file, told by its bytes, and its metadata.

    Raises:
        UnsafeFileError: if opening it could run code.
        UnreadableFileError: if that cannot be told, or the format is not one that is read.
        ModelError: if it holds other things than tensors.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UnreadableFileError(f"{path} is not a file; give the path of a model file")
        if path.stat().st_size > MAX_FILE:
            raise UnreadableFileError(f"{path} is larger than {MAX_FILE >> 30} GiB; such files are not read")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror or error}") from error
    report = inspect_bytes(str(path), data, check_weights=False)
    first = report.findings[0] if report.findings else None
    if report.verdict == "unsafe" and first:
        raise UnsafeFileError(
            f"{path} is not safe to open: {first.what} ({first.where}); do not load it, see assay inspect"
        )
    if report.format in _LATER:
        raise UnreadableFileError(
            f"{path} is a {_LATER[report.format]} file, which is not read yet; give a state dict or safetensors"
        )
    if report.verdict == "unknown" and first:
        raise UnreadableFileError(
            f"{path} cannot be judged: {first.what} ({first.where}); ask its sender for safetensors"
        )
    if report.format == "safetensors":
        return _safetensors(data)
    if report.format in ("torch", "torch (legacy)"):
        return _state_dict(path, data), {}
    raise UnreadableFileError(f"{path} is a {report.format} file, not a model; give a state dict or safetensors")


def _safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    return load(data), json.loads(data[8 : 8 + length]).get("__metadata__", {})


def _state_dict(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableFileError(f"{path} cannot be read as a state dict: {first_line[:200]}") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not held:
        raise ModelError(f"{path} holds a {type(held).__name__}, not a state dict; save model.state_dict()")
    other = [str(name) for name, value in held.items() if not isinstance(value, Tensor)]
    if other:
        raise ModelError(
            f"{path} holds {len(other)} things that are not tensors (first: {other[0][:80]}); save model.state_dict()"
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in held.items()}

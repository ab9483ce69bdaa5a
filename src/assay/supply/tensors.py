"""Tensors of a file that passed inspection: the bytes that were inspected are the bytes that are loaded."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from assay.errors import ModelError, UnreadableFileError, UnsafeFileError
from assay.supply.inspect import inspect_bytes
from assay.supply.report import FileReport, Unreadable, shown
from assay.supply.safetensors_file import read_header

MAX_FILE = 16 * 2**30
"""Bytes of a model file that is read into memory."""

MAX_GROWTH = 8
"""Bytes of all tensors for each byte of the file: a few storages may be shared, not thousands."""

_LATER = {
    "onnx": "ONNX",
    "pt2": "PT2 (torch.export)",
    "torchscript": "TorchScript",
    "hdf5": "HDF5",
    "keras": "Keras",
    "caffemodel": "Caffe",
}

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where a training checkpoint keeps the state dict."""


@dataclass(frozen=True)
class Received:
    """A model file that passed: its tensors by name, the metadata in its header, what was said of its bytes."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    report: FileReport


def receive(path: Path | str) -> Received:
    """The state dict in a `.safetensors`, `.pt` or `.pth` file, told by its bytes.

    Odd magnitudes are not looked for: whether a model may be NaN is for its reader to say.

    Raises:
        UnsafeFileError: if opening it could run code.
        UnreadableFileError: if that cannot be told, or the format is not one that is read.
        ModelError: if it holds other things than tensors.
    """
    data = _read(Path(path))
    report = inspect_bytes(str(path), data, check_weights=False)
    _require_safe(report)
    if report.format == "safetensors":
        tensors, metadata = _safetensors(report, data)
    else:
        tensors, metadata = _state_dict(report, data), {}
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    if total > MAX_GROWTH * len(data):
        raise ModelError(f"{path} holds {len(data):,} bytes that stand for {total:,}; such a file is not read")
    return Received(tensors, metadata, report)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UnreadableFileError(f"{path} is not a file; give the path of a model file")
        if path.stat().st_size > MAX_FILE:
            raise UnreadableFileError(f"{path} is larger than {MAX_FILE >> 30} GiB; such files are not read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _require_safe(report: FileReport) -> None:
    path = report.path
    first = f"{report.findings[0].what} ({report.findings[0].where})" if report.findings else ""
    if report.verdict == "unsafe":
        raise UnsafeFileError(f"{path} is not safe to open: {first}; do not load it, see assay inspect")
    if report.format in _LATER:
        raise UnreadableFileError(
            f"{path} is a {_LATER[report.format]} file, which is not read yet; give a state dict or safetensors"
        )
    if report.verdict == "unknown":
        raise UnreadableFileError(f"{path} cannot be judged: {first}; ask its sender for safetensors")
    if report.format not in ("safetensors", "torch", "torch (legacy)"):
        raise UnreadableFileError(f"{path} is a {report.format} file, not a model; give a state dict or safetensors")


def _safetensors(report: FileReport, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        header, _ = read_header(memoryview(data))
        return load_safetensors(data), header.get("__metadata__", {})
    except (Unreadable, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UnreadableFileError(f"{report.path} cannot be read as safetensors: {_first_line(error)}") from error


def _state_dict(report: FileReport, data: bytes) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):
            held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, IndexError,
            AttributeError, AssertionError, OverflowError, MemoryError) as error:  # fmt: skip
        raise UnreadableFileError(f"{report.path} cannot be read as a state dict: {_first_line(error)}") from error
    if isinstance(held, dict):
        held = next((held[key] for key in _WRAPPERS if isinstance(held.get(key), dict)), held)
    if not isinstance(held, dict) or not held:
        raise ModelError(f"{report.path} holds a {type(held).__name__}, not a state dict; save model.state_dict()")
    return _named_tensors(report.path, held)


def _first_line(error: BaseException) -> str:
    return shown(str(error).partition("\n")[0], 200) or type(error).__name__


def _named_tensors(path: str, held: Mapping[object, object]) -> dict[str, Tensor]:
    """Dense tensors by name, without the prefix that `DataParallel` puts before every one."""
    tensors = {
        name: value.detach()
        for name, value in held.items()
        if isinstance(name, str) and isinstance(value, Tensor) and _is_dense(value)
    }
    if len(tensors) < len(held):
        other = next(name for name in held if name not in tensors)
        raise ModelError(
            f"{path} holds {len(held) - len(tensors)} things that are not dense tensors with a name "
            f"(first: {shown(str(other), 80)}); save model.state_dict()"
        )
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        raise ModelError(f"{path} holds two tensors of the same name, with and without `module.`; save the model again")
    return plain


def _is_dense(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta

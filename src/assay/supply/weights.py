"""Magnitudes that no training leaves behind: NaN, infinities, and values like the decoy bias of -1e20."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.supply.formats import MAX_SAFETENSORS_HEADER

ABSURD = 1e7
"""Absolute value that no weight, bias or running statistic of a working network comes near."""

_NUMPY: dict[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TORCH = {"FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8}  # fmt: skip

CHUNK = 1 << 22


def oddities(raw: NDArray[np.uint8], dtype: str) -> Iterator[str]:
    """What is wrong with the values of one tensor, given as bytes. Cost: 0.3 s for 100 MB of float32."""
    if dtype not in _NUMPY:
        return
    values = raw[: len(raw) - len(raw) % _BYTES[dtype]].view(_NUMPY[dtype])
    largest = 0.0
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        if dtype == "BF16":
            part = (part.astype(np.uint32) << 16).view(np.float32)
        low, high = float(part.min()), float(part.max())
        if np.isnan(low) or np.isnan(high):
            yield "NaN values"
            return
        largest = max(largest, abs(low), abs(high))
    if np.isinf(largest):
        yield "infinite values"
    elif largest > ABSURD:
        yield f"a value of magnitude {largest:.3g}, far beyond what training leaves (a decoy channel?)"


def torch_storage(storage_class: str, raw: NDArray[np.uint8]) -> Iterator[str]:
    """The same for a storage of torch's zip format."""
    return oddities(raw, _TORCH.get(storage_class, ""))


def safetensors_layout(data: NDArray[np.uint8]) -> dict[str, tuple[str, int, int]]:
    """Name to (dtype, begin, end) in bytes from the start of the file.

    Raises:
        ValueError: if the header is not as the format demands: known dtypes, shapes that fit, no gaps, no overlaps.
    """
    length = int.from_bytes(data[:8].tobytes(), "little")
    if not 2 <= length <= min(len(data) - 8, MAX_SAFETENSORS_HEADER):
        raise ValueError(f"a header of {length} bytes does not fit a file of {len(data)}")
    header = json.loads(data[8 : 8 + length].tobytes(), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    meta = header.pop("__metadata__", {})
    if not isinstance(meta, dict) or not all(isinstance(v, str) for v in meta.values()):
        raise ValueError("its metadata is not text")
    found = {name: _entry(name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, begin, stop) in sorted(found.items(), key=lambda item: item[1][1:]):
        if begin != end:
            raise ValueError(f"tensor {name!r} leaves a gap or overlaps another")
        end = stop
    if 8 + length + end != len(data):
        raise ValueError(f"its tensors take {end} bytes, but {len(data) - 8 - length} follow the header")
    return {name: (dtype, 8 + length + b, 8 + length + e) for name, (dtype, b, e) in found.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _entry(name: str, entry: object) -> tuple[str, int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    whole = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
    if not whole or not all(type(v) is int and v >= 0 for v in [*shape, *offsets]):
        raise ValueError(f"tensor {name!r} has a shape or offsets that are not whole numbers")
    if dtype not in _BYTES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {str(dtype)[:20]!r}")
    count = 1
    for side in shape:
        count *= side
    if count * _BYTES[dtype] != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {name!r} does not fill its bytes")
    return dtype, offsets[0], offsets[1]

"""Safetensors: eight bytes of header length, a JSON header, then the tensors without gaps.

Source of the layout: Hugging Face, "Safetensors format", github.com/huggingface/safetensors. Its reader must accept
what is accepted here, so every rule of the format is checked, not only those that matter for memory.
"""

from __future__ import annotations

import json
import math
from typing import Any

from assay.supply.report import BYTES_A_STEP, Piece, Search, Unreadable, shown
from assay.supply.weights import look_at_values

MAX_HEADER = 16 * 2**20
"""Bytes. The format allows 100 MB, whose JSON would take gigabytes of memory; a header of 100,000 tensors has 10 MB."""

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
          "U8": 1, "BOOL": 1, "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1,
          "F8_E5M2FNUZ": 1}  # fmt: skip

Place = tuple[str, int, int]
"""dtype, begin and end of a tensor, in bytes from the start of the file."""


def is_safetensors(data: memoryview) -> bool:
    """Whether a header length that fits is followed by what may be JSON."""
    length = int.from_bytes(data[:8], "little")
    return len(data) > 8 and 2 <= length <= len(data) - 8 and data[8] == ord("{")


def look_at_safetensors(search: Search, piece: Piece) -> None:
    """Check the layout, then the magnitudes of every tensor.

    Raises:
        Unreadable: if the file is not as the format demands.
    """
    search.step(int.from_bytes(piece.data[:8], "little") // BYTES_A_STEP)
    layout = read_layout(piece.data)
    for name, (dtype, begin, end) in layout.items():
        look_at_values(search, Piece(piece.data[begin:end], piece.place(f"tensor {shown(name)}")), [dtype])


def read_layout(data: memoryview) -> dict[str, Place]:
    """Where each tensor lies.

    Raises:
        Unreadable: if dtypes are not known, shapes do not fit, or there are gaps or overlaps.
    """
    header, start = read_header(data)
    header.pop("__metadata__", None)
    found = {name: _entry(name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, begin, stop) in sorted(found.items(), key=lambda item: item[1][1:]):
        if begin != end:
            raise Unreadable(f"tensor {shown(name)} leaves a gap or overlaps another")
        end = stop
    if start + end != len(data):
        raise Unreadable(f"its tensors take {end:,} bytes, but {len(data) - start:,} follow the header")
    return {name: (dtype, start + begin, start + stop) for name, (dtype, begin, stop) in found.items()}


def read_header(data: memoryview) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(len(data) - 8, MAX_HEADER):
        raise Unreadable(f"a header of {length:,} bytes; at most {MAX_HEADER >> 20} MiB, and no longer than the file")
    try:
        header = json.loads(str(data[8 : 8 + length], "utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"its header cannot be read: {shown(str(error))}") from error
    if not isinstance(header, dict):
        raise Unreadable("its header is no JSON object")
    meta = header.get("__metadata__", {})
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise Unreadable("its metadata is not text")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _entry(name: str, entry: object) -> Place:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Unreadable(f"tensor {shown(name)} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    whole = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
    if not whole or not all(type(v) is int and 0 <= v < 2**63 for v in [*shape, *offsets]):
        raise Unreadable(f"tensor {shown(name)} has a shape or offsets that are not whole numbers")
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise Unreadable(f"tensor {shown(name)} has the unknown dtype {shown(str(dtype), 20)}")
    if len(shape) > 64 or math.prod(shape) * _BYTES[dtype] != offsets[1] - offsets[0]:
        raise Unreadable(f"tensor {shown(name)} does not fill its bytes")
    return dtype, offsets[0], offsets[1]

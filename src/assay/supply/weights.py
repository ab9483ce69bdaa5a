"""Magnitudes that no training leaves behind: NaN, infinities, and values like the decoy bias of −1e20."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from assay.supply.report import Piece, Search

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ABSURD = 1e7
"""Absolute value that no weight, bias or running statistic of a working network comes near."""

_CHUNK = 1 << 22
"""Elements that are looked at in one go, so that they are still in the processor's cache the second time."""

_LARGEST = {
    "F16": ("u2", 0x7BFF),
    "BF16": ("u2", 0x7F7F),
    "F32": ("u4", 0x7F7FFFFF),
    "F64": ("u8", 0x7FEFFFFFFFFFFFFF),
    "F8_E5M2": ("u1", 0x7B),
    "F8_E4M3": ("u1", 0x7E),
}
"""Bits of the largest finite value, which as whole numbers are ordered like the magnitudes they stand for."""

_PARTS = {"C64": "F32", "C128": "F64", "C32": "F16"}


def look_at_values(search: Search, piece: Piece, dtypes: Iterable[str], order: str = "<") -> None:
    """Note what is wrong with the elements of one tensor or storage, of each of these safetensors `dtypes`.

    Cost: 10 ms for 100 MB that are in memory, whatever the dtype: two integer maxima.
    """
    if not search.check_weights:
        return
    for dtype in dtypes:
        if what := oddity(piece.data, dtype, order):
            search.unsafe(what, piece.where)


def oddity(raw: memoryview, dtype: str, order: str = "<", *, lone: bool = False) -> str:
    """What is wrong with elements given as bytes of a byte order, `<` or `>`; empty if nothing is.

    A `lone` number may be infinite or the largest there is: graphs have such as bounds.
    """
    import numpy as np

    dtype = _PARTS.get(dtype, dtype)
    if dtype not in _LARGEST:
        return ""
    code, finite = _LARGEST[dtype]
    size = int(code[1])
    magnitude = _largest_magnitude(np.frombuffer(raw[: len(raw) - len(raw) % size], dtype=order + code))
    infinite = magnitude == finite + 1 and dtype != "F8_E4M3"
    if lone and (infinite or magnitude == finite):
        return ""
    if magnitude > finite:
        return "it holds infinite values" if infinite else "it holds values that are not numbers (NaN)"
    value = _as_float(magnitude, dtype)
    if value > ABSURD:
        return f"it holds a value of magnitude {value:.3g}, far beyond what training leaves (a decoy channel?)"
    return ""


def _largest_magnitude(bits: NDArray[np.unsignedinteger]) -> int:
    """Largest value without its sign bit.

    Read as unsigned numbers, the largest is the negative value of largest magnitude, if there is a negative one; read
    as signed numbers, the largest is the largest positive value. So no copy without signs is needed.
    """
    sign = 1 << (8 * bits.dtype.itemsize - 1)
    largest = 0
    for start in range(0, len(bits), _CHUNK):
        part = bits[start : start + _CHUNK]
        negative, positive = int(part.max()), int(part.view(part.dtype.str.replace("u", "i")).max())
        largest = max(largest, negative & (sign - 1), positive)
    return largest


def _as_float(bits: int, dtype: str) -> float:
    import numpy as np

    if dtype == "BF16":
        return float(np.array(bits << 16, dtype="<u4").view("<f4"))
    if dtype.startswith("F8"):
        return 0.0  # at most 57,344
    code = _LARGEST[dtype][0]
    return float(np.array(bits, dtype=f"<{code}").view(code.replace("u", "<f")))

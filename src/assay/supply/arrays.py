"""Numpy's `.npy`: a text header, then numbers, or a pickle where the array holds Python objects."""

from __future__ import annotations

import io
import math
import tokenize
import warnings

from assay.supply.pickles import look_at_pickles, look_for_pickles
from assay.supply.report import Piece, Search, Unreadable, shown
from assay.supply.weights import look_at_values

MAX_HEADER = 10_000
"""Bytes; numpy's own limit for headers that nobody vouches for."""

HEADER_STEPS = 200
"""What reading one counts as: Python's own parser reads it."""

_KINDS = {"f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64", "c16": "C128"}


def look_at_npy(search: Search, piece: Piece) -> None:
    """Walk an array of objects, check the magnitudes of any other.

    Raises:
        Unreadable: if it is not a whole array.
    """
    import numpy as np

    search.step(HEADER_STEPS)
    stream = io.BytesIO(bytes(piece.data[: 16 + MAX_HEADER]))
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        with warnings.catch_warnings(action="ignore"):
            shape, _, dtype = readers[version](stream, max_header_size=MAX_HEADER)
    except (ValueError, SyntaxError, TypeError, LookupError, AttributeError, EOFError, OverflowError, RecursionError,
            MemoryError, tokenize.TokenError) as error:  # fmt: skip
        raise Unreadable(f"its header cannot be read: {shown(str(error))}") from error
    content = Piece(piece.data[stream.tell() :], piece.where)
    if dtype.hasobject:
        look_at_pickles(search, content)
        return
    if math.prod(shape) * dtype.itemsize != len(content.data):
        raise Unreadable("the array does not fill the file")
    look_for_pickles(search, content)
    if code := _KINDS.get(dtype.str[1:]):
        look_at_values(search, content, [code], order=">" if dtype.str[0] == ">" else "<")

"""Files and members that hold pickles: several one after the other, and torch's format before its zip files."""

from __future__ import annotations

from assay.supply.pickle_walk import Walk, walk
from assay.supply.plain_calls import element_size
from assay.supply.report import Piece, Search, Unreadable, shown
from assay.supply.values import Stored
from assay.supply.weights import look_at_values

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of torch's format before its zip files."""

MAX_PICKLES = 1000
"""In one file, one after the other."""


def look_at_pickles(search: Search, piece: Piece) -> str:
    """Walk a file that says it is a pickle, and all pickles that follow; returns the format."""
    walks = _walks(search, piece.data)
    for seen in walks:
        _report(search, piece, seen)
    if walks[0].result == LEGACY_MAGIC and not walks[0].broken:
        _look_at_legacy(search, piece, walks)
        return "torch (legacy)"
    rest = len(piece.data) - walks[-1].end
    if rest and not walks[-1].broken:
        search.unknown(f"more than {MAX_PICKLES} pickles one after the other", piece.where)
    if any(seen.stored for seen in walks):
        search.unknown("it refers to weights that are not in the file", piece.where)
    return "pickle"


def look_at_data_pickle(search: Search, piece: Piece) -> Walk:
    """Walk the pickle of a torch archive, which must be alone in its member."""
    walks = _walks(search, piece.data)
    for seen in walks:
        _report(search, piece, seen)
    if len(walks) > 1:
        search.unknown("more than one pickle in the member", piece.where)
    return walks[0]


def look_for_pickles(search: Search, piece: Piece) -> None:
    """Walk bytes that are something else, for what they would import if they were opened as a pickle all the same.

    Random bytes hardly ever spell an import, or what unpicklers take in different ways; only that counts.
    """
    walks = _walks(search, piece.data)
    if len(walks) == MAX_PICKLES and not walks[-1].broken and walks[-1].end < len(piece.data):
        search.unknown(f"it can be opened as more than {MAX_PICKLES} pickles one after the other", piece.where)
    for seen in walks:
        for name, offset in seen.spelled:
            search.unsafe(f"opening it as a pickle would import {name}", piece.place(f"byte {offset}"))
        if seen.disputed:
            search.unknown(f"what opening it as a pickle would do: {seen.broken}", piece.place(f"byte {seen.end}"))


def is_pickle(search: Search, data: memoryview) -> bool:
    """Whether bytes without the mark of newer protocols are one whole pickle."""
    seen = walk(data, 0, search)
    return not seen.broken and seen.end == len(data)


def _walks(search: Search, data: memoryview) -> list[Walk]:
    """One walk a pickle, to the end or to one that cannot be read; in torch's old format raw bytes follow the fifth."""
    walks = [walk(data, 0, search)]
    while not walks[-1].broken and walks[-1].end < len(data) and len(walks) < MAX_PICKLES:
        if len(walks) == 5 and walks[0].result == LEGACY_MAGIC:
            break
        walks.append(walk(data, walks[-1].end, search))
    return walks


def _report(search: Search, piece: Piece, seen: Walk) -> None:
    for name, offset in seen.forbidden:
        search.unsafe(f"opening it would import {name}", piece.place(f"byte {offset}"))
    for what, offset in seen.dangers:
        search.unsafe(what, piece.place(f"byte {offset}"))
    for what, offset in seen.doubts:
        search.unknown(what, piece.place(f"byte {offset}"))
    if seen.broken:
        search.unknown(f"not a whole pickle: {seen.broken}", piece.place(f"byte {seen.end}"))


def _look_at_legacy(search: Search, piece: Piece, walks: list[Walk]) -> None:
    """Magic number, version, system, object, keys; then for each key its count and its elements."""
    if len(walks) != 5 or any(seen.broken for seen in walks):
        search.unknown("not a whole file of torch's old format", piece.where)
        return
    stored, keys = walks[3].stored, walks[4].result
    if not isinstance(keys, list) or any(not isinstance(key, str) or key not in stored for key in keys):
        search.unknown("its list of storages is not that of its tensors", piece.where)
        return
    at = walks[4].end
    try:
        for key in keys:
            at = _legacy_storage(search, piece, stored[key], walks[3].dtypes.get(key, set()), at)
    except Unreadable as error:
        search.unknown(str(error), piece.place(f"byte {at}"))
        return
    if at != len(piece.data) or len(set(keys)) != len(stored):
        search.unknown("its storages do not fill the file", piece.place(f"byte {at}"))


def _legacy_storage(search: Search, piece: Piece, storage: Stored, dtypes: set[str], at: int) -> int:
    """One storage that begins `at`; returns where the next one does."""
    begin, size = at + 8, storage.count * element_size(storage.dtype)
    if begin + size > len(piece.data) or int.from_bytes(piece.data[at:begin], "little") != storage.count:
        raise Unreadable(f"storage {shown(storage.key, 40)} is not as long as its pickle says")
    inner = Piece(piece.data[begin : begin + size], piece.place(f"storage {shown(storage.key, 40)}"))
    look_at_values(search, inner, dtypes | {storage.dtype})
    return begin + size

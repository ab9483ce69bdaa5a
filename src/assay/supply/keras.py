"""Keras: layers that hold code, and classes that its loader would look for outside Keras.

A `.keras` file is a zip with `config.json`; an `.h5` file has the same JSON among its attributes. The weights, HDF5 in
both, are not judged here, so that no such file is called safe.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

from assay.supply.report import BYTES_A_STEP, Piece, Search, shown

MAX_CONFIG = 4 * 2**20
"""Bytes of JSON."""

MAX_OBJECTS = 16
"""JSON objects in one HDF5 file."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_UNSAFE = {
    "Lambda": "a Lambda layer, which holds Python code",
    "__lambda__": "a lambda, which is Python code",
    "function": "a function that would be looked up by its name",
    "TorchModuleWrapper": "a wrapped torch module, which is a pickle",
    "TFSMLayer": "a layer that loads another file",
}
_MODULES = re.compile(
    r"(tf_keras|tensorflow\.keras|keras)(\.src)?(\.(layers|models|initializers|regularizers|constraints|optimizers|losses"
    r"|metrics|activations|dtype_policies|engine)(\.[a-z0-9_]+){0,3})?|builtins"
)
_START = re.compile(rb'\{\s*"(class_name|module|config|name|backend)"')


def is_hdf5(data: memoryview) -> bool:
    """Whether HDF5's signature stands at the start, or where a block of the user's may push it to."""
    return any(data[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048, 4096))


def look_at_hdf5(search: Search, piece: Piece) -> None:
    """Look at every JSON object in the bytes that may be a model's configuration."""
    search.unknown("HDF5, whose weights are not judged here", piece.where)
    end = 0
    for found in itertools.islice(_START.finditer(piece.data), MAX_OBJECTS):
        if found.start() >= end:
            end = found.start() + look_at_keras_config(search, piece, piece.data[found.start() :])


def look_at_keras_config(search: Search, piece: Piece, config: memoryview) -> int:
    """Look at the JSON object that begins `config`; returns how many characters it has, 0 if it cannot be read."""
    search.step(min(len(config), MAX_CONFIG) // BYTES_A_STEP)
    written = str(config[:MAX_CONFIG], "utf-8", "replace").lstrip()
    try:
        tree, end = json.JSONDecoder().raw_decode(written)
    except (ValueError, RecursionError):
        search.unknown("a configuration that cannot be read", piece.where)
        return 0
    for entry in _objects(search, tree):
        _look_at_class(search, piece, entry)
    return end


def _objects(search: Search, tree: object) -> Iterator[dict[str, object]]:
    waiting = [tree]
    while waiting:
        search.step()
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _look_at_class(search: Search, piece: Piece, entry: dict[str, object]) -> None:
    name, module, registered = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    if isinstance(name, str) and name.rpartition(">")[2] in _UNSAFE:
        search.unsafe(_UNSAFE[name.rpartition(">")[2]], piece.where)
    if isinstance(module, str) and "class_name" in entry and not _MODULES.fullmatch(module):
        search.unsafe(f"a class from the module {shown(module, 80)}", piece.where)
    if isinstance(module, str) and module == "builtins" and name not in ("function", "slice", "dict", "tuple", "list"):
        search.unsafe(f"the built-in {shown(str(name), 80)}", piece.where)
    if any(isinstance(said, str) and ">" in said for said in (name, registered)):
        search.unknown(f"a custom class: {shown(str(registered or name), 80)}", piece.where)

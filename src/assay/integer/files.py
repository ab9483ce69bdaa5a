"""`net.assay`: an integer network as a safetensors file whose header holds the graph; its digest; reading it untrusted.

The graph is JSON in the metadata; weights are the file's tensors, named `NODE.FIELD`, in the narrowest type that holds
them. Equal networks have equal digests and, written by Assay, equal files. A file says nothing that code could
come out of; every count is checked before memory is taken for it, and what it claims of itself is computed anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError, UnreadableFileError
from assay.integer.graph import NAMES, OPERATIONS, Ints, Node
from assay.integer.network import IntegerNetwork
from assay.integer.shapes import MAX_NODES
from assay.runs import write_atomically

GRAPH_KEY, DIGEST_KEY = "assay.network", "assay.digest"
"""Where graph and digest stand in the safetensors metadata."""

MAX_FILE = 1 << 30
MAX_HEADER = 1 << 24
ARRAYS = ("weight", "bias", "value")
"""Fields of a node that are tensors of the file, in this order."""

_TYPES: dict[str, np.dtype[Any]] = {
    "I8": np.dtype("<i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON text, but for the nodes, which are checked one by one."""

    version: int
    classic: bool
    output_scale: float
    class_names: tuple[str, ...]
    nodes: list[dict[str, Any]]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor in the safetensors header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def graph_text(network: IntegerNetwork) -> str:
    """The canonical JSON of everything but the tensors: fixed order of keys, no spaces."""
    return text_of(network.nodes, network.class_names, network.output_scale, network.classic)


def text_of(nodes: Sequence[Node], class_names: tuple[str, ...], output_scale: float, classic: bool) -> str:
    """`graph_text` of nodes whose tensors need not be there."""
    said = [{"op": NAMES[type(n)]} | {f: getattr(n, f) for f in plain_fields(type(n))} for n in nodes]
    return msgspec.json.encode(Graph(1, classic, float(output_scale), class_names, said)).decode()


def plain_fields(operation: type) -> list[str]:
    """What a node says in the graph, beside the kind that it is of."""
    return sorted(f.name for f in fields(operation) if f.name not in ARRAYS)


def _array_fields(operation: type) -> list[str]:
    names = {f.name for f in fields(operation)}
    return [name for name in ARRAYS if name in names]


def arrays_of(network: IntegerNetwork) -> Iterator[tuple[str, Ints]]:
    """Every tensor with its name, in the order in which it is hashed and written."""
    for position, node in enumerate(network.nodes):
        for name in _array_fields(type(node)):
            yield f"{position}.{name}", getattr(node, name)


def digest(network: IntegerNetwork) -> str:
    """SHA-256, in hex, of: `assay.integer/1`, the graph text, then each tensor; each part behind its length.

    A length is 8 bytes, little-endian. A tensor is its name, then its shape and its entries as int64, little-endian.
    """
    state = hashlib.sha256(b"assay.integer/1")

    def absorb(part: bytes) -> None:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)

    absorb(graph_text(network).encode())
    for name, array in arrays_of(network):
        absorb(name.encode())
        absorb(np.asarray(array.shape, "<i8").tobytes())
        absorb(array.astype("<i8").tobytes())
    return state.hexdigest()


def save(network: IntegerNetwork, path: Path | str) -> Path:
    """Write `net.assay`; the file is there whole or not at all.

    Raises:
        InputError: if the disk is full or the folder cannot be written.
    """
    path = Path(path)
    write_atomically(path, to_bytes(network))
    return path


def to_bytes(network: IntegerNetwork) -> bytes:
    """The bytes of the file, in the safetensors format."""
    header: dict[str, Any] = {"__metadata__": {DIGEST_KEY: network.digest, GRAPH_KEY: graph_text(network)}}
    blobs, end = [], 0
    for name, array in arrays_of(network):
        kind = _narrowest(array)
        blobs.append(array.astype(_TYPES[kind]).tobytes())
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": (end, end + len(blobs[-1]))}
        end += len(blobs[-1])
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)  # so that tensors of eight bytes can be mapped in place
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def _narrowest(array: Ints) -> str:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return next(k for k, t in _TYPES.items() if np.iinfo(t).min <= low and high <= np.iinfo(t).max)


def load(path: Path | str) -> IntegerNetwork:
    """Read `net.assay` and check everything in it, its digest included.

    Raises:
        UnreadableFileError: if it is not such a file, or is cut short.
        ModelError: if the network in it does not make sense, is beyond a limit, or is not the one its digest names.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UnreadableFileError(f"{path} is not a file; give a network written by assay compile")
        if path.stat().st_size > MAX_FILE:
            raise UnreadableFileError(f"{path} is larger than {MAX_FILE >> 30} GiB; such networks are not read")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror or error}") from error
    return from_bytes(data, str(path))


def from_bytes(data: bytes, source: str = "the network") -> IntegerNetwork:
    """The network in these bytes; errors as for `load`."""
    try:
        graph, text, claimed, tensors = _opened(data)
    except (ValueError, RecursionError) as error:  # of msgspec and json too
        raise UnreadableFileError(f"{source} is not an integer network: {error}") from error
    if graph.version != 1:
        raise UnreadableFileError(f"{source} has version {graph.version}; this Assay reads version 1")
    try:
        nodes = tuple(_node(i, said, tensors) for i, said in enumerate(graph.nodes))
        network = IntegerNetwork(nodes, graph.class_names, graph.output_scale, graph.classic)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    if tensors:
        raise ModelError(f"{source} holds tensors that no node uses (first: {min(tensors)[:80]})")
    if graph_text(network) != text:
        raise ModelError(f"{source} does not describe its network in the canonical form; compile it again")
    if network.digest != claimed:
        raise ModelError(f"{source} says it is {claimed[:80]}, but what it holds is {network.digest}; do not use it")
    return network


def _opened(data: bytes) -> tuple[Graph, str, str, dict[str, Ints]]:
    """Graph, its text, claimed digest, tensors by name.

    Raises:
        ValueError: if the bytes are not in the format.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"a header of {length} bytes does not fit {len(data)} bytes of file")
    header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    metadata = msgspec.convert(header.pop("__metadata__", None), dict[str, str])
    if set(metadata) != {GRAPH_KEY, DIGEST_KEY}:
        raise ValueError(f"its metadata is not {DIGEST_KEY} and {GRAPH_KEY}")
    graph = msgspec.json.decode(metadata[GRAPH_KEY], type=Graph)
    if len(graph.nodes) > MAX_NODES or len(header) > 2 * MAX_NODES:
        raise ValueError(f"{len(graph.nodes)} nodes and {len(header)} tensors are too many")
    entries = msgspec.convert(header, dict[str, Entry])
    return graph, metadata[GRAPH_KEY], metadata[DIGEST_KEY], _tensors(entries, data[8 + length :])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _tensors(entries: dict[str, Entry], data: bytes) -> dict[str, Ints]:
    found: dict[str, Ints] = {}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, stop = entry.data_offsets
        kind = _TYPES.get(entry.dtype)
        if kind is None or start != end or not start <= stop <= len(data):
            raise ValueError(f"tensor {name[:80]!r} is not integers that follow the one before it")
        count = 1
        for side in entry.shape:
            count *= side
        if len(entry.shape) > 4 or min(entry.shape, default=1) < 1 or count * kind.itemsize != stop - start:
            raise ValueError(f"tensor {name[:80]!r} does not fill its bytes")
        found[name] = np.frombuffer(data, kind, count, start).reshape(entry.shape).astype(np.int64)
        found[name].flags.writeable = False
        end = stop
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes follow its last tensor")
    return found


def check_fields(position: int, said: dict[str, Any], operation: type) -> None:
    """A node says what its kind does, no more and no less: what one reader passes over could mean something to another.

    Raises:
        ModelError: if it does not.
    """
    if set(said) != {"op", *plain_fields(operation)}:
        raise ModelError(f"node {position} must say exactly {', '.join(plain_fields(operation))}")


def _node(position: int, said: dict[str, Any], tensors: dict[str, NDArray[np.int64]]) -> Node:
    """One node out of its JSON object; takes its tensors out of `tensors`."""
    operation = OPERATIONS.get(str(said.get("op")))
    if operation is None:
        raise ModelError(f"node {position} is the unknown operation {str(said.get('op'))[:40]!r}")
    check_fields(position, said, operation)
    values: dict[str, Any] = {name: said[name] for name in said if name != "op"}
    for name in _array_fields(operation):
        if f"{position}.{name}" not in tensors:
            raise ModelError(f"node {position} lacks its tensor {name}")
        values[name] = tensors.pop(f"{position}.{name}")
    try:
        node: Node = msgspec.convert(values, operation)  # type: ignore[assignment]
    except msgspec.ValidationError as error:
        raise ModelError(f"node {position}: {error}") from error
    return node

"""Model formats that carry a graph or code beside their weights: what in them would not be plain arithmetic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

Note = tuple[str, str, str]
"""verdict (`unsafe` or `unknown`), what, where."""

_PLAIN_EXPRESSION = re.compile(r"[\w\s+*/()<>=,.&|-]{0,200}")
_CALL = re.compile(r"([A-Za-z_][\w.]*)\s*\(")
_CALLS_ALLOWED = {"Max", "Min", "Mod", "FloorDiv", "CeilDiv", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "Symbol", "Integer"}


def pt2_notes(model_json: bytes) -> Iterator[Note]:
    """Operators outside `aten`, and strings that the loader would hand to sympy's evaluator."""
    try:
        tree = json.loads(model_json)
    except (ValueError, RecursionError):
        yield ("unknown", "its graph is not readable JSON", "model.json")
        return
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from _pt2_entry(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _pt2_entry(entry: dict[str, object]) -> Iterator[Note]:
    target = entry.get("target")
    if isinstance(target, str) and "inputs" in entry and not re.fullmatch(r"torch\.ops\.aten\.\w+(\.\w+)?", target):
        plain = target in ("_operator.getitem",) or target.startswith("_operator.")
        if not plain:
            yield ("unsafe", f"operator {target[:80]}, which is not a plain tensor operation", "model.json")
    expression = entry.get("expr_str")
    if isinstance(expression, str):
        calls = {c for c in _CALL.findall(expression) if c not in _CALLS_ALLOWED}
        if calls or "__" in expression or not _PLAIN_EXPRESSION.fullmatch(expression):
            yield ("unsafe", f"an expression that would be evaluated: {expression[:80]!r}", "model.json")


def keras_notes(config: bytes, where: str) -> Iterator[Note]:
    """Layers that hold code, and classes from outside Keras."""
    if re.search(rb'"class_name"\s*:\s*"Lambda"', config):
        yield ("unsafe", "a Lambda layer, which holds Python code", where)
    for module in set(re.findall(rb'"module"\s*:\s*"([^"]*)"', config)):
        if not module.startswith((b"keras", b"tensorflow.keras", b"tf_keras")):
            yield ("unsafe", f"a class from the module {module.decode('ascii', 'replace')[:80]}", where)


def onnx_notes(blob: bytes) -> Iterator[Note]:
    """External data outside the folder, operators of no known domain, control flow on inputs."""
    try:
        for number, _, graph in _fields(blob):
            if number == 7 and isinstance(graph, bytes):
                yield from _graph_notes(graph, depth=0)
    except ValueError as error:
        yield ("unknown", f"its protobuf cannot be read: {error}", "graph")


def _graph_notes(graph: bytes, depth: int) -> Iterator[Note]:
    if depth > 8:
        raise ValueError("graphs nested more than 8 deep")
    for number, _, value in _fields(graph):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            yield from _node_notes(value)
        elif number == 5:
            yield from _tensor_notes(value)


def _node_notes(node: bytes) -> Iterator[Note]:
    texts = {n: v.decode("utf-8", "replace") for n, _, v in _fields(node) if isinstance(v, bytes) and n in (4, 7)}
    if texts.get(7, "") not in ("", "ai.onnx", "ai.onnx.ml"):
        yield ("unknown", f"operator {texts.get(4, '?')[:60]} of the custom domain {texts[7][:60]}", "graph")
    if texts.get(4) in ("If", "Loop", "Scan"):
        yield ("unknown", f"control flow ({texts[4]}), which can depend on the input", "graph")


def _tensor_notes(tensor: bytes) -> Iterator[Note]:
    filled = {n for n, _, v in _fields(tensor) if n in (4, 5, 7, 9, 10) and v}
    if len(filled) > 1:
        yield ("unknown", "a tensor with two data fields filled at once", "initializer")
    for number, _, entry in _fields(tensor):
        if number == 13 and isinstance(entry, bytes):
            pair = {n: v.decode("utf-8", "replace") for n, _, v in _fields(entry) if isinstance(v, bytes)}
            place = pair.get(2, "")
            if pair.get(1) == "location" and (place.startswith(("/", "\\")) or ".." in place or ":" in place):
                yield ("unsafe", f"weights are read from outside its folder: {place[:80]}", "initializer")


def _varint(blob: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(blob):
            raise ValueError("it ends in the middle of a number")
        byte = blob[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")


def _fields(blob: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Field number, wire type and value of a protobuf message."""
    at = 0
    while at < len(blob):
        key, at = _varint(blob, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(blob, at)
            yield number, wire, value
            continue
        if wire == 2:
            length, at = _varint(blob, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(blob):
            raise ValueError("a field is longer than the file")
        yield number, wire, blob[at : at + length]
        at += length

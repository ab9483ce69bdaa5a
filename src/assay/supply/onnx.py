"""ONNX: the graph's decisions on its input, operators of unknown origin, and where the weights come from.

Source of the field numbers: ONNX, "onnx.proto", IR version 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from assay.supply.protobuf import Message, first_look, message, number_of, parts, text
from assay.supply.report import Piece, Search, Unreadable, shown
from assay.supply.weights import oddity

MAX_NESTED = 8
"""Graphs inside graphs."""

MAX_SIDES = 64
"""Of the tensors that numpy can hold."""

_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
_CAFFE_FIELDS = {*range(1, 9), 100}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_TYPES = {1: "F32", 10: "F16", 11: "F64", 14: "C64", 15: "C128", 16: "BF16", 17: "F8_E4M3", 19: "F8_E5M2"}
_DATA = (4, 5, 6, 7, 9, 10, 11)
"""float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data."""

_COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
_CARRIERS = {"And", "Or", "Not", "Xor", "Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "ReduceMax",
             "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd"}  # fmt: skip
"""What hands on the outcome of a comparison."""

_OF_SHAPE = {"Shape", "Size"}
"""What depends on the shape of its input alone."""


@dataclass
class _Flow:
    """Names of values: those that depend on the model's input, and those that say how it compares with a constant."""

    of_input: set[str] = field(default_factory=set)
    compared: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=lambda: {""})

    def inside(self) -> _Flow:
        return _Flow(set(self.of_input), set(self.compared), set(self.known))


def is_onnx(model: Message) -> bool:
    """Whether a message has a graph and the numbers that a model has, and nothing else."""
    return model.keys() <= _MODEL_FIELDS and len(parts(model, 7)) > 0 and (1 in model or 8 in model)


def is_caffe(net: Message, search: Search) -> bool:
    """Whether a message has Caffe's layers, old or new."""
    layers = parts(net, 100) or parts(net, 2)
    return net.keys() <= _CAFFE_FIELDS and len(layers) > 0 and len(first_look(layers[0], search)) > 0


def look_at_onnx(search: Search, piece: Piece) -> None:
    """Look at the graph, the graphs in it, and the functions beside it.

    Raises:
        Unreadable: if the bytes are no protobuf, or graphs are nested too deep.
    """
    model = message(piece.data, search)
    if len(parts(model, 7)) != 1 or model.get(20):
        search.unknown("more than one graph, of which readers run one or all", piece.place("graph"))
    functions = [message(function, search) for function in parts(model, 25)]
    domains = _DOMAINS | {text(function, 10) for function in functions}
    for function in functions:
        flow = _Flow()
        flow.of_input |= set(_texts(function, 4))
        flow.known |= flow.of_input
        _look_at_nodes(search, piece, parts(function, 7), flow, domains, 0)
    for graph in parts(model, 7):
        _look_at_graph(search, piece, graph, _Flow(), domains, 0)


def _look_at_graph(search: Search, piece: Piece, blob: memoryview, flow: _Flow, domains: set[str], depth: int) -> None:
    if depth > MAX_NESTED:
        raise Unreadable(f"graphs nested more than {MAX_NESTED} deep")
    graph = message(blob, search)
    constants = {_look_at_tensor(search, piece, tensor) for tensor in parts(graph, 5)}
    for sparse in parts(graph, 15):
        constants |= {_look_at_tensor(search, piece, t) for t in parts(message(sparse, search), 1)}
    inputs = {text(message(value, search), 1) for value in parts(graph, 11)} - constants
    flow.of_input |= inputs
    flow.of_input -= constants
    flow.known |= inputs | constants
    _look_at_nodes(search, piece, parts(graph, 1), flow, domains, depth)


def _look_at_nodes(
    search: Search, piece: Piece, nodes: list[memoryview], flow: _Flow, domains: set[str], depth: int
) -> None:
    for blob in nodes:
        node = message(blob, search)
        operator, domain = text(node, 4), text(node, 7)
        place = piece.place(f"node {shown(text(node, 3) or operator, 60)}")
        if domain not in domains:
            search.unknown(f"operator {shown(operator, 60)} of the custom domain {shown(domain, 60)}", place)
        inputs = list(_texts(node, 1))
        if not flow.known.issuperset(inputs):
            search.unknown("a node that comes before its input", place)
        _note_decision(search, place, operator, inputs, flow)
        for attribute in parts(node, 5):
            _look_at_attribute(search, piece, message(attribute, search), flow, domains, depth)
        _follow(operator, inputs, set(_texts(node, 2)), flow)


def _note_decision(search: Search, place: str, operator: str, inputs: list[str], flow: _Flow) -> None:
    """Note what chooses between results by the input: how a graph hides a second behaviour."""
    if operator == "If" and flow.of_input.intersection(inputs[:1]):
        search.unknown("control flow (If) that depends on the input", place)
    if operator == "Loop" and flow.of_input.intersection(inputs[:2]):
        search.unknown("control flow (Loop) that depends on the input", place)
    if operator == "Where" and flow.compared.intersection(inputs[:1]):
        search.unknown("a choice (Where) by comparing the input with a constant", place)
    if operator == "Mul" and flow.compared.intersection(inputs):
        search.unknown("a switch (Mul) by comparing the input with a constant", place)


def _follow(operator: str, inputs: list[str], outputs: set[str], flow: _Flow) -> None:
    """What is known of a node's outputs by its inputs."""
    depends = flow.of_input.intersection(inputs)
    constant = any(name and name not in flow.of_input for name in inputs)
    flow.known |= outputs
    if depends and operator not in _OF_SHAPE:
        flow.of_input |= outputs
    if operator in _COMPARISONS and depends and constant:
        flow.compared |= outputs
    if operator in _CARRIERS and flow.compared.intersection(inputs):
        flow.compared |= outputs


def _look_at_attribute(
    search: Search, piece: Piece, attribute: Message, flow: _Flow, domains: set[str], depth: int
) -> None:
    for tensor in (*parts(attribute, 5), *parts(attribute, 10)):
        _look_at_tensor(search, piece, tensor)
    for sparse in (*parts(attribute, 22), *parts(attribute, 23)):
        for tensor in parts(message(sparse, search), 1):
            _look_at_tensor(search, piece, tensor)
    for graph in (*parts(attribute, 6), *parts(attribute, 11)):
        _look_at_graph(search, piece, graph, flow.inside(), domains, depth + 1)


def _texts(of: Message, number: int) -> Iterator[str]:
    return (str(part, "utf-8", "replace") for part in parts(of, number))


def _look_at_tensor(search: Search, piece: Piece, blob: memoryview) -> str:
    """Check one tensor; returns its name."""
    tensor = message(blob, search)
    name = text(tensor, 8)
    place = piece.place(f"tensor {shown(name)}")
    filled = [n for n in _DATA if any(parts(tensor, n)) or any(v for v in tensor.get(n, []) if isinstance(v, int))]
    if len(filled) > 1 or len(parts(tensor, 9)) > 1:
        search.unknown("a tensor with two data fields filled at once, of which readers take either", place)
    if tensor.get(13) or number_of(tensor, 14):
        _look_at_external(search, place, tensor)
    elif search.check_weights:
        _look_at_elements(search, place, tensor)
    return name


def _look_at_external(search: Search, place: str, tensor: Message) -> None:
    entries = [message(entry, search) for entry in parts(tensor, 13)]
    for where in [text(entry, 2) for entry in entries if text(entry, 1) == "location"] or ["a file it does not name"]:
        if where.startswith(("/", "\\")) or ":" in where or ".." in re.split(r"[/\\]", where):
            search.unsafe(f"its weights are read from outside its folder: {shown(where)}", place)
        else:
            search.unknown(f"its weights are in another file, which was not looked at: {shown(where)}", place)


def _is_of_ones(sides: int | memoryview) -> bool:
    """Whether a side, or sides packed into bytes, are at most 1; of numbers packed one byte each tells that."""
    if isinstance(sides, int):
        return sides <= 1
    return len(sides) <= MAX_SIDES and all(side <= 1 for side in sides)


def _look_at_elements(search: Search, place: str, tensor: Message) -> None:
    lone = all(_is_of_ones(sides) for sides in tensor.get(1, []))
    dtype = _TYPES.get(number_of(tensor, 2), "")
    if dtype and tensor.get(5):
        search.unknown("fractions written as whole numbers, which are not judged", place)
    for number, form in ((9, dtype), (4, "F32"), (10, "F64")):
        for raw in parts(tensor, number):
            if what := oddity(raw, form, lone=lone):
                search.unsafe(what, place)

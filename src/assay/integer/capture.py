"""A torch module as a graph of real operations, read off `torch.export` of the module we hold.

Only inference is captured: dropout vanishes, batch normalisation becomes its affine map. What has no integer form is
refused by the name of its layer.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from assay.errors import ModelError
from assay.integer.aten_layers import LAYERS
from assay.integer.aten_moves import MOVES
from assay.integer.builder import Builder, Channels, Refused, Tensorial
from assay.integer.graph import Input, Shape
from assay.integer.real import RealNode
from assay.models.exporting import constants, export

HANDLERS = {**LAYERS, **MOVES}

SUPPORTED = (
    "convolutions and linear layers, batch normalisation, sums, average and max pooling, ReLU, squares, flattening, "
    "concatenation of channels, strided slices with zero channels"
)


def capture(model: nn.Module, image_shape: tuple[int, int, int]) -> list[RealNode]:
    """The real graph of a module that maps pictures `n c h w` in [0, 1] to logits `n k`.

    Raises:
        ModelError: if it cannot be exported, or a layer has no integer form.
    """
    exported = export(model, image_shape, "the model", decompose=True)
    held = _constants(exported)
    builder = Builder(Input(image_shape, name="input"), image_shape)
    seen: dict[fx.Node, Any] = {}
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            seen[node] = held[node.name] if node.name in held else Tensorial(0)
        elif node.op == "call_function":
            seen[node] = _read(node, seen, builder)
        elif node.op == "output":
            return _finished(node, seen, builder)
    raise ModelError("the exported model has no output")


def _constants(exported: Any) -> dict[str, Tensor]:
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise ModelError("the model changes its own buffers or its input while it runs; compile one that does not")
    return constants(exported)


def layer_name(node: fx.Node) -> str:
    """Path of the module that the operation stands in, without the wrapper that normalises pictures."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    return str(path).removeprefix("network.") if path not in ("", "network") else node.name


def _read(node: fx.Node, seen: dict[fx.Node, Any], builder: Builder) -> Any:
    """What this call gives: a constant, a tensor of the graph (its nodes are added), or a slice to be put together."""

    def value(argument: Any) -> Any:
        return seen[argument] if isinstance(argument, fx.Node) else argument

    arguments = list(fx.map_arg(node.args, value))
    settings = dict(fx.map_arg(node.kwargs, value))
    builder.name, kind = layer_name(node), _kind(node)
    of_picture = any(isinstance(a, Tensorial | Channels) for a in _leaves([*arguments, *settings.values()]))
    if _is_random(node) and not (of_picture and kind in HANDLERS):
        raise ModelError(f"layer {builder.name} ({kind}) has no integer form: it draws random numbers")
    if not of_picture:
        return node.target(*arguments, **settings)  # type: ignore[operator]
    if kind not in HANDLERS:
        raise ModelError(f"layer {builder.name} ({kind}) has no integer form; supported are {SUPPORTED}")
    try:
        return HANDLERS[kind](builder, _shape_of(node), *arguments, **settings)
    except (Refused, TypeError) as error:
        raise ModelError(f"layer {builder.name} ({kind}) has no integer form: {error}") from error


def _is_random(node: fx.Node) -> bool:
    """Whether it gives something else each time; dropout is marked so too, but does nothing in inference."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _finished(output: fx.Node, seen: dict[fx.Node, Any], builder: Builder) -> list[RealNode]:
    results = output.args[0]
    if not isinstance(results, Sequence) or len(results) != 1 or not isinstance(results[0], fx.Node):
        raise ModelError("the model must give one tensor, its logits")
    last = seen[results[0]]
    if not isinstance(last, Tensorial) or len(builder.shapes[last.number]) != 1:
        raise ModelError("the model must give logits `n k` that depend on the picture")
    return builder.nodes[: last.number + 1]


def _leaves(arguments: Any) -> list[Any]:
    if isinstance(arguments, list | tuple):
        return [leaf for a in arguments for leaf in _leaves(a)]
    return [arguments]


def _kind(node: fx.Node) -> str:
    return "getitem" if node.target is operator.getitem else str(node.target).removeprefix("aten.")


def _shape_of(node: fx.Node) -> Shape:
    """Shape without the batch."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, list | tuple) else value
    return tuple(int(side) for side in value.shape[1:]) if isinstance(value, Tensor) else ()

"""From a torch module to its list of layers, read off `torch.export` of the module we hold.

Only inference is read: dropout vanishes. What is no layer of ours is refused by the name of the module it stands in.
What was read is run beside the module, since one may do what a list of layers does not show: write into a view, say.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from assay.errors import ModelError
from assay.models.exporting import EXAMPLES, constants, export
from assay.models.layer_graph import (
    Add,
    AnyOperation,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Flatten,
    GraphError,
    LayerGraph,
    MaxPool,
    Norm,
    PadChannels,
    Relu,
    Shape,
    Square,
    Subsample,
    shapes,
)
from assay.search.graph import Graph, Step, Weights, of_layer_graph

COMPARED = 16
"""Pictures on which a list of layers is compared with its module."""

TOLERATED = 1e-3
"""Of the largest logit, or of 1: more than what the order of float32 sums makes of it."""


class _Refused(Exception):
    """Why a call is no layer of ours."""


class _Value(int):
    """The number of a value of the graph, told apart from plain numbers."""


def trace(network: nn.Module, picture: tuple[int, int, int]) -> Graph:
    """The layers of a module that maps pictures `n c h w` to logits `n k`.

    Raises:
        ModelError: by the name of the layer that cannot be written as one of ours, or if it cannot be exported, or if
            the layers answer otherwise than the module.
    """
    if isinstance(network, LayerGraph):
        return of_layer_graph(network)
    graph = _read(network, picture)
    check_same(network, graph, torch.randn(COMPARED, *picture, generator=torch.Generator().manual_seed(0)))
    return graph


def check_same(network: nn.Module, graph: Graph, pictures: Tensor) -> tuple[float, float]:
    """Largest difference of logits between a module and a list of layers, and the largest logit.

    Raises:
        ModelError: if it is more than rounding.
    """
    was_training = network.training
    with torch.inference_mode():
        expected, given = network.eval()(pictures), graph.network()(pictures)
    network.train(was_training)
    difference, largest = float((expected - given).abs().max()), float(expected.abs().max())
    if not difference <= TOLERATED * max(1.0, largest):
        raise ModelError(
            f"{type(network).__name__} cannot be rewritten: as layers, its logits of up to {largest:.3g} differ by "
            f"{difference:.3g}"
        )
    return difference, largest


def _read(network: nn.Module, picture: tuple[int, int, int]) -> Graph:
    exported = export(network, picture, type(network).__name__, decompose=False)
    held = {name: tensor.clone() for name, tensor in constants(exported).items()}
    tracing = _Tracing(picture)
    seen: dict[fx.Node, Any] = {}
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            seen[node] = held[node.name] if node.name in held else _Value(0)
        elif node.op == "call_function":
            seen[node] = tracing.call(node, seen)
        elif node.op == "output":
            return tracing.finished(seen[node.args[0][0]], len(node.args[0]))
        else:
            raise ModelError(f"{node.name} cannot be rewritten: it is a block of its own (a mode, a branch or a loop)")
    raise ModelError("the exported network has no output")


class _Tracing:
    """The list so far, and how each kind of call adds to it."""

    def __init__(self, picture: tuple[int, int, int]) -> None:
        self.picture = picture
        self.steps: list[Step] = []
        self.shapes: list[Shape] = [picture]
        self.name = ""

    def add(self, operation: AnyOperation, weights: Weights | None = None) -> _Value:
        self.steps.append(Step(operation, weights or {}, self.name))
        try:
            self.shapes = shapes([step.operation for step in self.steps], self.picture)
        except GraphError as error:
            raise _Refused(str(error)) from error
        return _Value(len(self.steps))

    def call(self, node: fx.Node, seen: dict[fx.Node, Any]) -> Any:
        arguments = list(fx.map_arg(node.args, lambda n: seen[n]))
        settings = dict(fx.map_arg(node.kwargs, lambda n: seen[n]))
        stack = list(node.meta.get("nn_module_stack", {}).values())
        self.name = str(stack[-1][0]) if stack and stack[-1][0] else node.name
        kind = "getitem" if node.target is operator.getitem else str(node.target).removeprefix("aten.")
        kind = kind.replace("_.", ".")  # in place or not
        if not any(isinstance(leaf, _Value) for leaf in _leaves([arguments, settings])):
            return node.target(*arguments, **settings)  # type: ignore[operator]
        if kind not in _HANDLERS:
            raise ModelError(f"layer {self.name} ({kind}) cannot be rewritten: it is none of {', '.join(_KNOWN)}")
        try:
            return _HANDLERS[kind](self, *arguments, **settings)
        except (_Refused, TypeError) as error:
            raise ModelError(f"layer {self.name} ({kind}) cannot be rewritten: {error}") from error

    def finished(self, last: Any, outputs: int) -> Graph:
        if outputs != 1 or not isinstance(last, _Value) or len(self.shapes[last]) != 1:
            raise ModelError("the network must give one tensor, its logits `n k`, that depends on the picture")
        return Graph(tuple(self.steps[:last]), self.picture).without_dead()


def _leaves(arguments: Any) -> list[Any]:
    if isinstance(arguments, dict):
        arguments = list(arguments.values())
    if isinstance(arguments, list | tuple):
        return [leaf for a in arguments for leaf in _leaves(a)]
    return [arguments]


def _value(x: Any) -> _Value:
    if not isinstance(x, _Value):
        raise _Refused("it combines the picture with a constant")
    return x


def _pair(value: Any) -> tuple[int, int]:
    sides = [value, value] if isinstance(value, int) else list(value) * (2 if len(value) == 1 else 1)
    return int(sides[0]), int(sides[1])


def _conv(t: _Tracing, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
          groups: int = 1) -> _Value:  # fmt: skip
    if not isinstance(weight, Tensor) or weight.ndim != 4:
        raise _Refused("only two-dimensional convolutions with weights of their own are supported")
    kernel, spread = _pair(weight.shape[2:]), _pair(dilation)
    if padding == "same":
        padding = [d * (k - 1) / 2 for k, d in zip(kernel, spread, strict=True)]
        if any(p % 1 for p in padding):
            raise _Refused("its padding differs from side to side")
    around = (0, 0) if padding == "valid" else _pair(padding if isinstance(padding, int) else [int(p) for p in padding])
    operation = Conv(
        _value(x), len(weight), kernel, _pair(stride), around, spread, groups, bias is not None
    )  # fmt: skip
    return t.add(operation, {"weight": weight} | ({} if bias is None else {"bias": bias}))


def _linear(t: _Tracing, x: Any, weight: Tensor, bias: Any = None) -> _Value:
    if t.shapes[_value(x)] != weight.shape[1:]:
        raise _Refused(f"it reads the last {weight.shape[1]} values of the shape {t.shapes[_value(x)]}, not all")
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return t.add(Dense(_value(x), len(weight), bias is not None), weights)


def _norm(t: _Tracing, x: Any, weight: Any, bias: Any, mean: Tensor | None, var: Tensor | None, training: bool,
          momentum: float, eps: float, *more: Any) -> _Value:  # fmt: skip
    if training or mean is None or var is None:
        raise _Refused("it normalises by the pictures at hand, not by what it has learnt")
    if t.shapes[_value(x)][:1] != mean.shape:
        raise _Refused(f"it normalises {len(mean)} channels of the shape {t.shapes[_value(x)]}")
    weights = {
        "weight": torch.ones_like(mean) if weight is None else weight,
        "bias": torch.zeros_like(mean) if bias is None else bias,
        "running_mean": mean,
        "running_var": var,
        "num_batches_tracked": torch.tensor(0),
    }
    return t.add(Norm(_value(x), float(eps)), weights)


def _relu(t: _Tracing, x: Any) -> _Value:
    value = _value(x)
    return t.add(Relu(value, 0, t.shapes[value][0]))


def _clamp(t: _Tracing, x: Any, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> _Value:
    if (low if min is None else min) != 0 or (high if max is None else max) is not None:
        raise _Refused("of clamps only the one at 0 from below, ReLU, is supported")
    return _relu(t, x)


def _add(t: _Tracing, x: Any, y: Any, *, alpha: Any = 1) -> _Value:
    if alpha != 1:
        raise _Refused("only plain sums are supported")
    first, second = _value(x), _value(y)
    if t.shapes[first] != t.shapes[second]:
        raise _Refused(f"the tensors to be added have the shapes {t.shapes[first]} and {t.shapes[second]}")
    return t.add(Add((first, second)))


def _cat(t: _Tracing, parts: Sequence[Any], dim: int = 0) -> _Value:
    values = tuple(_value(part) for part in parts)
    if dim % (len(t.shapes[values[0]]) + 1) != 1:
        raise _Refused("tensors are joined along their channels only")
    return values[0] if len(values) == 1 else t.add(Concat(values))


def _max_pool(t: _Tracing, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
              ceil_mode: bool = False) -> _Value:  # fmt: skip
    if _pair(dilation) != (1, 1) or ceil_mode:
        raise _Refused("max pools with dilation or windows that hang over the edge are not supported")
    return t.add(MaxPool(_value(x), _pair(kernel), _pair(stride or kernel), _pair(padding)))


def _avg_pool(t: _Tracing, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
              count_include_pad: bool = True, divisor_override: int | None = None) -> _Value:  # fmt: skip
    around = _pair(padding)
    if ceil_mode or divisor_override or (any(around) and not count_include_pad):
        raise _Refused("average pools are supported where the padding counts and nothing hangs over the edge")
    return t.add(AvgPool(_value(x), _pair(kernel), _pair(stride or kernel), around))


def _adaptive_avg_pool(t: _Tracing, x: Any, size: Any) -> _Value:
    value = _value(x)
    given, wanted = t.shapes[value][1:], _pair(size)
    if any(g % w for g, w in zip(given, wanted, strict=True)):
        raise _Refused(f"adaptive pooling of {given} to {wanted} has windows of several sizes")
    window = (given[0] // wanted[0], given[1] // wanted[1])
    return t.add(AvgPool(value, window, window))


def _mean(t: _Tracing, x: Any, dims: Any, keepdim: bool = False, **more: Any) -> _Value:
    value = _value(x)
    shape = t.shapes[value]
    if len(shape) != 3 or sorted(d % 4 for d in dims) != [2, 3]:
        raise _Refused("means are supported over height and width together")
    pooled = t.add(AvgPool(value, (shape[1], shape[2]), (shape[1], shape[2])))
    return pooled if keepdim else t.add(Flatten(pooled))


def _flatten(t: _Tracing, x: Any, start: int = 0, end: int = -1) -> _Value:
    value = _value(x)
    dimensions = 1 + len(t.shapes[value])
    if start % dimensions != 1 or end % dimensions != dimensions - 1:
        raise _Refused("flattening is supported of channels, height and width together")
    return value if dimensions == 2 else t.add(Flatten(value))


def _view(t: _Tracing, x: Any, size: Sequence[int]) -> _Value:
    value = _value(x)
    whole = prod(t.shapes[value])
    if len(size) != 2 or size[0] not in (EXAMPLES, -1) or size[1] not in (whole, -1):
        raise _Refused(f"reshaping {t.shapes[value]} to {tuple(size)} is not flattening")
    return _flatten(t, value, 1)


def _slice(t: _Tracing, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> _Value:
    value = _value(x)
    whole = (EXAMPLES, *t.shapes[value])[dim]
    begin, stop, _ = slice(start, end).indices(whole)
    if (begin, stop) != (0, whole) or (dim < 2 and step != 1):
        raise _Refused("of slices only every n-th row or column from the first is supported")
    if step == 1:
        return value
    return t.add(Subsample(value, (step, 1) if dim == 2 else (1, step)))


def _pad(t: _Tracing, x: Any, sides: Sequence[int], mode: Any = "constant", value: Any = None) -> _Value:
    filled = mode if isinstance(mode, int | float) else value
    sides = [*sides, 0, 0, 0, 0, 0, 0][:6]
    if mode not in ("constant", filled) or filled not in (None, 0) or any(sides[:4]) or min(sides) < 0:
        raise _Refused("only channels of zeros can be padded outside a convolution")
    return t.add(PadChannels(_value(x), sides[4], sides[5])) if any(sides) else _value(x)


def _mul(t: _Tracing, x: Any, y: Any) -> _Value:
    if _value(x) != _value(y):
        raise _Refused("a product of two different tensors is not supported")
    return t.add(Square(_value(x)))


def _pow(t: _Tracing, x: Any, exponent: Any) -> _Value:
    if exponent != 2:
        raise _Refused(f"of powers only the square is supported, not {exponent}")
    return t.add(Square(_value(x)))


def _same(t: _Tracing, x: Any, *more: Any, **settings: Any) -> Any:
    return x


def _dropout(t: _Tracing, x: Any, share: float, training: bool) -> Any:
    if training:
        raise _Refused("it is active: it drops values in eval mode as well")
    return x


def _as_type(t: _Tracing, x: Any, dtype: Any, *more: Any) -> Any:
    if dtype != torch.float32:
        raise _Refused(f"values are float32 throughout, not {dtype}")
    return x


def _nothing(t: _Tracing, *given: Any, **settings: Any) -> None:
    return None


_HANDLERS: dict[str, Callable[..., Any]] = {
    "conv2d.default": _conv,
    "conv2d.padding": _conv,
    "linear.default": _linear,
    "batch_norm.default": _norm,
    "relu.default": _relu,
    "clamp.default": _clamp,
    "clamp_min.default": _clamp,
    "add.Tensor": _add,
    "cat.default": _cat,
    "max_pool2d.default": _max_pool,
    "avg_pool2d.default": _avg_pool,
    "adaptive_avg_pool2d.default": _adaptive_avg_pool,
    "mean.dim": _mean,
    "flatten.using_ints": _flatten,
    "view.default": _view,
    "reshape.default": _view,
    "slice.Tensor": _slice,
    "pad.default": _pad,
    "constant_pad_nd.default": _pad,
    "mul.Tensor": _mul,
    "square.default": lambda t, x: t.add(Square(_value(x))),
    "pow.Tensor_Scalar": _pow,
    **dict.fromkeys(("alias.default", "clone.default", "contiguous.default", "detach.default"), _same),
    **dict.fromkeys(
        ("dropout.default", "feature_dropout.default", "alpha_dropout.default", "feature_alpha_dropout.default"),
        _dropout,
    ),
    "to.dtype": _as_type,
    "_assert_tensor_metadata.default": _nothing,
}
"""By the name of the operation in `torch.ops.aten`."""

_KNOWN = (
    "convolution", "linear layer", "batch norm", "ReLU", "square", "sum", "concatenation", "max or average pool",
    "flattening", "strided slice", "zero channels",
)  # fmt: skip

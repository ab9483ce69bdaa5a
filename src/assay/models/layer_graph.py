"""A network that is described as data: a list of layers, each reading layers before it.

What a rewrite or a linearisation makes of a network has no code of its own. Its model file names the architecture
`layer-graph` and carries this list in the header, so that it is opened again without running anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assay.models.channel_relu import ChannelReLU

Size = tuple[int, int]
Shape = tuple[int, ...]
"""Of one picture's tensor: `c h w`, or `k` once it is flat."""

MOST_LAYERS = 4096
MOST_CHANNELS = 65_536
MOST_VALUES = 2**26
"""Of one tensor of one picture."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", omit_defaults=True):
    """Value 0 is the picture; operation i of the list gives value i + 1, from values with smaller numbers."""

    @property
    def reads(self) -> tuple[int, ...]:
        """The values that it is computed from."""
        raise NotImplementedError


class Unary(Operation, frozen=True):
    """Reads one value."""

    input: int

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.input,)


class Joining(Operation, frozen=True):
    """Reads several values."""

    inputs: tuple[int, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        return self.inputs


class Conv(Unary, frozen=True, tag="conv"):
    """Cross-correlation, zeros outside the picture."""

    out: int
    kernel: Size = (1, 1)
    stride: Size = (1, 1)
    padding: Size = (0, 0)
    dilation: Size = (1, 1)
    groups: int = 1
    bias: bool = False


class Norm(Unary, frozen=True, tag="norm"):
    """Batch normalisation."""

    eps: float = 1e-5


class Dense(Unary, frozen=True, tag="dense"):
    """A linear layer on a flat tensor."""

    out: int
    bias: bool = True


class Relu(Unary, frozen=True, tag="relu"):
    """On channels start ≤ c < stop."""

    start: int
    stop: int


class Square(Unary, frozen=True, tag="square"):
    """x²."""


class MaxPool(Unary, frozen=True, tag="max-pool"):
    """Largest value of each window."""

    kernel: Size
    stride: Size
    padding: Size = (0, 0)


class AvgPool(Unary, frozen=True, tag="avg-pool"):
    """Mean of each window, zeros outside the picture counted."""

    kernel: Size
    stride: Size
    padding: Size = (0, 0)


class Flatten(Unary, frozen=True, tag="flatten"):
    """`c h w` to `k`."""


class Subsample(Unary, frozen=True, tag="subsample"):
    """Every `stride`-th row and column."""

    stride: Size


class PadChannels(Unary, frozen=True, tag="pad-channels"):
    """Channels of zeros before and after."""

    before: int
    after: int


class Add(Joining, frozen=True, tag="add"):
    """Sum of tensors of one shape."""


class Concat(Joining, frozen=True, tag="concat"):
    """Joined along the channels."""


AnyOperation = (
    Conv | Norm | Dense | Relu | Square | MaxPool | AvgPool | Flatten | Subsample | PadChannels | Add | Concat
)


class GraphError(ValueError):
    """A list of layers that is no network; says which layer, and why."""


def decode(text: str) -> list[AnyOperation]:
    """The list that is written in a header.

    Raises:
        GraphError: if it is not one.
    """
    try:
        operations = msgspec.json.decode(text, type=list[AnyOperation])
    except msgspec.DecodeError as error:
        raise GraphError(f"the list of layers cannot be read: {error}") from error
    if not 1 <= len(operations) <= MOST_LAYERS:
        raise GraphError(f"a network has 1 to {MOST_LAYERS} layers, got {len(operations)}")
    return operations


def encode(operations: Sequence[AnyOperation]) -> str:
    """The text that `decode` reads."""
    return msgspec.json.encode(list(operations)).decode()


def shapes(operations: Sequence[AnyOperation], picture: Shape) -> list[Shape]:
    """The shape of each value, the picture's first; nothing is computed.

    Raises:
        GraphError: by the number of the layer whose settings or inputs do not fit.
    """
    known: list[Shape] = [picture]
    for i, operation in enumerate(operations, 1):
        if not operation.reads or not all(0 <= j < i for j in operation.reads):
            raise GraphError(f"layer {i} ({_name(operation)}) reads {operation.reads[:9]}, not only layers before it")
        try:
            shape = _shape(operation, [known[j] for j in operation.reads])
        except GraphError as error:
            raise GraphError(f"layer {i} ({_name(operation)}): {error}") from None
        if min(shape) < 1 or (len(shape) == 3 and shape[0] > MOST_CHANNELS) or prod(shape) > MOST_VALUES:
            limits = f"of at most {MOST_CHANNELS:,} channels and {MOST_VALUES:,} values, and at least one"
            raise GraphError(f"layer {i} ({_name(operation)}) would have the shape {shape}, not one {limits}")
        known.append(shape)
    return known


def _name(operation: AnyOperation) -> str:
    return str(operation.__struct_config__.tag)


def _shape(operation: AnyOperation, given: Sequence[Shape]) -> Shape:
    first = given[0]
    match operation:
        case Dense(out=out):
            if len(first) != 1:
                raise GraphError(f"a linear layer reads a flat tensor, got the shape {first}")
            if out > MOST_CHANNELS or out * first[0] > MOST_CHANNELS**2:
                raise GraphError(f"a linear layer of {first[0]} by {out} weights")
            return (out,)
        case Add():
            if any(shape != first for shape in given):
                raise GraphError(f"the tensors to be added have the shapes {', '.join(map(str, given[:9]))}")
            return first
        case Concat():
            if any(shape[1:] != first[1:] for shape in given):
                raise GraphError(f"the tensors to be joined have the shapes {', '.join(map(str, given[:9]))}")
            return (sum(shape[0] for shape in given), *first[1:])
        case Relu(start=start, stop=stop):
            if not 0 <= start <= stop <= first[0]:
                raise GraphError(f"channels {start} to {stop} of {first[0]}")
            return first
        case Square():
            return first
        case Norm(eps=eps):
            if not 0 < eps <= 1:
                raise GraphError(f"eps is {eps}")
            return first
    if len(first) != 3:
        raise GraphError(f"it needs `c h w`, got the shape {first}")
    return _picture_shape(operation, first)


def _picture_shape(operation: AnyOperation, first: Shape) -> Shape:
    match operation:
        case Flatten():
            return (prod(first),)
        case Subsample(stride=stride):
            _positive(stride)
            return (first[0], -(-first[1] // stride[0]), -(-first[2] // stride[1]))
        case PadChannels(before=before, after=after):
            if min(before, after) < 0 or max(before, after) > MOST_CHANNELS:
                raise GraphError(f"{before} and {after} channels of zeros")
            return (first[0] + before + after, *first[1:])
        case Conv(out=out, groups=groups, dilation=dilation):
            _positive(dilation)
            if out < 1 or groups < 1 or out % groups or first[0] % groups:
                raise GraphError(f"{first[0]} channels to {out} in {groups} groups")
            return (out, *_windows(operation, first, dilation))
        case MaxPool(kernel=kernel, padding=padding) | AvgPool(kernel=kernel, padding=padding):
            if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
                raise GraphError(f"a padding of {padding} is more than half the window {kernel}")
            return (first[0], *_windows(operation, first, (1, 1)))
    raise GraphError("it is not a layer")


def _windows(operation: Conv | MaxPool | AvgPool, first: Shape, dilation: Size) -> Size:
    _positive(operation.kernel)
    _positive(operation.stride)
    if min(operation.padding) < 0 or max(operation.padding) > 4096:
        raise GraphError(f"a padding of {operation.padding}")
    settings = zip(first[1:], operation.kernel, operation.stride, operation.padding, dilation, strict=True)
    down, across = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in settings)
    return (down, across)


def _positive(sides: Size) -> None:
    if not all(1 <= side <= 4096 for side in sides):
        raise GraphError(f"a window or stride of {sides}")


class LayerGraph(nn.Module):
    """The network of a list of layers.

    Raises:
        GraphError: if it is no network for pictures of this size, or gives another number of values than `classes`.
    """

    def __init__(self, in_channels: int, image_size: Size, classes: int, graph: str) -> None:
        super().__init__()
        self.operations = decode(graph)
        self.shapes = shapes(self.operations, (in_channels, *image_size))
        if self.shapes[-1] != (classes,):
            raise GraphError(f"the last layer gives the shape {self.shapes[-1]} for {classes} classes")
        given = ([self.shapes[j] for j in operation.reads] for operation in self.operations)
        self.layers = nn.ModuleList(_module(o, read[0]) for o, read in zip(self.operations, given, strict=True))
        self.last_use = {j: i for i, operation in enumerate(self.operations) for j in operation.reads}

    def forward(self, x: Tensor) -> Tensor:
        values = {0: x}
        for i, (operation, layer) in enumerate(zip(self.operations, self.layers, strict=True)):
            read = [values[j] for j in operation.reads]
            values[i + 1] = layer(read) if isinstance(operation, Joining) else layer(read[0])
            for j in operation.reads:
                if self.last_use[j] == i:
                    values.pop(j, None)
        return values[len(self.operations)]


class Rearranged(nn.Module):
    """An operation without weights."""

    def __init__(self, operation: AnyOperation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        match self.operation:
            case Square():
                return x * x
            case Subsample(stride=(down, right)):
                return x[:, :, ::down, ::right]
            case PadChannels(before=before, after=after):
                return F.pad(x, (0, 0, 0, 0, before, after))
        raise TypeError(f"{type(self.operation).__name__} has a module of its own")


class Sum(nn.Module):
    """Of several tensors."""

    def forward(self, x: list[Tensor]) -> Tensor:
        total = x[0]
        for term in x[1:]:
            total = total + term
        return total


class Joined(nn.Module):
    """Several tensors, one after the other along their channels."""

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, 1)


def _module(operation: AnyOperation, shape: Shape) -> nn.Module:
    channels = shape[0]
    match operation:
        case Conv():
            return nn.Conv2d(
                channels, operation.out, operation.kernel, operation.stride, operation.padding, operation.dilation,
                operation.groups, operation.bias,
            )  # fmt: skip
        case Norm(eps=eps):
            return nn.BatchNorm2d(channels, eps) if len(shape) == 3 else nn.BatchNorm1d(channels, eps)
        case Dense():
            return nn.Linear(channels, operation.out, operation.bias)
        case Relu(start=start, stop=stop):
            return nn.ReLU() if (start, stop) == (0, channels) else ChannelReLU(start, stop)
        case MaxPool(kernel=kernel, stride=stride, padding=padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case AvgPool(kernel=kernel, stride=stride, padding=padding):
            return nn.AvgPool2d(kernel, stride, padding)
        case Flatten():
            return nn.Flatten()
        case Add():
            return Sum()
        case Concat():
            return Joined()
        case _:
            return Rearranged(operation)

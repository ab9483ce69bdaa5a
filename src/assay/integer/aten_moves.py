"""Exported operations that move values: flattening, concatenation, slices, padding, and those that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from assay.integer.builder import Builder, Channels, Refused, Tensorial
from assay.integer.graph import Concat, Flatten, PadChannels, ReLU, Shape, Subsample
from assay.integer.real import Border


def _view(r: Builder, shape: Shape, x: Any, *more: Any) -> Tensorial:
    number = r.tensor(x)
    if r.shapes[number] == shape:
        return Tensorial(number)
    if len(shape) != 1 or len(r.shapes[number]) != 3 or shape[0] != prod(r.shapes[number]):
        raise Refused(f"reshaping {r.shapes[number]} to {shape} is not flattening")
    return r.add(Flatten(number), shape)


def _cat(r: Builder, shape: Shape, parts: Any, dim: int = 0) -> Tensorial:
    if dim % (len(shape) + 1) != 1:
        raise Refused("tensors are concatenated along their channels only")
    if len(parts) == 1:
        return Tensorial(r.tensor(parts[0]))
    if any(isinstance(p, Channels) for p in parts):
        return _put_together(r, shape, parts)
    return r.add(Concat(tuple(r.tensor(p) for p in parts)), shape)


def _put_together(r: Builder, shape: Shape, parts: Sequence[Any]) -> Tensorial:
    """relu on a range of channels, written as cat([x[:, :k].relu(), x[:, k:]])."""
    end, first = 0, parts[0]
    for p in parts:
        if not isinstance(p, Channels) or p.tensor != first.tensor or p.start != end:
            raise Refused("slices of channels must be put together in order, all of one tensor")
        end = p.stop
    rectified = [i for i, p in enumerate(parts) if p.rectified]
    if end != r.shapes[first.tensor][0] or rectified != list(
        range(rectified[0], rectified[-1] + 1) if rectified else []
    ):
        raise Refused("the rectified channels must be one range, and every channel must be there")
    if not rectified:
        return Tensorial(first.tensor)
    return r.add(ReLU(first.tensor, parts[rectified[0]].start, parts[rectified[-1]].stop), shape)


def _slice(r: Builder, shape: Shape, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if isinstance(x, Channels):
        raise Refused("a slice of a slice of channels is not supported")
    number = r.tensor(x)
    whole = (2, *r.shapes[number])[dim]
    begin, stop, _ = slice(start, end).indices(whole)
    if (begin, stop, step) == (0, whole, 1):
        return Tensorial(number)
    if dim == 1 and step == 1:
        return Channels(number, begin, stop)
    if dim in (2, 3) and (begin, stop) == (0, whole) and len(shape) == 3:
        return r.add(Subsample(number, (step, 1) if dim == 2 else (1, step)), shape)
    raise Refused("of slices only every n-th row or column from the first is supported")


def _pad(
    r: Builder, shape: Shape, x: Any, sides: Sequence[int], mode: Any = "constant", value: Any = None
) -> Tensorial:
    filled = mode if isinstance(mode, int | float) else value  # constant_pad_nd names no mode
    if mode not in ("constant", filled) or filled not in (None, 0):
        raise Refused("only padding with zeros is supported")
    left, right, top, bottom, before, after = (*sides, 0, 0, 0, 0, 0, 0)[:6]
    number = r.tensor(x)
    if len(sides) > 6 or min(sides, default=0) < 0 or len(r.shapes[number]) != 3:
        raise Refused(f"padding by {list(sides)} is not supported")
    if any((left, right, top, bottom)):
        given = r.shapes[number]
        number = r.add(Border(number, (top, bottom, left, right)), (given[0], *shape[1:])).number
    if before or after:
        number = r.add(PadChannels(number, before, after), shape).number
    return Tensorial(number)


def _same(r: Builder, shape: Shape, x: Any, *more: Any, **settings: Any) -> Any:
    return x


def _item(r: Builder, shape: Shape, x: Any, index: int) -> Any:
    if index != 0:
        raise Refused("only the first result of an operation is supported")
    return x


def _dropout(r: Builder, shape: Shape, x: Any, p: float, train: bool) -> Any:
    if train:
        raise Refused("dropout is active; put the model in eval mode")
    return x


MOVES: dict[str, Callable[..., Any]] = {
    "view.default": _view,
    "reshape.default": _view,
    "_unsafe_view.default": _view,
    "flatten.using_ints": _view,
    "squeeze.dims": _view,
    "cat.default": _cat,
    "slice.Tensor": _slice,
    "pad.default": _pad,
    "constant_pad_nd.default": _pad,
    "dropout.default": _dropout,
    "feature_dropout.default": _dropout,
    "alpha_dropout.default": _dropout,
    "feature_alpha_dropout.default": _dropout,
    "alias.default": _same,
    "clone.default": _same,
    "contiguous.default": _same,
    "detach.default": _same,
    "getitem": _item,
}
"""By the name of the operation in `torch.ops.aten`."""

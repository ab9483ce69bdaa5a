"""Exported operations that compute: products, normalisation, activations, pooling, arithmetic with constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from assay.integer.builder import Builder, Channels, Refused, Tensorial, array, bias_or_zeros, pair, sides
from assay.integer.graph import Flatten, MaxPool, Pair, ReLU, Shape, Sides, Square, window_count
from assay.integer.real import Affine, AveragePool, Convolution, Dense, Reals, Sum


def _conv2d(r: Builder, shape: Shape, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
            dilation: Any = 1, groups: int = 1) -> Tensorial:  # fmt: skip
    w = array(weight)
    if w.ndim != 4:
        raise Refused("only two-dimensional convolutions are supported")
    return r.add(
        Convolution(
            r.tensor(x), w, bias_or_zeros(bias, len(w)), pair(stride), _conv_padding(padding, w, pair(dilation)),
            pair(dilation), groups,
        ),
        shape,
    )  # fmt: skip


def _conv_padding(padding: Any, weight: Reals, dilation: Pair) -> Sides:
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        down, across = (d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
        return down // 2, down - down // 2, across // 2, across - across // 2
    return sides(padding)


def _linear(r: Builder, shape: Shape, x: Any, weight: Any, bias: Any = None) -> Tensorial:
    number = r.tensor(x)
    if len(r.shapes[number]) != 1:
        raise Refused("a linear layer must read a flat tensor")
    w = array(weight)
    return r.add(Dense(number, w, bias_or_zeros(bias, len(w))), shape)


def _batch_norm(r: Builder, shape: Shape, x: Any, weight: Any, bias: Any, mean: Any, var: Any, *more: Any) -> Tensorial:
    eps = float(more[-1] if isinstance(more[-1], float) else more[-2])
    number = r.tensor(x)
    scale = (1 / np.sqrt(array(var) + eps)) * (1.0 if weight is None else array(weight))
    return r.add(Affine(number, scale, bias_or_zeros(bias, len(scale)) - array(mean) * scale), shape)


def _relu(r: Builder, shape: Shape, x: Any) -> Any:
    if isinstance(x, Channels):
        return replace(x, rectified=True)
    return r.add(ReLU(r.tensor(x), 0, shape[0]), shape)


def _clamp(
    r: Builder, shape: Shape, x: Any, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None
) -> Any:
    if (low if min is None else min) != 0 or (high if max is None else max) is not None:
        raise Refused("of clamps only the one at 0 from below, ReLU, is supported")
    return _relu(r, shape, x)


def _fits(r: Builder, shape: Shape, number: int, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair) -> None:
    given = r.shapes[number]
    for axis in (0, 1):
        sides = padding[2 * axis : 2 * axis + 2]
        if window_count(given[1 + axis], kernel[axis], stride[axis], dilation[axis], *sides) != shape[1 + axis]:
            raise Refused("pooling windows that hang over the edge (ceil_mode) are not supported")


def _max_pool(r: Builder, shape: Shape, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
              ceil_mode: bool = False) -> Tensorial:  # fmt: skip
    number, k = r.tensor(x), pair(kernel)
    node = MaxPool(number, k, pair(stride) if stride else k, sides(padding), pair(dilation))
    _fits(r, shape, number, node.kernel, node.stride, node.padding, node.dilation)
    return r.add(node, shape)


def _avg_pool(r: Builder, shape: Shape, x: Any, kernel: Any, stride: Any = (), padding: Any = 0,
              ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
              ) -> Tensorial:  # fmt: skip
    number, k, border = r.tensor(x), pair(kernel), sides(padding)
    if any(border) and not count_include_pad and divisor_override is None:
        raise Refused("an average that leaves out its padding (count_include_pad=False) is not supported")
    node = AveragePool(number, k, pair(stride) if stride else k, border, float(divisor_override or k[0] * k[1]))
    _fits(r, shape, number, node.kernel, node.stride, border, (1, 1))
    return r.add(node, shape)


def _adaptive(r: Builder, shape: Shape, x: Any) -> tuple[int, Pair]:
    number = r.tensor(x)
    given = r.shapes[number]
    if given[1] % shape[1] or given[2] % shape[2]:
        raise Refused(
            f"adaptive pooling of {given[1]}x{given[2]} to {shape[1]}x{shape[2]} has windows of several sizes"
        )
    return number, (given[1] // shape[1], given[2] // shape[2])


def _adaptive_avg_pool(r: Builder, shape: Shape, x: Any, size: Any) -> Tensorial:
    number, kernel = _adaptive(r, shape, x)
    return r.add(AveragePool(number, kernel, kernel, (0, 0, 0, 0), float(kernel[0] * kernel[1])), shape)


def _adaptive_max_pool(r: Builder, shape: Shape, x: Any, size: Any) -> Tensorial:
    number, kernel = _adaptive(r, shape, x)
    return r.add(MaxPool(number, kernel, kernel), shape)


def _mean(r: Builder, shape: Shape, x: Any, dims: Any, keepdim: bool = False, **more: Any) -> Tensorial:
    return _over_picture(r, shape, x, dims, keepdim, mean=True)


def _sum(r: Builder, shape: Shape, x: Any, dims: Any, keepdim: bool = False, **more: Any) -> Tensorial:
    return _over_picture(r, shape, x, dims, keepdim, mean=False)


def _over_picture(r: Builder, shape: Shape, x: Any, dims: Any, keepdim: bool, mean: bool) -> Tensorial:
    number = r.tensor(x)
    given = r.shapes[number]
    if len(given) != 3 or sorted(d % 4 for d in dims) != [2, 3]:
        raise Refused("sums and means are supported over height and width together")
    kernel = (given[1], given[2])
    divisor = float(kernel[0] * kernel[1]) if mean else 1.0
    pooled = r.add(AveragePool(number, kernel, kernel, (0, 0, 0, 0), divisor), (given[0], 1, 1))
    return pooled if keepdim else r.add(Flatten(pooled.number), (given[0],))


def _add(r: Builder, shape: Shape, x: Any, y: Any, *, alpha: Any = 1) -> Tensorial:
    if isinstance(x, Tensorial) and isinstance(y, Tensorial):
        if alpha != 1 or r.shapes[x.number] != r.shapes[y.number]:
            raise Refused("only tensors of one shape are added, with the factor 1")
        return r.add(Sum((x.number, y.number)), shape)
    if isinstance(x, Tensorial):
        number = r.tensor(x)
        shift, scale = r.per_channel(y, number) * float(alpha), 1.0
    else:
        number = r.tensor(y)
        shift, scale = r.per_channel(x, number), float(alpha)
    return r.add(Affine(number, np.full(len(shift), scale), shift), shape)


def _sub(r: Builder, shape: Shape, x: Any, y: Any, *, alpha: Any = 1) -> Tensorial:
    number = r.tensor(x)
    if isinstance(y, Tensorial | Channels):
        raise Refused("a difference of two tensors is not supported; write it as a sum")
    shift = -r.per_channel(y, number) * float(alpha)
    return r.add(Affine(number, np.ones(len(shift)), shift), shape)


def _mul(r: Builder, shape: Shape, x: Any, y: Any) -> Tensorial:
    if isinstance(x, Tensorial) and isinstance(y, Tensorial):
        if x.number != y.number:
            raise Refused("a product of two different tensors is not supported")
        return r.add(Square(x.number), shape)
    tensor, constant = (x, y) if isinstance(x, Tensorial) else (y, x)
    number = r.tensor(tensor)
    scale = r.per_channel(constant, number)
    return r.add(Affine(number, scale, np.zeros(len(scale))), shape)


def _div(r: Builder, shape: Shape, x: Any, y: Any) -> Tensorial:
    number = r.tensor(x)
    if isinstance(y, Tensorial | Channels):
        raise Refused("division by a tensor is not supported")
    scale = 1 / r.per_channel(y, number)
    return r.add(Affine(number, scale, np.zeros(len(scale))), shape)


def _pow(r: Builder, shape: Shape, x: Any, exponent: Any) -> Tensorial:
    if exponent != 2:
        raise Refused(f"of powers only the square is supported, not {exponent}")
    return _square(r, shape, x)


def _square(r: Builder, shape: Shape, x: Any) -> Tensorial:
    return r.add(Square(r.tensor(x)), shape)


LAYERS: dict[str, Callable[..., Any]] = {
    "conv2d.default": _conv2d,
    "conv2d.padding": _conv2d,
    "linear.default": _linear,
    "batch_norm.default": _batch_norm,
    "_native_batch_norm_legit_no_training.default": _batch_norm,
    "relu.default": _relu,
    "clamp.default": _clamp,
    "clamp_min.default": _clamp,
    "max_pool2d.default": _max_pool,
    "max_pool2d_with_indices.default": _max_pool,
    "avg_pool2d.default": _avg_pool,
    "adaptive_avg_pool2d.default": _adaptive_avg_pool,
    "adaptive_max_pool2d.default": _adaptive_max_pool,
    "mean.dim": _mean,
    "sum.dim_IntList": _sum,
    "add.Tensor": _add,
    "sub.Tensor": _sub,
    "mul.Tensor": _mul,
    "div.Tensor": _div,
    "square.default": _square,
    "pow.Tensor_Scalar": _pow,
}
"""By the name of the operation in `torch.ops.aten`."""

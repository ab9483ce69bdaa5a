"""The product of the packed polynomials holds the convolution where the packing says, for every shape."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from assay.errors import ModelError
from assay.integer.definition import define
from assay.integer.graph import Conv2d, Ints, Linear
from assay.private.coefficients import Maps, negacyclic, pack_inputs, pack_weights
from assay.private.layer_shape import LayerShape
from assay.private.packing import packing

THREE = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}


def by_packing(node: Conv2d | Linear, x: Ints, degree: int) -> Ints:
    """W·x mod 2^16, read off products of polynomials."""
    cut = packing(LayerShape.of(node, x.shape), degree)
    maps = Maps(cut)
    inputs = pack_inputs(maps, x % 2**16).astype(object)
    found = np.full(prod(cut.shape.output), -1, object)
    for number, (places, targets) in enumerate(maps.outputs):
        tile, block = divmod(number, cut.output_blocks)
        weights = pack_weights(cut, node.weight, block)
        partners = [inputs[tile * cut.input_blocks + i] for i in cut.partners(block)]
        total = sum(negacyclic(x, w) for x, w in zip(partners, weights, strict=True))
        assert (found[targets] == -1).all(), "an output is given twice"
        assert len(set(places.tolist())) == len(places), "two outputs share a coefficient, so one mask would serve both"
        found[targets] = total[places] % 2**16
    return found.reshape(cut.shape.output)


def check(node: Conv2d | Linear, shape: tuple[int, ...], degree: int) -> None:
    x = np.random.default_rng(1).integers(-99, 100, shape)
    expected = define(node, [x.astype(object)])
    assert (by_packing(node, x, degree) == expected % 2**16).all()


def drawn(*shape: int) -> Ints:
    return np.random.default_rng(2).integers(-128, 128, shape)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
sides = st.integers(0, 2)


@settings(max_examples=40, deadline=None)
@given(
    pairs, pairs, st.tuples(st.integers(1, 2), st.integers(1, 2)), st.tuples(sides, sides, sides, sides),
    st.integers(3, 12), st.integers(3, 12), pairs, st.integers(1, 3), st.sampled_from([64, 128, 256]),
)  # fmt: skip
@example((3, 3), (2, 2), (1, 1), (1, 1, 1, 1), 8, 8, (1, 1), 3, 64)
@example((1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 9, 9, (2, 3), 1, 64)
@example((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 12, 12, (1, 2), 1, 64)  # a picture larger than the polynomial
@example((1, 1), (1, 1), (1, 1), (2, 2, 2, 2), 4, 4, (2, 2), 1, 128)  # windows that read nothing
def test_a_convolution_is_what_its_definition_says(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
    height: int,
    width: int,
    channels: tuple[int, int],
    groups: int,
    degree: int,
) -> None:
    inner, out = channels[0] * groups, channels[1] * groups
    weight = drawn(out, channels[0], *kernel)
    node = Conv2d(0, weight, np.zeros(out, np.int64), stride, padding, dilation, groups)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(spans[0] <= height + sum(padding[:2]) and spans[1] <= width + sum(padding[2:]))
    check(node, (inner, height, width), degree)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 150), st.integers(1, 40))
def test_a_dense_layer_is_what_its_definition_says(inputs: int, outputs: int) -> None:
    check(Linear(0, drawn(outputs, inputs), np.zeros(outputs, np.int64)), (inputs,), 64)


def test_depthwise_convolutions_multiply_only_what_belongs_together() -> None:
    shape = LayerShape("conv2d", (64, 32, 32), (64, 32, 32), groups=64, **THREE)
    cut = packing(shape, 8192)
    assert cut.products == sum(len(cut.partners(block)) for block in range(cut.output_blocks)) < 2 * cut.output_blocks
    check(Conv2d(0, drawn(6, 1, 3, 3), np.zeros(6, np.int64), (1, 1), (1, 1, 1, 1), (1, 1), 6), (6, 5, 5), 128)


def test_borders_between_rows_and_channels_are_shared() -> None:
    cut = packing(LayerShape("conv2d", (64, 32, 32), (64, 32, 32), **THREE), 8192)
    assert cut.tile.plane == 33 * 33
    assert cut.inner * cut.outer * cut.tile.plane <= 8192


def test_a_stride_of_two_costs_no_more_than_its_outputs() -> None:
    fine = LayerShape("conv2d", (16, 32, 32), (32, 32, 32), (1, 1))
    strided = replace(fine, output=(32, 16, 16), stride=(2, 2))
    assert packing(strided, 8192).requests + packing(strided, 8192).replies <= (
        (packing(fine, 8192).requests + packing(fine, 8192).replies + 1) // 2
    )


def test_a_window_that_fits_no_polynomial_is_refused() -> None:
    shape = LayerShape("conv2d", (1, 100, 100), (1, 1, 1), (100, 100))
    with pytest.raises(ModelError, match="too large to encrypt"):
        packing(shape, 8192)


@pytest.mark.parametrize(
    "wrong",
    [
        {"output": (64, 32, 31)},
        {"input": (0, 32, 32)},
        {"input": (1 << 30, 32, 32)},
        {"groups": 3},
        {"padding": (-1, 1, 1, 1)},
        {"stride": (0, 1)},
        {"kind": "linear"},
        {"weight_bits": 60},
    ],
)
def test_a_shape_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    shape = LayerShape("conv2d", (64, 32, 32), (64, 32, 32), **THREE)
    with pytest.raises(ModelError, match="cannot have this shape"):
        replace(shape, **wrong)

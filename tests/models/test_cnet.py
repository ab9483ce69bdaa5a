"""Networks of CryptoNAS: their encodings, and what a layer reads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.models.cnet import RELEASED, CNet, Layer, decode, encode


@st.composite
def encodings(draw: st.DrawFn) -> tuple[Layer, ...]:
    depth = draw(st.integers(1, 7))
    rows = [(draw(st.integers(0, 5)), draw(st.lists(st.booleans(), min_size=i, max_size=i))) for i in range(depth)]
    return tuple(Layer(operation, tuple(skips)) for operation, skips in rows)


@given(encodings())
def test_an_encoding_is_read_as_it_was_written(layers: tuple[Layer, ...]) -> None:
    assert decode(encode(layers)) == layers


@given(encodings(), st.sampled_from([1, 2]))
def test_every_encoding_is_a_network(layers: tuple[Layer, ...], stem: int) -> None:
    network = CNet(1, (16, 16), 3, encode(layers), width=1, stem=stem).eval()
    assert network(torch.rand(2, 1, 16, 16)).shape == (2, 3)


@pytest.mark.parametrize("name", RELEASED)
def test_the_released_networks_have_as_many_layers_as_the_paper_says(name: str) -> None:
    depth = {"cnet1": 6, "cnet2": 12, "cnet3": 24}[name]
    for text in (RELEASED[name].cifar10, RELEASED[name].cifar100):
        assert len(decode(text)) == depth
        assert encode(decode(text)) == text


def test_a_layer_reads_the_one_before_it_and_those_its_bits_name_each_once() -> None:
    layers = decode("0 1:0 0:11 3:010 1:1010")
    assert [layer.sources(i) for i, layer in enumerate(layers)] == [[-1], [0], [0, 1], [1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 9:0", "layer 1 has the operation '9'"),
        ("0 1:01", "layer 1 needs 1 skip bits"),
        ("0 1:2", "layer 1 needs 1 skip bits"),
        ("", "1 to 128 layers"),
        ("x", "layer 0 has the operation"),
        ("²", "layer 0 has the operation"),
    ],
)
def test_what_is_no_encoding_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(text)

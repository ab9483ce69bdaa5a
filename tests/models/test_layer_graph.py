"""Networks described as data: what they say is built, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import ModelError
from assay.models import Model, ModelSpec, build, load, save
from assay.models.layer_graph import (
    Add,
    AnyOperation,
    Concat,
    Conv,
    Dense,
    Flatten,
    GraphError,
    LayerGraph,
    Norm,
    Relu,
    decode,
    encode,
    shapes,
)

SMALL: list[AnyOperation] = [
    Conv(0, 4, kernel=(3, 3), padding=(1, 1)),
    Norm(1),
    Relu(2, 1, 3),
    Add((3, 2)),
    Concat((3, 4)),
    Flatten(5),
    Dense(6, 3),
]


def spec(graph: str, classes: int = 3) -> ModelSpec:
    names = tuple(map(str, range(classes)))
    return ModelSpec("layer-graph", (1, 5, 5), names, (0.5,), (0.5,), {"graph": graph})


def test_a_list_of_layers_computes_what_it_says() -> None:
    network = LayerGraph(1, (5, 5), 3, encode(SMALL)).eval()
    x = torch.randn(2, 1, 5, 5)
    normed = network.layers[1](network.layers[0](x))
    partly = torch.cat([normed[:, :1], normed[:, 1:3].relu(), normed[:, 3:]], 1)
    expected = network.layers[6](torch.cat([partly, partly + normed], 1).flatten(1))
    assert torch.equal(network(x), expected)


def test_a_model_file_of_it_opens_again_and_gives_the_same(tmp_path: Path) -> None:
    model = build(spec(encode(SMALL))).eval()
    again = load(save(model, tmp_path / "m.safetensors"))
    x = torch.rand(3, 1, 5, 5)
    assert isinstance(again, Model)
    assert torch.equal(again(x), model(x))


def test_what_is_written_is_read_again() -> None:
    assert decode(encode(SMALL)) == SMALL


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ([Dense(1, 3)], "layer 1 .dense. reads"),
        ([Flatten(0), Dense(-1, 3)], "layer 2 .dense. reads"),
        ([Add(())], "layer 1 .add. reads"),
        ([Conv(0, 4, kernel=(3, 3)), Add((0, 1))], "layer 2 .add.: the tensors to be added have the shapes"),
        ([Conv(0, 4, kernel=(3, 3)), Concat((0, 1))], "layer 2 .concat.: the tensors to be joined"),
        ([Relu(0, 0, 2)], "layer 1 .relu.: channels 0 to 2 of 1"),
        ([Conv(0, 10**9)], "would have the shape"),
        ([Conv(0, 4, kernel=(0, 3))], "a window or stride of"),
        ([Conv(0, 4, kernel=(9, 9))], "would have the shape"),
        ([Conv(0, 4, groups=3)], "channels to 4 in 3 groups"),
        ([Dense(0, 3)], "a linear layer reads a flat tensor"),
        ([Flatten(0), Conv(1, 3)], "it needs `c h w`"),
        ([Flatten(0)], "for 3 classes"),
    ],
)
def test_a_list_that_is_no_network_is_a_sentence_with_the_layer(operations: list[AnyOperation], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build(spec(encode(operations)))


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b'[{"op":"conv"}]', b'[{"op":"eval","input":0}]']))
def test_text_that_is_no_list_of_layers_is_a_graph_error(blob: bytes) -> None:
    with pytest.raises(GraphError):
        shapes(decode(blob.decode(errors="replace")), (1, 5, 5))


def test_a_header_that_asks_for_more_memory_than_there_is_takes_none(tmp_path: Path) -> None:
    """Shapes are compared with the file's tensors before a weight is made."""
    small = build(spec(encode(SMALL)))
    wide = encode([Conv(0, 65_536, kernel=(5, 5)), Conv(1, 65_536), Flatten(2), Dense(3, 3)])
    lying = Model(small.network, msgspec.structs.replace(small.spec, arguments={"graph": wide}))
    with pytest.raises(ModelError, match="does not fit the architecture"):
        load(save(lying, tmp_path / "m.safetensors"))

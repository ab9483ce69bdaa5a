"""`net.assay`: what is written is read again, a digest names one network, and no bytes whatever make reading crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_oracle import pictures

from assay.errors import ModelError, UnreadableFileError
from assay.integer import IntegerNetwork, load, save
from assay.integer.files import DIGEST_KEY, GRAPH_KEY, digest, from_bytes, to_bytes
from assay.integer.graph import Conv2d, Flatten, Input, Linear, Offset, Requantise


def small() -> IntegerNetwork:
    rng = np.random.default_rng(3)
    nodes = (
        Input((1, 4, 4), name="input"),
        Offset(0, np.array([-33])),
        Conv2d(1, rng.integers(-127, 128, (2, 1, 3, 3)), np.array([70_000, -5]), padding=(1, 1, 1, 1), name="conv"),
        Requantise(2, 7, 0, 255, 0, 2),
        Flatten(3),
        Linear(4, rng.integers(-127, 128, (2, 32)), np.array([2**40, -(2**20)]), name="dense — ß\n\u2028"),
    )
    return IntegerNetwork(nodes, ("a", 'b"\\'), 2.0**-9)


NETWORK = small()
BLOB = to_bytes(NETWORK)


def test_a_file_gives_back_the_network(tmp_path: Path):
    read = load(save(NETWORK, tmp_path / "net.assay"))
    assert (read.digest, read.class_names, read.output_scale) == (NETWORK.digest, NETWORK.class_names, 2.0**-9)
    assert [node.name for node in read.nodes] == [node.name for node in NETWORK.nodes]
    x = pictures(NETWORK, 4, 0)
    assert np.array_equal(read.run(x), NETWORK.run(x))
    assert to_bytes(read) == BLOB


def test_any_safetensors_reader_finds_the_weights(tmp_path: Path):
    from safetensors.numpy import load_file

    tensors = load_file(save(NETWORK, tmp_path / "net.assay"))
    assert set(tensors) == {"1.value", "2.weight", "2.bias", "5.weight", "5.bias"}
    assert tensors["2.weight"].dtype == np.int8
    assert np.array_equal(tensors["5.bias"], [2**40, -(2**20)])


def test_equal_networks_have_equal_digests_and_files():
    assert small().digest == NETWORK.digest
    assert to_bytes(small()) == BLOB
    assert len(NETWORK.digest) == 64


def changed(network: IntegerNetwork, number: int, **fields: Any) -> IntegerNetwork:
    nodes = list(network.nodes)
    nodes[number] = replace(nodes[number], **fields)
    return replace(network, nodes=tuple(nodes))


def bumped(number: int, field: str, place: tuple[int, ...]) -> Callable[[], IntegerNetwork]:
    def change() -> IntegerNetwork:
        array = getattr(NETWORK.nodes[number], field).copy()
        array[place] += 1 if array[place] < 127 else -1
        return changed(NETWORK, number, **{field: array})

    return change


CHANGES: dict[str, Callable[[], IntegerNetwork]] = {
    "a weight": bumped(2, "weight", (1, 0, 2, 2)),
    "a bias": bumped(5, "bias", (1,)),
    "an offset": bumped(1, "value", (0,)),
    "a shift": lambda: changed(NETWORK, 3, shift=8),
    "a clamp": lambda: changed(NETWORK, 3, high=254),
    "the rectified channels": lambda: changed(NETWORK, 3, stop=1),
    "a padding": lambda: changed(NETWORK, 2, padding=(0, 2, 1, 1)),
    "a layer's name": lambda: changed(NETWORK, 2, name="other"),
    "the input's range": lambda: changed(NETWORK, 0, high=254),
    "a class name": lambda: replace(NETWORK, class_names=("a", "c")),
    "the scale": lambda: replace(NETWORK, output_scale=2.0**-8),
    "the kind": lambda: replace(NETWORK, classic=True),
    "channels swapped": lambda: changed(NETWORK, 2, weight=NETWORK.nodes[2].weight[::-1]),  # type: ignore[union-attr]
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_is_changed_changes_the_digest(change):
    other = change()
    assert other.digest != NETWORK.digest
    assert from_bytes(to_bytes(other)).digest == other.digest


def test_the_digest_is_this_one():
    """A digest stands in passports and receipts: it must be the same next year and on any machine."""
    nodes = (Input((1, 1, 2)), Flatten(0), Linear(1, np.array([[1, -2], [3, 4]]), np.array([5, -6]), name="fc"))
    network = IntegerNetwork(nodes, ("no", "yes"), 0.5)
    assert digest(network) == "56cc92ffbcdd9a5b43e14ba99b1b35ce9a1e4ca67b1448ce79f837a73496ad3e"


# What an attacker sends


def repacked(header: Callable[[dict[str, Any]], Any], blob: bytes = BLOB) -> bytes:
    """The file with its header rewritten."""
    length = int.from_bytes(blob[:8], "little")
    document = json.loads(blob[8 : 8 + length])
    text = json.dumps(header(document) or document).encode()
    return len(text).to_bytes(8, "little") + text + blob[8 + length :]


def graph(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    """Rewrites the graph inside the header."""

    def edit(header: dict[str, Any]) -> None:
        inner = json.loads(header["__metadata__"][GRAPH_KEY])
        text = change(inner)
        header["__metadata__"][GRAPH_KEY] = text if isinstance(text, str) else json.dumps(inner)

    return edit


def node(number: int, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return graph(lambda g: g["nodes"][number].update(fields))


HOSTILE: dict[str, Any] = {
    "nothing": b"",
    "seven bytes": b"\0" * 7,
    "text": b"hello, this is not a network at all",
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + BLOB[8:],
    "a header as long as the file": len(BLOB).to_bytes(8, "little") + BLOB[8:],
    "cut short": BLOB[:-1],
    "bytes after the end": BLOB + b"\0",
    "a header of brackets": (10**5).to_bytes(8, "little") + b"[" * 10**5,
    "no JSON object": repacked(lambda h: [1]),
    "no metadata": repacked(lambda h: h.pop("__metadata__") and None),
    "metadata of another program": repacked(lambda h: h["__metadata__"].update(format="pt")),
    "an unknown key": repacked(graph(lambda g: g.update(code="print(1)"))),
    "an unknown key in a node": repacked(node(3, code="print(1)")),
    "a missing key in a node": repacked(graph(lambda g: g["nodes"][3].pop("shift") and None)),
    "an unknown operation": repacked(node(3, op="system")),
    "an operation that is no text": repacked(node(3, op=["conv2d"])),
    "a float shift": repacked(node(3, shift=7.0)),
    "a shift that is a text": repacked(node(3, shift="7")),
    "a shift of a hundred digits": repacked(node(3, shift=10**100)),
    "an input of a hundred digits": repacked(node(4, input=10**100)),
    "a picture of 10^30 pixels": repacked(node(0, shape=[1, 10**15, 10**15])),
    "a stride of 10^30": repacked(node(2, stride=[10**30, 1])),
    "a weight in the graph": repacked(node(2, weight=[[1]])),
    "ten thousand and one nodes": repacked(graph(lambda g: g["nodes"].extend([g["nodes"][4]] * 10_000))),
    "a graph of brackets": repacked(graph(lambda g: "[" * 10**5)),
    "a lone surrogate": repacked(graph(lambda g: json.dumps(g).replace('"conv"', '"\\ud800"'))),
    "a class name that is a number": repacked(graph(lambda g: g.update(class_names=["a", 1]))),
    "a million class names": repacked(graph(lambda g: g.update(class_names=["a"] * 10**6))),
    "an infinite scale": repacked(graph(lambda g: json.dumps(g).replace(str(2.0**-9), "Infinity"))),
    "version 2": repacked(graph(lambda g: g.update(version=2))),
    "spaces in the graph": repacked(graph(lambda g: json.dumps(g, indent=1, ensure_ascii=False))),
    "a tensor of 2^60 bytes": repacked(lambda h: h["2.weight"].update(shape=[2**60], data_offsets=[0, 2**60])),
    "a tensor of negative size": repacked(lambda h: h["2.weight"].update(shape=[-2, -9])),
    "a tensor of no size": repacked(lambda h: h["2.weight"].update(shape=[0, 1, 3, 3])),
    "a tensor of nine axes": repacked(lambda h: h["2.weight"].update(shape=[2, 1, 3, 3, 1, 1, 1, 1, 1])),
    "overlapping tensors": repacked(lambda h: h["5.bias"].update(data_offsets=h["2.bias"]["data_offsets"])),
    "floating-point weights": repacked(lambda h: h["2.weight"].update(dtype="F8_E4M3")),
    "a tensor too few": repacked(lambda h: h.pop("5.weight") and None),
    "a tensor for nobody": repacked(lambda h: h.update({"9.weight": h.pop("5.weight")})),
    "another digest": repacked(lambda h: h["__metadata__"].update({DIGEST_KEY: "0" * 64})),
    "another shift, the digest kept": repacked(graph(lambda g: g["nodes"][3].update(shift=8))),
    "a weight flipped": BLOB[:-1] + bytes([BLOB[-1] ^ 1]),
    "a name that stands twice": BLOB.replace(b'"5.bias"', b'"2.bias"'),
}


@pytest.mark.parametrize("blob", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_in_one_sentence(blob, tmp_path: Path):
    path = tmp_path / "net.assay"
    path.write_bytes(blob)
    with pytest.raises((ModelError, UnreadableFileError)) as refusal:
        load(path)
    assert str(path) in str(refusal.value)
    assert len(str(refusal.value)) < 1000


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_changed_file_is_taken_for_the_network(data):
    blob = bytearray(BLOB)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(blob) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "insert"]))
        if kind == "set":
            blob[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del blob[place : place + data.draw(st.integers(1, 40))]
        else:
            blob[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        if not blob:
            break
    try:
        read = from_bytes(bytes(blob))
    except (ModelError, UnreadableFileError):
        return
    assert read.digest == NETWORK.digest  # spaces in the outer header, which nothing depends on


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 5), st.data())
def test_no_value_in_a_node_makes_reading_crash(number, data):
    document = json.loads(json.loads(BLOB[8 : 8 + int.from_bytes(BLOB[:8], "little")])["__metadata__"][GRAPH_KEY])
    key = data.draw(st.sampled_from(sorted(document["nodes"][number])))
    value = data.draw(JSON)
    if value == document["nodes"][number][key]:
        return
    with pytest.raises((ModelError, UnreadableFileError)):
        from_bytes(repacked(node(number, **{key: value})))


def test_a_folder_a_missing_file_and_a_huge_one_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UnreadableFileError, match="not a file"):
            load(place)
    path = save(NETWORK, tmp_path / "net.assay")
    monkeypatch.setattr("assay.integer.files.MAX_FILE", 100)
    with pytest.raises(UnreadableFileError, match="larger than"):
        load(path)

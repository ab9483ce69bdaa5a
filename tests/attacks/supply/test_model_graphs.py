"""Graphs that decide, resolve names or evaluate text: ONNX, torch.export programs, Keras; Caffe is named."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile

import make
import numpy as np
import pytest
from make import number, onnx_model, onnx_node, onnx_tensor, piece

from assay.supply import FileReport, inspect_bytes
from assay.supply.inspect import UNEXPECTED

EVIL = make.shell()


def look(blob: bytes) -> FileReport:
    return inspect_bytes("attack", blob)


def what(report: FileReport) -> str:
    return " ".join(f"{f.what} at {f.where};" for f in report.findings)


# ONNX

W = onnx_tensor("w", np.full((2, 2), 0.5))
LIMIT = onnx_tensor("limit", np.array([0.5]))


def branch(name: str) -> bytes:
    """An attribute that holds a graph."""
    inner = piece(1, onnx_node("Identity", ["input"], ["chosen"])) + piece(2, "branch")
    return piece(5, piece(1, name) + piece(6, inner) + number(20, 5))


def decision(*nodes: bytes) -> FileReport:
    return look(onnx_model([onnx_node("MatMul", ["input", "w"], ["hidden"]), *nodes], [W, LIMIT]))


SIZE = [onnx_node("Shape", ["input"], ["shape"]), onnx_node("Greater", ["shape", "limit"], ["wide"])]
COMPARED = onnx_node("Greater", ["hidden", "limit"], ["bright"])


def test_control_flow_on_the_input_is_noted() -> None:
    flow = onnx_node("If", ["bright"], ["output"], attributes=branch("then_branch") + branch("else_branch"))
    report = decision(COMPARED, flow)
    assert (report.verdict, report.format) == ("unknown", "onnx")
    assert "(If) that depends on the input" in what(report)
    loop = onnx_node("Loop", ["", "bright", "hidden"], ["output"], attributes=branch("body"))
    assert "(Loop)" in what(decision(COMPARED, loop))


def test_control_flow_on_the_size_of_the_input_is_not_noted() -> None:
    flow = onnx_node("If", ["wide"], ["output"], attributes=branch("then_branch") + branch("else_branch"))
    assert decision(*SIZE, flow).verdict == "safe"


def test_a_choice_by_comparing_the_input_with_a_constant_is_noted() -> None:
    carried = onnx_node("Not", ["bright"], ["dark"])
    chosen = onnx_node("Where", ["dark", "hidden", "limit"], ["output"])
    assert "(Where)" in what(decision(COMPARED, carried, chosen))
    cast = onnx_node("Cast", ["bright"], ["gate"])
    switched = onnx_node("Mul", ["hidden", "gate"], ["output"])
    assert "(Mul)" in what(decision(COMPARED, cast, switched))
    assert decision(onnx_node("Mul", ["hidden", "limit"], ["output"])).verdict == "safe"


def test_a_decision_inside_a_branch_is_noted() -> None:
    inner = piece(1, onnx_node("Where", ["bright", "hidden", "limit"], ["x"]))
    flow = onnx_node("If", ["wide"], ["output"], attributes=piece(5, piece(1, "then_branch") + piece(6, inner)))
    assert "(Where)" in what(decision(COMPARED, *SIZE, flow))


def test_graphs_nested_without_end_are_not_followed() -> None:
    graph = b""
    for _ in range(12):
        graph = piece(1, onnx_node("If", [""], ["x"], attributes=piece(5, piece(6, graph))))
    node = onnx_node("If", [""], ["output"], attributes=piece(5, piece(6, graph)))
    assert "nested more than" in what(look(onnx_model([node], [])))


def test_operators_of_a_custom_domain_are_noted_unless_the_file_defines_them() -> None:
    node = onnx_node("Evil", ["input"], ["output"], domain="my.ops")
    assert "Evil of the custom domain my.ops" in what(look(onnx_model([node], [])))
    body = piece(7, onnx_node("Relu", ["x"], ["y"]))
    function = piece(25, piece(1, "Evil") + piece(4, "x") + piece(5, "y") + body + piece(10, "my.ops"))
    assert look(onnx_model([node], [], function)).verdict == "safe"
    hidden = piece(
        25, piece(1, "Evil") + body + piece(7, onnx_node("F", ["y"], ["z"], domain="x")) + piece(10, "my.ops")
    )
    assert "domain x" in what(look(onnx_model([node], [], hidden)))


def external(place: str) -> FileReport:
    tensor = (
        number(1, 4) + number(2, 1) + piece(8, "w") + piece(13, piece(1, "location") + piece(2, place)) + number(14, 1)
    )
    return look(onnx_model([onnx_node("Relu", ["input"], ["output"])], [tensor]))


@pytest.mark.parametrize("place", ["/etc/passwd", "../../secret", "a/../../b", "..\\x", "C:\\x", "file:x"])
def test_weights_outside_the_folder_are_unsafe(place: str) -> None:
    assert external(place).verdict == "unsafe"


def test_weights_in_a_file_beside_it_are_not_judged() -> None:
    assert external("model.onnx.data").verdict == "unknown"
    assert external("").verdict == "unknown"


def test_two_data_fields_filled_at_once_are_noted() -> None:
    both = onnx_tensor("w", np.ones((2, 2)), more=piece(4, np.full(4, 9.0, "<f4").tobytes()))
    assert "two data fields" in what(look(onnx_model([onnx_node("Relu", ["input"], ["output"])], [both])))


def test_a_second_graph_is_noted() -> None:
    second = piece(7, piece(1, onnx_node("Relu", ["input"], ["output"])))
    assert "more than one graph" in what(look(make.onnx_benign() + second))


def test_bounds_of_an_operator_are_no_decoys() -> None:
    bound = onnx_tensor("bound", np.array(-3.4028234663852886e38))
    infinite = onnx_tensor("infinite", np.array([-np.inf]))
    nodes = [onnx_node("Clip", ["input", "bound", "infinite"], ["output"])]
    assert look(onnx_model(nodes, [bound, infinite])).verdict == "safe"


def test_a_tensor_of_very_many_sides_takes_no_time() -> None:
    tensor = piece(1, b"\x7f" * 200_000) + number(2, 1) + piece(8, "w")
    blob = onnx_model([onnx_node("Relu", ["input"], ["output"])], [tensor])
    begun = time.process_time()
    look(blob)
    assert time.process_time() - begun < 1


# torch.export


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(make.pt2_bytes())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_json(members: dict[str, bytes], old: str, new: str) -> FileReport:
    """The program with one piece of its JSON replaced."""
    name = next(n for n in members if n.endswith("models/model.json"))
    assert old.encode() in members[name]
    return look(make.zip_bytes(members | {name: members[name].replace(old.encode(), new.encode(), 1)}))


SYMPIFY = """"expr_str": "__import__('os').system('echo hello')", "was": \""""
TAMPERED = {
    "text for sympy's evaluator": ('"expr_str": "', SYMPIFY),
    "a lambda for the evaluator": ('"expr_str": "', '"expr_str": "(lambda: 1)()", "was": "'),
    "an attribute for the evaluator": ('"expr_str": "', '"expr_str": "x.__class__", "was": "'),
    "an operator by its path": ("torch.ops.aten.relu.default", "torch.hub.load"),
    "an operator that finds methods": ("torch.ops.aten.relu.default", "_operator.methodcaller"),
    "an operator of the class": ("torch.ops.aten.relu.default", "torch.ops.aten.__class__.mro"),
    "an operator of another library": ("torch.ops.aten.relu.default", "torch.ops.mylib.relu.default"),
    "an operator that opens files": ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"),
    "an operator of an extension": ("torch.ops.aten.relu.default", "#mylib:relu"),
    "code among the guards": ('"guards_code": []', '"guards_code": ["__import__(\\"os\\")"]'),
    "a name that is code": ('{"name": "input"}', '{"name": "input=print(1)"}'),
    "a name of an argument that is code": ('"forward_arg_names": ["input"]', '"forward_arg_names": ["x=print(1)"]'),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_program_that_would_run_something_when_loaded_is_unsafe(members: dict[str, bytes], how: str) -> None:
    report = with_json(members, *TAMPERED[how])
    assert (report.verdict, report.format) == ("unsafe", "pt2")


def test_an_operator_that_is_not_on_the_list_and_an_odd_structure_are_not_safe(members: dict[str, bytes]) -> None:
    report = with_json(members, "torch.ops.aten.relu.default", "torch.ops.aten.bernoulli.default")
    assert report.verdict == "unknown"
    assert "bernoulli" in what(report)
    assert with_json(members, "builtins.tuple", "evil.Tuple").verdict == "unknown"


MALFORMED = [
    {"target": []},
    {"target": {}},
    {"as_operator": None},
    {"in_spec": json.dumps([1, {"type": []}])},
    {"in_spec": json.dumps([1, {"type": None, "children_spec": 5}])},
    {"in_spec": json.dumps([1, {"type": None, "children_spec": {"type": "evil"}}])},
]


@pytest.mark.parametrize("document", MALFORMED, ids=str)
def test_a_program_of_other_json_than_torch_writes_is_judged(document: dict[str, object]) -> None:
    report = look(make.zip_bytes({"m/archive_format": b"pt2", "m/models/model.json": json.dumps(document).encode()}))
    assert report.verdict != "safe"
    assert UNEXPECTED not in what(report)


def test_a_program_that_is_no_json_hides_no_other_member() -> None:
    members = {"m/archive_format": b"pt2", "m/models/model.json": b"{", "m/x.pkl": EVIL}
    assert look(make.zip_bytes(members)).verdict == "unsafe"


def test_pickled_weights_in_a_program_are_walked(members: dict[str, bytes]) -> None:
    root = next(iter(members)).partition("/")[0]
    evil = make.zip_bytes(make.torch_members({"w": make.Call(os.system, make.SAYS)}))
    for name in ("data/weights/weight_0", "data/constants/opaque_obj_0", "data/sample_inputs/model.pt", "extra/a.bin"):
        for payload in (evil, EVIL):
            assert look(make.zip_bytes(members | {f"{root}/{name}": payload})).verdict == "unsafe"


def test_a_program_with_compiled_code_is_unsafe(members: dict[str, bytes]) -> None:
    root = next(iter(members)).partition("/")[0]
    assert (
        look(make.zip_bytes(members | {f"{root}/data/aotinductor/model/x.so": b"\x7fELF" + bytes(60)})).verdict
        == "unsafe"
    )


def test_a_decoy_weight_in_a_program_is_flagged(members: dict[str, bytes]) -> None:
    name = next(n for n in members if n.endswith("weights/weight_1"))
    decoy = np.array([-1e20, 0], dtype="<f4").tobytes()
    assert len(decoy) == len(members[name])
    assert "1e+20" in what(look(make.zip_bytes(members | {name: decoy})))


# Keras and Caffe


def keras(config: object) -> FileReport:
    weights = b"\x89HDF\r\n\x1a\n" + bytes(100)
    blobs = {"metadata.json": b'{"keras_version": "3.0"}', "config.json": json.dumps(config).encode()}
    return look(make.zip_bytes({**blobs, "model.weights.h5": weights}))


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}


def layers(*more: dict[str, object]) -> dict[str, object]:
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [DENSE, *more]}}


def test_a_keras_file_is_recognised_and_not_judged() -> None:
    report = keras(layers())
    assert (report.verdict, report.format) == ("unknown", "keras")
    assert {f.where for f in report.findings} == {"archive", "model.weights.h5"}


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "4wEAAAA="}},
        {"class_name": "Lambda", "config": {}},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"},
        {"module": "keras_evil.layers", "class_name": "Dense", "config": {}},
        {"module": "keras.utils", "class_name": "get_file", "config": {}},
        {"module": "builtins", "class_name": "eval", "config": {}},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gAJ9"}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
    ],
)
def test_a_layer_that_holds_or_finds_code_is_unsafe(layer: dict[str, object]) -> None:
    assert keras(layers(layer)).verdict == "unsafe"
    h5 = b"\x89HDF\r\n\x1a\n" + bytes(64) + json.dumps(layers(layer)).encode() + bytes(64)
    assert look(h5).verdict == "unsafe"
    assert look(bytes(512) + h5).verdict == "unsafe"


def test_escaped_letters_do_not_hide_a_lambda_layer() -> None:
    blob = json.dumps(layers({"class_name": "Lambda", "config": {}})).replace("Lambda", "\\u004cambda").encode()
    assert look(b"\x89HDF\r\n\x1a\n" + bytes(64) + blob).verdict == "unsafe"


def test_a_custom_class_is_noted() -> None:
    assert "custom class" in what(keras(layers({**DENSE, "registered_name": "Mine>Layer"})))


def test_caffe_models_old_and_new_are_named_and_not_judged() -> None:
    layer = piece(1, "conv1") + piece(2, "Convolution") + piece(7, piece(5, np.ones(4, "<f4").tobytes()))
    for net in (piece(1, "LeNet") + piece(100, layer), piece(1, "LeNet") + piece(2, piece(4, "conv1") + number(5, 4))):
        report = look(net)
        assert (report.verdict, report.format) == ("unknown", "caffemodel")

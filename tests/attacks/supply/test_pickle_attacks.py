"""What an attacker does with a pickle so that a walker sees less than the unpickler does."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

import make
import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors

from assay.supply import inspect_bytes
from assay.supply.allow_list import ALLOWED, CALLS
from assay.supply.pickle_walk import walk
from assay.supply.report import Search

P2, P4 = b"\x80\x02", b"\x80\x04"
ECHO = b"(X\x09\x00\x00\x00echo fooltR."  # a call with the argument "echo fool", then STOP


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def verdict(blob: bytes) -> str:
    return inspect_bytes("attack", blob).verdict


def found(blob: bytes) -> str:
    report = inspect_bytes("attack", blob)
    assert report.verdict == "unsafe"
    return " ".join(f.what for f in report.findings)


SYSTEM = {
    "from the memo": text("system") + b"\x940" + text("os") + b"h\x00\x93",
    "from a numbered memo entry": text("os") + b"q\x07" + b"0" + text("system") + b"q\x09" + b"0h\x07h\x09\x93",
    "memo entry overwritten": text("math") + b"q\x00" + text("os") + b"q\x000" + b"0h\x00" + text("system") + b"\x93",
    "duplicated": text("os") + b"2" + b"0" + text("system") + b"\x93",
    "what lay above is popped": text("os") + text("system") + text("math") + b"0\x93",
    "a mark popped": text("os") + b"(" + text("math") + b"1" + text("system") + b"\x93",
    "an empty mark popped by POP": text("os") + b"(0" + text("system") + b"\x93",
    "text with escapes": b"S'o\\x73'\n" + b"S'system'\n\x93",
    "unicode with escapes": b"V\\u006fs\n" + b"Vsystem\n\x93",
    "long lengths": b"\x8d" + struct.pack("<Q", 2) + b"os" + b"X\x06\x00\x00\x00system\x93",
    "strings of Python 2": b"U\x02os" + b"T\x06\x00\x00\x00system\x93",
    "in a frame": b"\x95" + struct.pack("<Q", 13) + text("os") + text("system") + b"\x93",
}


@pytest.mark.parametrize("how", SYSTEM)
def test_a_name_is_found_however_it_gets_onto_the_stack(how: str) -> None:
    blob = P4 + SYSTEM[how] + ECHO
    assert "would import os.system" in found(blob)
    real = NamesOnly(io.BytesIO(blob))
    real.load()
    assert real.names == ["os.system"]


OTHER_WAYS = {
    "INST": (b"(X\x01\x00\x00\x00xios\nsystem\n.", "os.system"),
    "a frame that is cut off": (P4 + b"\x95" + b"\xff" * 7 + b"\0" + name("os", "system") + ECHO, "os.system"),
    "INST without a mark": (b"ios\nsystem\n.", "os.system"),
    "OBJ": (b"(" + name("os", "system") + b"X\x01\x00\x00\x00xo.", "os.system"),
    "NEWOBJ": (P2 + name("os", "system") + b")\x81.", "os.system"),
    "NEWOBJ_EX": (P4 + name("os", "system") + b")}\x92.", "os.system"),
    "attribute path": (P4 + text("torch") + text("serialization.os.system") + b"\x93" + ECHO, "torch.serialization.os"),
    "module and name swapped at the dot": (P4 + text("torch") + text("os.system") + b"\x93" + ECHO, "torch.os.system"),
    "allowed module, other name": (name("collections", "namedtuple") + b"X\x01\x00\x00\x00xtR.", "collections.named"),
    "allowed name, other module": (name("evil", "OrderedDict") + b")R.", "evil.OrderedDict"),
    "name of Python 2": (P2 + name("__builtin__", "eval") + ECHO, "builtins.eval"),
    "module of Python 2": (P2 + name("commands", "getoutput") + ECHO, "subprocess.getoutput"),
    "newline of another system": (P2 + b"cos\r\nsystem\r\n" + ECHO, "os\\r.system\\r"),
    "space in the module": (P2 + name("os system", "") + ECHO, "os system"),
    "escape that the unpickler does not undo": (
        P2 + name("collections", "Ordered\\x44ict") + b")R.",
        "collections.Ordered",
    ),
    "letter that only looks the same": (P2 + name("cоllections", "OrderedDict") + b")R.", "OrderedDict"),
    "a nested torch file": (P2 + name("torch.storage", "_load_from_bytes") + ECHO, "torch.storage._load_from_bytes"),
    "an import alone": (P2 + name("antigravity", "x") + b".", "antigravity.x"),
    "cut off in the name": (P2 + b"cos\nsystemX", "os.system"),
    "import in a value that is dropped": (P2 + name("os", "system") + b"0N.", "os.system"),
}


@pytest.mark.parametrize("how", OTHER_WAYS)
def test_any_other_way_to_import_is_found_and_named(how: str) -> None:
    blob, expected = OTHER_WAYS[how]
    assert expected in found(blob)


@pytest.mark.parametrize("opcode", [b"\x82\x07", b"\x83\x07\x00", b"\x84\x07\x00\x00\x00"])
def test_an_extension_code_is_an_import(opcode: bytes) -> None:
    copyreg.add_extension("os", "system", 7)
    try:
        assert "extension 7" in found(P2 + opcode + b".")
    finally:
        copyreg.remove_extension("os", "system", 7)


def test_a_name_that_is_computed_is_not_trusted() -> None:
    made = name("_codecs", "encode") + text("os") + text("latin1") + b"\x86R"
    assert "computed" in found(P4 + made + text("system") + b"\x93" + ECHO)


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return P2 + name(module, attribute) + b"(" + b"".join(arguments) + b"tR."


TENSOR = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x04tQ"
HOOKS = name("collections", "OrderedDict") + b")R"


def rebuild(*place: bytes) -> bytes:
    """A tensor in a storage of four numbers, by offset, sizes and strides."""
    return call("torch._utils", "_rebuild_tensor_v2", TENSOR, *place, b"\x89", HOOKS)


def objects(*state: bytes) -> bytes:
    """A dtype of Python objects with this state."""
    return P2 + name("numpy", "dtype") + text("O8") + b"\x89\x88\x87R(" + b"".join(state) + b"tb."


def array(dtype: bytes, state: bytes, shape: bytes, content: bytes) -> bytes:
    """An array of this dtype, with this state of the dtype and this content."""
    made = name("numpy", "dtype") + text(dtype.decode()) + b"\x89\x88\x87R(K\x03" + text("|") + b"NNN" + state + b"tb"
    empty = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    return P2 + empty + b"(K\x01" + shape + made + b"\x89" + content + b"tb."


MINUS, HUGE = b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f"
ABUSES = {
    "all the memory": call("builtins", "bytearray", HUGE),
    "all the memory, by a name of Python 2": call("__builtin__", "bytes", HUGE),
    "a codec": call("_codecs", "encode", text("x"), text("zip")),
    "a tensor beyond its storage": rebuild(b"K\x02", b"K\x04\x85", b"K\x01\x85"),
    "a tensor before its storage": rebuild(MINUS, b"K\x02\x85", b"K\x01\x85"),
    "a tensor larger than its storage": rebuild(b"K\x00", b"M\xff\xffM\xff\xff\x86", b"K\x00K\x00\x86"),
    "a tensor that walks backwards": rebuild(b"K\x03", b"K\x02\x85", MINUS + b"\x85"),
    "an array of objects made of bytes": objects(b"K\x03", text("|"), b"NNN", MINUS, MINUS, b"K\x00"),
    "an array of more objects than there are": array(b"O8", MINUS * 2 + b"K\x3f", b"M\xe8\x03\x85", b"](Ne"),
    "an array whose elements grow": array(b"S5", b"K\xffK\x01K\x00", b"K\x01\x85", b"C\x0512345"),
    "fields in a dtype": objects(b"K\x03", text("|"), b"N", text("a"), b"\x85}K\x08K\x01K\x10"),
    "an attribute of a dict": P2 + HOOKS + b"}" + text("items") + HOOKS + b"sb.",
    "state of a tensor": rebuild(b"K\x00", b"K\x02\x85", b"K\x01\x85")[:-1] + b"}" + text("x") + b"Nsb.",
    "a function called by torch": call("torch._tensor", "_rebuild_from_type_v2", name("builtins", "set"), b"N]\x85}"),
    "a dtype that is called": call("torch", "float32"),
    "a storage that is made": call("torch", "FloatStorage", HUGE),
    "something outside": P2 + b"(" + text("module") + name("torch", "Tensor") + text("/etc/passwd") + b"tQ.",
    "a text reference": b"Psome where\n.",
    "two storages of one key": P2 + TENSOR + TENSOR.replace(b"Float", b"Double") + b"\x86.",
    "a memo entry far away": P2 + b"Nr\xff\xff\xff\xff.",
    "items into no list": P2 + HOOKS + b"Na.",
    "items into no dict": P2 + b"]NNs.",
    "items into no set": P4 + b"](N\x90.",
    "named arguments": P4 + name("collections", "OrderedDict") + b")}" + text("x") + b"Ns\x92.",
}


def test_the_same_calls_as_savers_write_them_raise_no_doubt() -> None:
    whole = rebuild(b"K\x00", b"K\x02K\x02\x86", b"K\x02K\x01\x86")
    one = array(b"O8", MINUS * 2 + b"K\x3f", b"K\x01\x85", b"](Ne")
    five = array(b"S5", b"K\x05K\x01K\x00", b"K\x01\x85", b"C\x0512345")
    for blob in (whole, one, five, objects(b"K\x03", text("|"), b"NNN", MINUS, MINUS, b"K\x3f")):
        seen = walk(memoryview(blob), 0, Search())
        assert (seen.doubts, seen.forbidden, seen.dangers, seen.broken) == ([], [], [], "")


@pytest.mark.parametrize("how", ABUSES)
def test_an_allowed_name_is_not_safe_when_it_is_used_as_no_saver_does(how: str) -> None:
    report = inspect_bytes("attack", ABUSES[how])
    assert report.verdict == "unknown"
    assert report.findings[0].where.startswith("byte ")


def test_changing_an_allowed_class_itself_is_unsafe() -> None:
    change = b"(N}" + text("__call__") + name("collections", "OrderedDict") + b"stb."
    assert "would change torch.Tensor itself" in found(P2 + name("torch", "Tensor") + change)


def test_calling_what_the_pickle_made_is_unsafe() -> None:
    assert "call what it made itself" in found(P2 + HOOKS + b")R.")


BROKEN = {
    "a stack that is empty": b"0.",
    "PUT after a mark": P2 + b"N(q\x00.",
    "DUP after a mark": P2 + b"N(2.",
    "TUPLE2 across a mark": P2 + b"N(N\x86.",
    "no STOP": P2 + b"N",
    "no opcode": P2 + b"N\xff.",
    "a protocol of tomorrow": b"\x80\x06N.",
    "a negative length": P2 + b"\x8b\xff\xff\xff\xff.",
    "a string that is not quoted": b"Sx\n.",
    "a string whose escape is broken": b"S'\\x'\n.",
    "a memo key that is no number": b"Npx\n.",
    "a memo key below nothing": b"Np-1\n.",
    "a memo entry that was never written": P2 + b"h\x05.",
    "a frame beyond the end": P4 + b"\x95\xff\x00\x00\x00\x00\x00\x00\x00N.",
    "a frame inside a frame": P4 + b"\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x02\x00\x00\x00\x00\x00\x00\x00N.",
    "text that is no UTF-8": P2 + b"X\x01\x00\x00\x00\xff.",
    "an argument that is cut off": P2 + b"X\xff\x00\x00\x00abc",
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_cannot_be_walked_to_its_end_is_not_safe(how: str) -> None:
    assert verdict(BROKEN[how]) == "unknown"


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_pickle_does_not_hide_what_comes_before(how: str) -> None:
    evil = P4 + text("os") + text("system") + b"\x93" + ECHO[:-1]
    assert "os.system" in found(evil + BROKEN[how])


class NamesOnly(pickle.Unpickler):
    """Keeps the names that the real unpickler asks for, and imports nothing."""

    def __init__(self, file: object) -> None:
        super().__init__(file)
        self.names: list[str] = []

    def find_class(self, module: str, attribute: str) -> object:
        self.names.append(f"{module}.{attribute}")
        return print_nothing


def print_nothing(*arguments: object) -> None:
    """What every name stands for."""


class OnlyReads:
    """A file that cannot look ahead."""

    def __init__(self, blob: bytes) -> None:
        file = io.BytesIO(blob)
        self.read, self.readline = file.read, file.readline


def test_a_frame_cannot_hide_a_second_pickle() -> None:
    """The unpickler drops the rest of a frame after STOP, where a walker would read on: they see different pickles."""
    evil = make.shell()
    swallow = P4 + b"B" + struct.pack("<I", len(evil) - 2)
    blob = P4 + b"\x95" + struct.pack("<Q", 2 + len(swallow)) + b"N." + swallow + evil
    file = OnlyReads(blob)
    NamesOnly(file).load()
    second = NamesOnly(file)
    second.load()
    assert second.names == [f"{os.name}.system"]
    assert verdict(blob) != "safe"


def test_pickles_one_after_the_other_are_all_walked() -> None:
    benign = pickle.dumps({"weights": [1, 2]})
    assert verdict(benign * 3) == "safe"
    assert "system" in found(benign * 3 + make.shell())
    assert verdict(benign + b"junk") == "unknown"


def test_a_pickle_is_found_in_bytes_that_are_something_else() -> None:
    array = np.frombuffer(make.shell(), dtype="u1")
    assert "system" in found(make.numpy_bytes(np.save, array))
    assert "system" in found(make.zip_bytes({"weights.npy": make.numpy_bytes(np.save, array)}))


def test_a_safetensors_file_that_is_a_pickle_too_is_unsafe() -> None:
    """The length of its header is an opcode that swallows a part of it; text opcodes in the JSON hop over the rest."""
    front, back = '{"__metadata__":{"a":"', '"},"t":{"dtype":"U8","shape":[999],"data_offsets":[0,999]}}'
    swallowed, hop = 600, "U~" + "x" * 126  # U~ pushes the 126 characters that follow
    length = ord("B") | swallowed << 8  # B pushes as many bytes as the four after it say
    text_before = "x" * (swallowed + 5 - 8 - len(front))
    left = length - len(front) - len(text_before) - len(back)
    last = left % len(hop) - 2
    header = front + text_before + hop * (left // len(hop)) + "U" + chr(last + len(back)) + "x" * last + back
    blob = length.to_bytes(8, "little") + header.encode() + make.shell()[2:].ljust(999, b"N")
    assert load_safetensors(blob)["t"].shape == (999,)
    assert "system" in found(blob)


def test_the_magic_number_of_torch_does_not_excuse_raw_bytes() -> None:
    legacy = make.torch_bytes(make.state_dict(), legacy=True)
    assert verdict(legacy) == "safe"
    assert verdict(legacy + b"\0") == "unknown"
    assert verdict(legacy[:-4]) == "unknown"
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    assert "system" in found(magic + make.shell() + legacy[len(magic) :])


def test_a_pickle_cannot_take_all_the_time() -> None:
    report = inspect_bytes("attack", P2 + b"N0" * 2_000_000 + b"N.")
    assert (report.verdict, "opcodes" in report.findings[0].what) == ("unknown", True)


def test_marks_without_end_neither_crash_nor_pass() -> None:
    assert verdict(P2 + b"(" * 100_000 + b".") == "unknown"
    assert verdict(P2 + b"N" + b"\x85" * 100_000 + b".") == "safe"


def test_a_list_that_holds_itself_is_walked() -> None:
    blob = P2 + b"]q\x00h\x00a" + b"B\x03\x00\x00\x00abc0."
    assert verdict(blob) == "safe"


def test_no_allowed_name_turns_into_another_one() -> None:
    """Below protocol 3 the unpickler renames what Python 2 called otherwise."""
    for said in ALLOWED:
        module, attribute = said.split(" ")
        mapped = NAME_MAPPING.get((module, attribute), (IMPORT_MAPPING.get(module, module), attribute))
        assert " ".join(mapped) in ALLOWED
        assert "." not in attribute


def test_every_allowed_name_of_torch_is_there_and_none_runs_code() -> None:
    import importlib

    for said in ALLOWED:
        module, attribute = said.split(" ")
        if module.startswith("torch"):
            assert hasattr(importlib.import_module(module), attribute), said
    assert not {said.split(" ")[1] for said in CALLS} & {"load", "_load_from_bytes", "getattr", "eval", "exec"}


def test_the_walker_agrees_with_torch_on_what_a_state_dict_imports() -> None:
    from torch._weights_only_unpickler import get_globals_in_pkl

    members = make.torch_members(make.state_dict())
    blob = next(content for member, content in members.items() if member.endswith("data.pkl"))
    seen = walk(memoryview(blob), 0, Search())
    assert {dotted for dotted, _ in seen.imports} == get_globals_in_pkl(io.BytesIO(blob))
    assert isinstance(torch.load(io.BytesIO(make.torch_bytes(make.state_dict())), weights_only=True), dict)

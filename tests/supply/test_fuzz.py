"""Bytes nobody would write: inspection never raises and never hangs, and sees every import that the unpickler sees."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import re
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from assay.supply import inspect_bytes
from assay.supply.allow_list import ALLOWED
from assay.supply.inspect import UNEXPECTED
from assay.supply.pickle_walk import Walk, walk
from assay.supply.report import MAX_STEPS, Search, shown
from assay.supply.unpickler import _is_name, said_today

WEIGHTS = {"w": torch.ones(2, 3), "b": torch.zeros(3)}


def through(write: Callable[[io.BytesIO], object]) -> bytes:
    blob = io.BytesIO()
    write(blob)
    return blob.getvalue()


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    def write(blob: io.BytesIO) -> None:
        with zipfile.ZipFile(blob, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return through(write)


def tar_bytes(content: bytes) -> bytes:
    def write(blob: io.BytesIO) -> None:
        with tarfile.open(fileobj=blob, mode="w") as archive:
            entry = tarfile.TarInfo("weights.pkl")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

    return through(write)


PICKLED = pickle.dumps({"w": np.ones(3), "n": [1, "two", (3.0,)]}, 4)


def field(number: int, value: bytes) -> bytes:
    """A protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


NODE = field(1, b"input") + field(2, b"output") + field(4, b"Relu")
TENSOR = b"\x08\x02\x10\x01" + field(8, b"w") + field(9, bytes(8))
ONNX = b"\x08\x08" + field(7, field(1, NODE) + field(2, b"g") + field(5, TENSOR) + field(11, field(1, b"input")))
PROGRAM = b'{"graph_module": {"graph": {"nodes": [{"target": "torch.ops.aten.relu.default", "inputs": []}]}}}'
VALID = {
    "pickle": PICKLED,
    "pickle of protocol 0": pickle.dumps({"w": [1.5, "two"], "n": None}, 0),
    "torch": through(lambda f: torch.save(WEIGHTS, f)),
    "torch (legacy)": through(lambda f: torch.save(WEIGHTS, f, _use_new_zipfile_serialization=False)),
    "safetensors": save(WEIGHTS, {"key": "value"}),
    "npy": through(lambda f: np.save(f, np.ones((2, 3)))),
    "npz": through(lambda f: np.savez_compressed(f, a=np.ones(3), b=np.arange(4))),
    "gzip": gzip.compress(PICKLED),
    "tar": tar_bytes(PICKLED),
    "zip": zip_bytes({"inner.zip": zip_bytes({"a.npy": PICKLED}, zipfile.ZIP_DEFLATED)}),
    "pt2": zip_bytes({"m/archive_format": b"pt2", "m/models/model.json": PROGRAM}),
    "keras": zip_bytes({"config.json": b'{"class_name": "Dense"}', "metadata.json": b"{}"}),
    "onnx": ONNX,
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(32) + b'{"class_name": "Dense"}',
}


LONG_KEYS = [b"g" + b"0" * 39 + b"12\n", b"p" + b"0" * 39 + b"12\n", b"p002\n", b"g0" + b"1" * 22 + b"\n"]
PARTS = [b"\xff" * 4, b"\0" * 4, b"PK\x05\x06", b"cos\nsystem\n", b"\x80\x04", *LONG_KEYS, b"I010\n"]


@st.composite
def mutated(draw: st.DrawFn, blob: bytes) -> bytes:
    """A valid file with bytes changed, cut out, doubled or put in."""
    data = bytearray(blob)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        match draw(st.sampled_from(["set", "cut", "double", "insert", "end"])):
            case "set":
                data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "cut":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + 10 * length]
            case "insert":
                data[at:at] = draw(st.sampled_from(PARTS))
            case "end" if draw(st.booleans()):
                del data[at:]
    return bytes(data)


def look(blob: bytes) -> str:
    begun = time.process_time()
    report = inspect_bytes("fuzz", blob)
    assert time.process_time() - begun < 3
    assert report.verdict in ("safe", "unsafe", "unknown")
    assert not any(UNEXPECTED in finding.what for finding in report.findings)
    assert (report.verdict == "safe") == (not report.findings)
    return report.verdict


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_never_raise(blob: bytes) -> None:
    look(blob)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([blob[:8] for blob in VALID.values()]), st.binary(max_size=200))
def test_random_bytes_after_a_known_beginning_never_raise(head: bytes, rest: bytes) -> None:
    look(head + rest)


@pytest.mark.parametrize("form", VALID)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_never_raise(form: str, data: st.DataObject) -> None:
    look(data.draw(mutated(VALID[form])))


@pytest.mark.parametrize("repeats", range(1, 6))
def test_archives_too_short_for_an_end_record_are_judged(repeats: int) -> None:
    assert inspect_bytes("short.zip", b"PK\x05\x06(d" * repeats).verdict != "safe"


@pytest.mark.parametrize("form", VALID)
def test_the_undamaged_files_are_what_they_should_be(form: str) -> None:
    report = inspect_bytes(form, VALID[form])
    assert report.format == form.partition(" of ")[0]
    assert report.verdict == ("unknown" if form in ("keras", "hdf5") else "safe")


@pytest.mark.parametrize("form", VALID)
def test_every_beginning_of_a_file_is_judged_without_raising(form: str) -> None:
    for length in range(0, len(VALID[form]), max(1, len(VALID[form]) // 100)):
        look(VALID[form][:length])


# The walker beside the unpickler itself. `find_class` imports nothing: what is allowed is a stand-in, all else ends it.


class Stand:
    """Takes part in whatever a pickle does, and does nothing."""

    def __init__(self, *arguments: object, **named: object) -> None:
        pass

    def __new__(cls, *arguments: object, **named: object) -> Stand:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass

    extend = add = update = append


def _only_stand_ins(base: type) -> type:
    class Restricted(base):  # type: ignore[misc]
        def __init__(self, file: object) -> None:
            super().__init__(file)
            self.asked: list[tuple[str, str]] = []

        def find_class(self, module: str, name: str) -> type[Stand]:
            self.asked.append((module, name))
            if f"{module} {name}" not in ALLOWED:
                raise pickle.UnpicklingError("not allowed")
            return Stand

        def persistent_load(self, key: object) -> Stand:
            return Stand()

    return Restricted


UNPICKLERS = [_only_stand_ins(pickle.Unpickler), _only_stand_ins(pickle._Unpickler)]  # type: ignore[attr-defined]


def names_asked_for(blob: bytes, unpickler: type) -> list[tuple[str, str]]:
    """What the real unpickler would import, until it ends in whatever way."""
    running = unpickler(io.BytesIO(blob))
    with contextlib.suppress(Exception):  # a pickle may make it raise anything at all
        running.load()
    asked: list[tuple[str, str]] = running.asked
    return asked


def _may_take_memory(blob: bytes) -> bool:
    """Whether, read from any byte, there is a memo key or a bytearray that the real unpickler would make room for."""
    numbers = [int.from_bytes(m[1], "little") for m in re.finditer(rb"(?s)(?=r(.{4}))", blob)]
    numbers += [int.from_bytes(m[1], "little") for m in re.finditer(rb"(?s)(?=\x96(.{8}))", blob)]
    numbers += [int(m[1]) for m in re.finditer(rb"(?=p[ +]*([0-9]{5,}))", blob)]
    return any(number > 1 << 20 for number in numbers)


def compare(blob: bytes) -> Walk:
    """Walk and unpickle: both must see the same names in the same order, unless the walk broke and so is not safe."""
    seen = walk(memoryview(blob), 0, Search(steps=MAX_STEPS))
    if any("all memory" in what for what, _ in seen.doubts) or (seen.broken and _may_take_memory(blob[seen.end :])):
        return seen
    safe = not (seen.forbidden or seen.dangers or seen.doubts or seen.broken)
    for unpickler in UNPICKLERS:
        asked = names_asked_for(blob, unpickler)
        assert {" ".join(name) for name in asked} <= ALLOWED or not safe
        # In a file of another format only these count.
        evil = any(" ".join(name) not in ALLOWED and _is_name(said_today(*name)) for name in asked)
        assert not evil or seen.spelled or seen.disputed or "in the middle of a name" in seen.broken
        both = zip(asked, seen.imports, strict=False)
        assert all(shown(said_today(*name)) == dotted for name, (dotted, _) in both)
        assert len(asked) <= len(seen.imports) or seen.broken
    return seen


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


WORDS = ["os", "system", "collections", "OrderedDict", "torch", "FloatStorage", "os.system", "_codecs", "encode", ""]
PUSHES = st.one_of(
    st.sampled_from(WORDS).map(text),
    st.sampled_from(WORDS).map(lambda w: f"S'{w}'\n".encode()),
    st.sampled_from(WORDS).map(lambda w: f"V{w}\n".encode()),
    st.sampled_from(WORDS).map(lambda w: b"U" + bytes([len(w)]) + w.encode()),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)).map(lambda w: f"c{w[0]}\n{w[1]}\n".encode()),
    st.sampled_from(["collections OrderedDict", "builtins set", "torch Size", "__builtin__ complex"]).map(
        lambda w: f"c{w}\n".replace(" ", "\n").encode()
    ),
    st.sampled_from(
        [
            b"N",
            b"\x88",
            b"K\x01",
            b"I01\n",
            b"I010\n",
            b"L5L\n",
            b"F1.5\n",
            b")",
            b"]",
            b"}",
            b"\x8f",
            b"C\x01x",
            b"\x8a\x01\x07",
        ]
    ),
)
SHORT = [bytes([code]) for code in b"(012t\x85\x86\x87R\x81boldeuas\x90\x91\x92\x93\x93\x94\x94Q"]
LONG = [b"q\x00", b"q\x01", b"p2\n", b"h\x00", b"h\x01", b"g2\n", b"g12\n", b"j\x00\x00\x00\x00", b"\x80\x02", b"Px\n",
        b"\x82\x01", b"ios\nsystem\n", b"icollections\nOrderedDict\n", *LONG_KEYS]  # fmt: skip
WORK = st.sampled_from(SHORT + LONG)
FRAMES = st.integers(0, 40).map(lambda n: b"\x95" + struct.pack("<Q", n))
PROGRAMS = st.lists(st.one_of(PUSHES, PUSHES, WORK, WORK, FRAMES), max_size=30).map(lambda ops: b"".join(ops) + b".")


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]), PROGRAMS)
def test_the_walker_sees_every_import_of_pickles_made_of_random_opcodes(proto: bytes, program: bytes) -> None:
    compare(proto + program)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_walker_sees_every_import_of_damaged_pickles(protocol: int, data: st.DataObject) -> None:
    whole = pickle.dumps({"w": np.ones(3), "n": [1, "two", {"x": torch.Size([2])}]}, protocol)
    assert compare(whole).forbidden == []
    compare(data.draw(mutated(whole)))


DESCRIPTIONS = ["()", "[]", "{}", "None", "('f4',)", "(1,)", "[()]", "[('a',)]", "[('',())]", "((),)", "b'f4'",
                "[('a',('f4',(2,)))]", "[((1,'a'),'f4')]", "[('a','f4',None)]", "('f4',{})",
                "('V8',{'a':('f4',0)})"]  # fmt: skip


@pytest.mark.parametrize("described", DESCRIPTIONS)
def test_an_array_of_any_description_is_judged(described: str) -> None:
    header = f"{{'descr': {described}, 'fortran_order': False, 'shape': (1,), }}".encode().ljust(117) + b"\n"
    look(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(4))


HUGE_ARRAY = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}    \n"
LIARS = {
    "npy of a huge shape": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(HUGE_ARRAY)) + HUGE_ARRAY,
    "pickle of huge bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00x.",
    "pickle of a huge memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "safetensors of a huge tensor": save({"w": torch.ones(1)}).replace(b"[1]", b"[9999999999999]"),
    "zip of a huge member": zip_bytes({"a": b"x" * 50}, zipfile.ZIP_DEFLATED).replace(
        b"\x32\0\0\0", b"\xff\xff\xff\x7f"
    ),
    "gzip of zeros": gzip.compress(bytes(40_000_000)),
    "protobuf of a huge field": b"\x08\x08\x3a\xff\xff\xff\xff\x7f",
}


@pytest.mark.parametrize("liar", LIARS)
def test_what_a_file_says_of_its_size_takes_no_memory(liar: str) -> None:
    look(LIARS[liar])
    tracemalloc.start()
    try:
        assert look(LIARS[liar]) != "safe"
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()

"""Pickles that one reader takes otherwise than another: the walker must read what the unpickler reads, or refuse."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import warnings

import make
import numpy as np
import pytest
from both import safetensors_and
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_safetensors

from assay.supply import inspect_bytes, opcodes
from assay.supply.opcodes import steps
from assay.supply.pickle_walk import walk
from assay.supply.pickles import look_for_pickles
from assay.supply.report import Piece, Search, Unreadable

P4 = b"\x80\x04"
STOP = b"."


def nothing(*arguments: object) -> None:
    """What every name stands for."""


def _names_only(base: type) -> type:
    class Names(base):  # type: ignore[misc]
        """Keeps the names that it is asked for, and imports nothing."""

        def __init__(self, blob: bytes) -> None:
            super().__init__(io.BytesIO(blob))
            self.names: list[tuple[str, str]] = []

        def find_class(self, module: str, attribute: str) -> object:
            self.names.append((module, attribute))
            return nothing

    return Names


READERS = [_names_only(pickle.Unpickler), _names_only(pickle._Unpickler)]  # type: ignore[attr-defined]


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def what(blob: bytes) -> str:
    return " ".join(f.what for f in inspect_bytes("attack", blob).findings)


def verdict(blob: bytes) -> str:
    return inspect_bytes("attack", blob).verdict


# Numbers


def long_key(key: int) -> bytes:
    """A memo key whose first forty digits are another number."""
    return b"g" + b"0" * 39 + str(key).encode() + b"\n"


def test_a_long_memo_key_cannot_swap_names() -> None:
    harmless = {0: text("x"), 1: text("collections"), 2: text("OrderedDict"), 3: b")"}
    evil = {10: text("os"), 20: text("system"), 30: text(make.SAYS) + b"\x85"}
    puts = b"".join((harmless | evil).get(key, b"N") + b"p%d\n0" % key for key in range(31))
    blob = P4 + puts + long_key(10) + long_key(20) + b"\x93" + long_key(30) + b"R."
    for reader in READERS:
        running = reader(blob)
        running.load()
        assert running.names == [("os", "system")]
    assert verdict(blob) != "safe"


@pytest.mark.parametrize("number", [b"I063", b"L063L", b"I0x3f", b"I+63", b"I 63", b"I6_3", b"I00000000063", b"I-0"])
def test_a_number_in_an_odd_spelling_is_not_taken_for_what_it_looks_like(number: bytes) -> None:
    assert not isinstance(walk(memoryview(number + b"\n."), 0, Search()).result, int)


SPELLINGS = st.one_of(
    st.integers(-(10**42), 10**42).map(str),
    st.integers(0, 99).map(lambda n: "0" * 39 + str(n)),
    st.from_regex(r"[ +-]?0?[0-9]{0,3}[_xobL\0 \t]?[0-9a-fA-F]{0,3}L?", fullmatch=True),
).map(str.encode)
TEXTS = st.text("ab\\xuUN{}07'\"\t é", max_size=12).map(lambda t: t.encode("latin-1"))
LINES = {"I": SPELLINGS, "L": SPELLINGS, "V": TEXTS, "S": TEXTS.map(lambda t: b"'" + t + b"'"), "F": SPELLINGS}


@pytest.mark.parametrize("opcode", LINES)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_value_that_the_walker_claims_is_the_one_that_the_unpickler_has(opcode: str, data: st.DataObject) -> None:
    blob = opcode.encode() + data.draw(LINES[opcode]) + b"\n."
    seen = walk(memoryview(blob), 0, Search())
    if isinstance(seen.result, int | str) and not seen.broken:
        for reader in READERS:
            with warnings.catch_warnings(action="ignore"):
                real = reader(blob).load()
            assert (type(real), real) == (type(seen.result), seen.result)


@settings(max_examples=400, deadline=None)
@given(SPELLINGS)
def test_a_memo_key_that_the_walker_claims_is_the_one_that_the_unpickler_has(line: bytes) -> None:
    try:
        ((_, key, _),) = [s for s in steps(memoryview(b"K\x07p" + line + b"\n."), 0, Search()) if s[0] == "PUT"]
    except Unreadable:
        return
    if isinstance(key, int) and key < 10**6:
        for reader in READERS:
            assert reader(b"K\x07p" + line + b"\n0g%d\n." % key).load() == 7
            assert reader(b"K\x07p%d\n0g" % key + line + b"\n.").load() == 7


@settings(max_examples=200, deadline=None)
@given(st.sampled_from("ci"), TEXTS, TEXTS)
def test_a_name_that_the_walker_claims_is_the_one_that_the_unpickler_asks_for(
    opcode: str, module: bytes, attribute: bytes
) -> None:
    blob = b"(" + opcode.encode() + module + b"\n" + attribute + b"\n."
    for reader in READERS:
        running = reader(blob)
        try:
            running.load()
        except Exception:
            continue
        taken = list(steps(memoryview(blob), 0, Search()))
        assert [argument for name, argument, _ in taken if name in ("GLOBAL", "INST")] == running.names


# Pickles inside files of another format, where only what looks like an import counts


LONG_NAME = b"cos\n" + b"path." + b"os.path." * 20 + b"os.system\n"
OF_TORCHSCRIPT = b"ctorch.jit._pickle\nbuild_intlist.__builtins__.get\n"
HIDDEN = {
    "a long name": LONG_NAME + b")R.",
    "a longer name": b"cos\n" + b"path.os." * 600 + b"system\n)R.",
    "a long name that is cut off": b"cos\n" + b"path.os." * 600 + b"systemx",
    "a path through TorchScript's reader": OF_TORCHSCRIPT + b")R.",
}


@pytest.mark.parametrize("how", HIDDEN)
def test_a_name_cannot_hide_in_a_file_of_another_format(how: str) -> None:
    blob = safetensors_and(P4 + HIDDEN[how])
    assert len(load_safetensors(blob)) == 1
    running = READERS[1](blob)
    with contextlib.suppress(EOFError):
        running.load()
    assert len(running.names) == 1
    report = inspect_bytes("attack", blob)
    assert (report.verdict, report.format) == ("unsafe", "safetensors")
    assert all(len(finding.what) < 200 for finding in report.findings)


def test_what_torchscript_names_for_its_own_reader_is_not_accused() -> None:
    for said in (b"ctorch.jit._pickle\nrestore_type_tag\n", b"c__torch__.net\nNet\n"):
        assert verdict(safetensors_and(P4 + said + b".")) == "safe"


EVIL = b"cos\nsystem\n)R."
FRAME = struct.Struct("<cQ")
DISPUTED = {
    "an opcode across the end of a frame": FRAME.pack(b"\x95", 3) + b"C\x04a" + b"bcde" + EVIL,
    "a frame inside another": FRAME.pack(b"\x95", 20) + b"N0" + FRAME.pack(b"\x95", 2) + b"N0" + b"N0" * 4 + EVIL,
    "a memo key with a sign": b"Np+1\n" + EVIL,
    "a memo key with more after a NUL": b"Np1\0x\n" + EVIL,
    "a memo key with a space": b"Np 1\n" + EVIL,
}


@pytest.mark.parametrize("how", DISPUTED)
def test_what_unpicklers_take_in_different_ways_is_not_safe_in_any_format(how: str) -> None:
    assert verdict(P4 + DISPUTED[how]) != "safe"
    report = inspect_bytes("attack", safetensors_and(P4 + DISPUTED[how]))
    assert report.format == "safetensors"
    assert report.verdict == "unknown"
    assert "as a pickle" in report.findings[0].what


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "u1", "<i8"])
def test_random_weights_are_not_doubted(dtype: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(3000):
        values = random.normal(0, 0.1, 200) if "f" in dtype else random.integers(0, 256, 200)
        search = Search()
        look_for_pickles(search, Piece(memoryview(values.astype(dtype).tobytes())))
        assert search.verdict == "safe", search.findings


def test_a_line_too_long_to_be_looked_at_is_not_safe_in_any_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcodes, "MAX_LINE", 300)
    assert verdict(safetensors_and(P4 + b"I1" + b"0" * 5000 + b"\n" + EVIL)) == "unknown"


def test_a_name_made_of_a_nest_of_tuples_takes_no_time() -> None:
    shared = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(40))
    deep = b")" + b"\x85" * 100_000
    for module in (shared, deep):
        assert "computed" in what(P4 + module + text("system") + b"\x93.")

"""Pickles that one reader takes otherwise than another: the walker must read what the unpickler reads, or refuse."""

from __future__ import annotations

import io
import pickle
import warnings

import make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.supply import inspect_bytes
from assay.supply.opcodes import steps
from assay.supply.pickle_walk import walk
from assay.supply.report import Search, Unreadable

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

"""Pickles of harmless names whose loading, or whose inspection, would take all the time, memory or stack there is."""

from __future__ import annotations

import time

import make
import pytest

from assay.supply import inspect_bytes

P4 = b"\x80\x04"
NEST = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
DEEP = b")" + b"\x85" * 200_000
MANY = b"(" + b"K\x01" * 100_000 + b"t"
LIST = b"](" + b"K\x01" * 100_000 + b"eq\x00"
TABLE = b"}q\x00(" + b"K\x01N" * 100_000 + b"u"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


ORDERED, SET = name("collections", "OrderedDict"), name("builtins", "set")
KEYS = {"a nest of shared tuples": NEST, "a tuple nested deep": DEEP, "a long tuple": MANY, "a class": SET,
        "a tuple in a tuple": b"K\x01\x85\x85", "a number of 70 bits": b"\x8a\x09" + bytes(8) + b"\x40",
        "a number of 300 bytes": b"\x8b\x2c\x01\0\0" + bytes(299) + b"\x01"}  # fmt: skip
HASHED = {
    "SETITEM": b"}%bNs.",
    "SETITEMS": b"}(%bNu.",
    "DICT": b"(%bNd.",
    "in an ordered dict": ORDERED + b")R%bNs.",
    "pairs of an ordered dict": ORDERED + b"](](%bNee\x85R.",
    "ADDITEMS": b"\x8f(%b\x90.",
    "FROZENSET": b"(%b\x91.",
    "called set": SET + b"](%be\x85R.",
}


@pytest.mark.parametrize("how", HASHED)
@pytest.mark.parametrize("kind", KEYS)
def test_a_key_that_is_costly_to_hash_is_not_safe(kind: str, how: str) -> None:
    report = inspect_bytes("attack", P4 + HASHED[how].replace(b"%b", KEYS[kind]))
    assert report.verdict == "unknown"


PLAIN = {"text": b"\x8c\x01x", "a number": b"K\x01", "a fraction": b"G" + bytes(8), "nothing": b"N", "true": b"\x88",
         "bytes": b"C\x01x", "a pair": b"K\x01\x8c\x01x\x86"}  # fmt: skip


@pytest.mark.parametrize("how", HASHED)
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_keys_raise_no_doubt(kind: str, how: str) -> None:
    assert inspect_bytes("plain", P4 + HASHED[how].replace(b"%b", PLAIN[kind])).verdict == "safe"


AGAIN = {
    "the same list made into sets": LIST + (SET + b"h\x00\x85R0") * 5000,
    "the same list made into ordered dicts": LIST + (ORDERED + b"h\x00\x85R0") * 5000,
    "the same dict counted": TABLE + (name("collections", "Counter") + b"h\x00\x85R0") * 5000,
    "the same dict as a state": TABLE + (ORDERED + b")Rh\x00b0") * 5000,
    "the same long arguments": MANY + b"q\x00" + (name("torch._utils", "_rebuild_tensor_v2") + b"h\x00R0") * 5000,
    "the same long reference": MANY + b"q\x00" + b"h\x00Q0" * 5000,
}


@pytest.mark.parametrize("how", AGAIN)
def test_what_is_copied_again_and_again_is_not_safe_and_takes_no_time_here(how: str) -> None:
    begun = time.process_time()
    assert inspect_bytes("attack", P4 + AGAIN[how] + b".").verdict == "unknown"
    assert time.process_time() - begun < 3


def test_a_state_dict_whose_key_is_a_nest_is_not_loaded() -> None:
    members = make.torch_members({})
    root = next(iter(members)).partition("/")[0]
    blob = make.zip_bytes(members | {f"{root}/data.pkl": b"\x80\x02}" + DEEP + b"Ns."})
    assert inspect_bytes("attack", blob).verdict == "unknown"

"""What pickle, numpy and torch write for plain data is safe, in every protocol."""

from __future__ import annotations

import io
import pickle
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, floating_dtypes, integer_dtypes, unicode_string_dtypes

from assay.supply import inspect_bytes

PLAIN = {
    "containers": {"a": [1, -2, 2**70, 0.5, None, True], "b": (b"bytes", bytearray(b"more"), "text\n", 2j), "c": set()},
    "sets": [{1, "two"}, frozenset([b"3"]), set(range(2000))],
    "collections": [OrderedDict(a=1), Counter("abca"), defaultdict(list, a=[1]), defaultdict(dict)],
    "nested": [[[[{"x": ({"y": []},)}]]]],
    "long": {"text": "x" * 100_000, "bytes": b"y" * 100_000, "many": list(range(3000))},
    "array": np.arange(12, dtype=np.float32).reshape(3, 4),
    "scalars": [np.float64(1.5), np.int32(3), np.bool_(True), np.complex64(1j)],
    "arrays": {
        "f": np.ones((2, 3)),
        "t": np.ones((2, 3)).T,
        "s": np.array(["a", "bc"]),
        "o": np.array([1, "x"], object),
    },
    "void": np.zeros(3, dtype="V4"),
    "dtypes": [np.dtype(">i4"), np.dtype("U7"), np.dtype("?")],
    "shapes": [torch.Size([1, 2]), torch.float32, torch.device("cuda", 0)],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("what", PLAIN)
def test_plain_data_is_safe_in_every_protocol(what: str, protocol: int) -> None:
    report = inspect_bytes(what, pickle.dumps(PLAIN[what], protocol))
    assert (report.verdict, report.format, report.findings) == ("safe", "pickle", ())


ARRAYS = arrays(
    st.one_of(floating_dtypes(), integer_dtypes(), unicode_string_dtypes(max_len=5)), st.tuples(st.integers(0, 3))
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20) | ARRAYS
)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_whatever_plain_data_there_is_it_is_safe(value: object, protocol: int) -> None:
    blob = pickle.dumps(value, protocol)
    assume(b"PK\x01\x02" not in blob)  # hypothesis draws constants of the code under test: this one is rightly told
    assert inspect_bytes("value", blob).findings == ()


def test_an_end_of_a_zip_archive_alone_is_plain_data_and_with_a_directory_it_is_not() -> None:
    """What reads an archive from its end finds members only by an entry of its directory."""
    end = b"PK\x05\x06" + bytes(18)
    assert inspect_bytes("value", pickle.dumps(["data", end])).findings == ()
    report = inspect_bytes("value", pickle.dumps([b"PK\x01\x02" + bytes(42), end]))
    assert report.findings[0].what == "it is a zip archive as well, if read from its end"


def saved(value: object, legacy: bool = False) -> bytes:
    blob = io.BytesIO()
    torch.save(value, blob, _use_new_zipfile_serialization=not legacy)
    return blob.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_training_checkpoint_is_safe(legacy: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))
    optimiser = torch.optim.Adam(network.parameters())
    sum(p.sum() for p in network.parameters()).backward()  # type: ignore[union-attr]
    optimiser.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1, 2])
    held = {
        "model": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "epoch": 3,
        "rng": torch.get_rng_state(),
        "best": np.float64(0.25),
    }
    report = inspect_bytes("checkpoint", saved(held, legacy))
    assert report.findings == ()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3), (1,) * 6])
def test_tensors_of_every_shape_and_view_are_safe(legacy: bool, shape: tuple[int, ...]) -> None:
    whole = torch.zeros(shape)
    views = [whole, whole.T if whole.dim() == 2 else whole, whole[..., None], whole.flatten()[1:]]
    assert inspect_bytes("tensor", saved(views, legacy)).findings == ()


def test_a_whole_module_is_not_called_safe() -> None:
    """Its classes are code of torch or of somebody, and its pickle sets their attributes."""
    report = inspect_bytes("module", saved(torch.nn.Linear(2, 2)))
    assert report.verdict == "unsafe"
    assert "torch.nn.modules.linear.Linear" in report.findings[0].what

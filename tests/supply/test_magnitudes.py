"""Magnitudes that no training leaves behind are flagged wherever weights lie."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.torch import save

from assay.supply import inspect_bytes
from assay.supply.weights import ABSURD, oddity


def torch_bytes(tensor: torch.Tensor, legacy: bool = False) -> bytes:
    blob = io.BytesIO()
    torch.save({"conv.weight": torch.ones(3), "conv.bias": tensor}, blob, _use_new_zipfile_serialization=not legacy)
    return blob.getvalue()


def npz_bytes(tensor: torch.Tensor, writer: Callable[..., None]) -> bytes:
    blob = io.BytesIO()
    writer(blob, tensor.numpy())
    return blob.getvalue()


CONTAINERS: dict[str, Callable[[torch.Tensor], bytes]] = {
    "safetensors": lambda t: save({"conv.weight": torch.ones(3), "conv.bias": t}),
    "torch": torch_bytes,
    "torch (legacy)": lambda t: torch_bytes(t, legacy=True),
    "npy": lambda t: npz_bytes(t, np.save),
    "npz": lambda t: npz_bytes(t, np.savez),
}
ODD = {"magnitude 1e+20": -1e20, "infinite": float("-inf"), "not numbers": float("nan")}


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("what", ODD)
def test_the_decoy_bias_is_flagged_in_every_format(form: str, what: str) -> None:
    bias = torch.tensor([0.1, -0.2, ODD[what], 0.3])
    report = inspect_bytes("model", CONTAINERS[form](bias))
    assert (report.format, report.verdict) == (form, "unsafe")
    assert what in report.findings[0].what
    assert inspect_bytes("model", CONTAINERS[form](bias), check_weights=False).verdict == "safe"


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64])
def test_every_kind_of_fraction_is_looked_at(form: str, dtype: torch.dtype) -> None:
    plain = torch.tensor([0.1, -65000.0, 0.3]).to(dtype)
    assert inspect_bytes("model", CONTAINERS[form](plain)).verdict == "safe"
    assert inspect_bytes("model", CONTAINERS[form](plain / 0)).verdict == "unsafe"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn])
def test_short_fractions_are_looked_at(dtype: torch.dtype) -> None:
    for form in ("safetensors", "torch"):
        for value, verdict in ((0.5, "safe"), (-2.0, "safe"), (float("nan"), "unsafe")):
            blob = CONTAINERS[form](torch.tensor([0.25, value]).to(dtype))
            assert inspect_bytes("model", blob).verdict == verdict


def test_whole_numbers_and_truth_values_are_never_odd() -> None:
    for tensor in (torch.tensor([2**62, -1]), torch.tensor([True, False]), torch.tensor([255], dtype=torch.uint8)):
        for form, pack in CONTAINERS.items():
            assert inspect_bytes(form, pack(tensor)).verdict == "safe"


def test_statistics_of_a_trained_network_are_not_absurd() -> None:
    state = {"bn.running_var": torch.tensor([1e6, 1e-12]), "bn.num_batches_tracked": torch.tensor(10**12)}
    assert inspect_bytes("model", save(state)).verdict == "safe"


def test_a_storage_without_a_type_is_checked_as_the_dtype_of_its_tensor() -> None:
    """Torch keeps new dtypes as bytes and names the dtype beside the tensor: any dtype can stand there."""
    blob = io.BytesIO()
    torch.save(torch.zeros(8).to(torch.float8_e5m2), blob)
    with zipfile.ZipFile(blob) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    assert b"K\x08\x85" in members[pickled]
    members[pickled] = members[pickled].replace(b"float8_e5m2", b"float32").replace(b"K\x08\x85", b"K\x02\x85")
    for value, verdict in ((0.5, "safe"), (-1e20, "unsafe")):
        members[pickled.replace("data.pkl", "data/0")] = np.array([0.25, value], dtype="<f4").tobytes()
        blob = io.BytesIO()
        with zipfile.ZipFile(blob, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        assert inspect_bytes("model", blob.getvalue()).verdict == verdict


def test_a_big_endian_array_is_read_the_right_way_round() -> None:
    for value, verdict in ((1.5, "safe"), (1e20, "unsafe")):
        blob = io.BytesIO()
        np.save(blob, np.array([0.5, value], dtype=">f4"))
        assert inspect_bytes("array", blob.getvalue()).verdict == verdict


def plainly(values: NDArray[np.floating]) -> str:
    """The definition: NaN before infinity before magnitude."""
    with np.errstate(all="ignore"):
        wide = np.abs(values.astype(np.float64))
    if np.isnan(wide).any():
        return "NaN"
    if np.isinf(wide).any():
        return "infinite"
    return "magnitude" if (wide > ABSURD).any() else ""


@pytest.mark.parametrize(("dtype", "name"), [("<f4", "F32"), ("<f8", "F64"), ("<f2", "F16")])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_oddity_is_what_its_definition_says(dtype: str, name: str, data: st.DataObject) -> None:
    values = data.draw(arrays(np.dtype(dtype), st.integers(0, 20)))
    said, expected = oddity(memoryview(values.tobytes()), name), plainly(values)
    assert expected in said
    assert bool(said) == bool(expected)


def test_the_whole_of_a_large_tensor_is_looked_at() -> None:
    values = np.zeros(9_000_000, dtype="<f4")
    for place in (0, 4_194_303, 4_194_304, 8_999_999):
        values[place] = -1e20
        assert "1e+20" in oddity(memoryview(values).cast("B"), "F32")
        values[place] = 0


def test_safetensors_files_whose_layout_lies_are_not_safe() -> None:
    good = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    lies = {
        "a gap": {"a": {**good["a"], "data_offsets": [4, 12]}},
        "an overlap": {**good, "b": good["a"]},
        "another length": {"a": {**good["a"], "shape": [3]}},
        "an unknown dtype": {"a": {**good["a"], "dtype": "PY"}},
        "a missing key": {"a": {"dtype": "F32", "shape": [2]}},
        "a key too many": {"a": {**good["a"], "run": "x"}},
        "a negative side": {"a": {**good["a"], "shape": [-1, -2]}},
        "metadata that is no text": {**good, "__metadata__": {"x": 1}},
        "no object": [],
    }
    assert inspect_bytes("a", _safetensors(good)).verdict == "safe"
    for what, header in lies.items():
        assert inspect_bytes("a", _safetensors(header)).verdict == "unknown", what
    twice = (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    )
    assert inspect_bytes("a", len(twice).to_bytes(8, "little") + twice + bytes(8)).verdict == "unknown"
    assert inspect_bytes("a", _safetensors(good) + b"x").verdict == "unknown"


def _safetensors(header: object) -> bytes:
    blob = json.dumps(header).encode()
    return len(blob).to_bytes(8, "little") + blob + bytes(8)

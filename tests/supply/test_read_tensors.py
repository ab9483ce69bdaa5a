"""`read_tensors` gives the tensors of a file that passed, and a sentence for every other."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from assay.errors import AssayError, ModelError, UnreadableFileError, UnsafeFileError
from assay.supply import inspect, read_tensors, receive
from assay.supply import tensors as loading

KEPT = Path(__file__).parents[1] / "attacks" / "supply" / "os_system.pt"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    large = torch.randn((4, 6), generator=generator)
    return {
        "plain": large,
        "transposed": large.T,
        "part": large[1:3, ::2],
        "one": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "half": large.half(),
        "short": large.bfloat16(),
        "whole": torch.arange(5),
        "truth": torch.tensor([True, False]),
        "unsigned": torch.tensor([1, 65535], dtype=torch.uint16),
        "eight": large.to(torch.float8_e4m3fn),
        "parameter": torch.nn.Parameter(large * 2),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
def test_a_state_dict_comes_back_bit_for_bit(place: Path, legacy: bool, wrapper: str | None) -> None:
    late = {"eight", "unsigned"} if legacy else set()  # dtypes that torch's old format cannot hold
    state = OrderedDict((name, tensor) for name, tensor in weights().items() if name not in late)
    held = {wrapper: state, "epoch": 3, "lr": 0.1, "names": ["a", None]} if wrapper else state
    torch.save(held, place, _use_new_zipfile_serialization=not legacy)
    assert inspect(place).verdict == "safe"
    tensors, metadata = read_tensors(place)
    assert tensors.keys() == state.keys()
    assert metadata == {}
    for name, tensor in state.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].double().tolist() == tensor.double().tolist()
        assert not tensors[name].requires_grad


def test_safetensors_come_back_with_their_metadata(place: Path) -> None:
    place.write_bytes(save({"w": torch.arange(3.0)}, {"assay.model": "{}"}))
    received = receive(place)
    assert received.tensors["w"].tolist() == [0, 1, 2]
    assert received.metadata == {"assay.model": "{}"}
    assert received.report.sha256 == inspect(place).sha256


def test_the_prefix_of_data_parallel_is_taken_off(place: Path) -> None:
    torch.save({"module.a": torch.ones(1), "module.module.b": torch.ones(1)}, place)
    assert read_tensors(place)[0].keys() == {"a", "module.b"}
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, place)
    with pytest.raises(ModelError, match="two tensors of the same name"):
        read_tensors(place)


def test_an_unsafe_file_is_refused_by_name_with_exit_code_1() -> None:
    with pytest.raises(UnsafeFileError, match=r"os_system\.pt is not safe to open: .*system") as refusal:
        read_tensors(KEPT)
    assert refusal.value.exit_code == 1


def zip_bytes(*names: str) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return blob.getvalue()


REFUSED = {
    "which is not read yet": [
        b"\x08\x08\x3a\x00\x42\x00",
        zip_bytes("m/models/model.json", "m/archive_format"),
        zip_bytes("m/constants.pkl", "m/code/x.py"),
        zip_bytes("config.json", "metadata.json"),
        b"\x89HDF\r\n\x1a\n" + bytes(60),
    ],
    "cannot be judged": [b"what is this?", save({"w": torch.ones(3)})[:-2], b"\x80\x02"],
    "not a model": [pickle.dumps([1, 2]), pickle.dumps(np.ones(3))],
}


@pytest.mark.parametrize(("why", "blob"), [(why, blob) for why, blobs in REFUSED.items() for blob in blobs])
def test_what_is_not_read_is_refused_in_a_sentence_with_exit_code_2(place: Path, why: str, blob: bytes) -> None:
    place.write_bytes(blob)
    with pytest.raises(UnreadableFileError, match=why) as refusal:
        read_tensors(place)
    assert refusal.value.exit_code == 2
    assert str(place) in str(refusal.value)


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (torch.ones(2), "holds a Tensor, not a state dict"),
        ({}, "holds a dict, not a state dict"),
        ({"a": torch.ones(1), "epoch": 3}, "1 things that are not dense tensors"),
        ({1: torch.ones(1)}, "not dense tensors with a name"),
        ({"state_dict": {"a": [1, 2]}}, "not dense tensors"),
    ],
)
def test_other_things_than_tensors_are_refused(place: Path, held: object, why: str) -> None:
    torch.save(held, place)
    with pytest.raises(ModelError, match=why):
        read_tensors(place)


def test_a_small_file_that_stands_for_much_memory_is_refused(place: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1000, 1000)}, place)
    with pytest.raises(UnreadableFileError, match="cannot be judged"):
        read_tensors(place)
    shared = torch.ones(100_000)
    torch.save({str(i): shared for i in range(50)}, place)
    with pytest.raises(ModelError, match="stand for 20,000,000"):
        read_tensors(place)


def test_a_file_that_is_missing_a_folder_or_too_large_is_refused(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write_bytes(save({"w": torch.ones(3)}))
    monkeypatch.setattr(loading, "MAX_FILE", 10)
    for path in (tmp_path, tmp_path / "missing", Path("with\0nul"), place):
        with pytest.raises(UnreadableFileError):
            read_tensors(path)


def test_the_bytes_that_were_inspected_are_the_bytes_that_are_loaded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is swapped between inspection and loading."""
    place.write_bytes(save({"w": torch.ones(3)}))
    inspected = loading.inspect_bytes

    def swap(name: str, data: bytes, check_weights: bool = True) -> object:
        place.write_bytes(KEPT.read_bytes())
        return inspected(name, data, check_weights)

    monkeypatch.setattr(loading, "inspect_bytes", swap)
    assert read_tensors(place)[0]["w"].tolist() == [1, 1, 1]
    with pytest.raises(AssayError):
        read_tensors(place)

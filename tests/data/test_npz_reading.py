"""Arrays from outside: what is read is what numpy would read, and nothing damaged or hostile does more than raise."""

from __future__ import annotations

import io
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.data.arrays import open_arrays, read_arrays
from assay.errors import DataError


def write(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def npy(header: bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An `.npy` file with any header."""
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


def packed(path: Path, name: str, blob: bytes, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name, blob)
    return path


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.array(["stop", "yield"]),
        np.array(8000),
        np.zeros((0, 3), np.float32),
        np.arange(3, dtype=">i4"),
    ],
    ids=["bytes", "fortran order", "text", "a single number", "empty", "big-endian"],
)
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, array: np.ndarray) -> None:
    read = read_arrays(write(tmp_path / "a.npz", a=array), "a")["a"]
    assert read.dtype == array.dtype and read.shape == array.shape and np.array_equal(read, array)


def test_a_large_array_is_read_whole(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, 700_001).astype(np.uint8)
    assert np.array_equal(read_arrays(write(tmp_path / "a.npz", a=array), "a")["a"], array)


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs the array b, but holds a"):
        read_arrays(write(tmp_path / "a.npz", a=np.zeros(3)), "b")


def test_an_array_of_objects_is_refused_and_its_pickle_does_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    write(tmp_path / "a.npz", a=np.array([Payload()], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        read_arrays(tmp_path / "a.npz", "a")
    assert not ran.exists()


def test_a_header_that_asks_for_a_terabyte_takes_no_memory(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }"
    packed(tmp_path / "a.npz", "a.npy", npy(header, b"abc"))
    tracemalloc.start()
    with pytest.raises(DataError, match="not the bytes"):
        read_arrays(tmp_path / "a.npz", "a")
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (100663296,), }"))
        for _ in range(96):
            file.write(bytes(2**20))
    with pytest.raises(DataError, match="packed more than 200 times"):
        read_arrays(tmp_path / "a.npz", "a")


def test_a_file_that_unpacks_to_more_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.data.arrays.MAX_BYTES", 1000)
    with pytest.raises(DataError, match="take fewer"):
        read_arrays(write(tmp_path / "a.npz", a=np.zeros(2000, np.uint8)), "a")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-3,), }",
        b"{'descr': '|u1', 'fortran_order': False}",
        b"{'descr': (), 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '|S0', 'fortran_order': False, 'shape': (99999999999,), }",
        b"__import__('os')",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (3L,), } + (",
        b"[" * 5000,
        b"",
    ],
)
def test_a_strange_header_is_a_sentence(tmp_path: Path, header: bytes) -> None:
    packed(tmp_path / "a.npz", "a.npy", npy(header, b"abc"))
    with warnings.catch_warnings(), pytest.raises(DataError, match="cannot be read"):
        warnings.simplefilter("ignore")  # numpy's, about headers of Python 2
        read_arrays(tmp_path / "a.npz", "a")


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x09\x09"])
def test_versions_that_numpy_writes_for_records_alone_are_refused(tmp_path: Path, version: bytes) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"
    with pytest.raises(DataError, match="its header cannot be read"):
        read_arrays(packed(tmp_path / "a.npz", "a.npy", npy(header, b"abc", version)), "a")


def test_packing_that_numpy_does_not_write_is_refused(tmp_path: Path) -> None:
    blob = io.BytesIO()
    np.save(blob, np.arange(3))
    with pytest.raises(DataError, match="numpy does not write"):
        read_arrays(packed(tmp_path / "a.npz", "a.npy", blob.getvalue(), zipfile.ZIP_LZMA), "a")


def test_what_is_no_archive_is_a_sentence(tmp_path: Path) -> None:
    for blob in (b"", b"hello", b"PK\x03\x04", b"\x93NUMPY"):
        (tmp_path / "a.npz").write_bytes(blob)
        with pytest.raises(DataError, match=r"cannot be read as an \.npz file"):
            read_arrays(tmp_path / "a.npz", "a")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 700), new=st.integers(0, 255), cut=st.booleans())
def test_a_file_with_any_byte_changed_or_cut_there_gives_its_numbers_or_a_sentence(
    tmp_path: Path, place: int, new: int, cut: bool
) -> None:
    whole = write(tmp_path / "whole.npz", x=np.arange(50, dtype=np.uint8), y=np.arange(5)).read_bytes()
    place %= len(whole)
    (tmp_path / "a.npz").write_bytes(whole[:place] if cut else whole[:place] + bytes([new]) + whole[place + 1 :])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_arrays(tmp_path / "a.npz") as entries:
                assert all(entry.read().shape == entry.shape for entry in entries.values())
        except DataError as error:
            assert str(error).startswith(str(tmp_path / "a.npz"))

"""Tell a file's format by its bytes, never by its name."""

from __future__ import annotations

from assay.supply.keras import is_hdf5
from assay.supply.onnx import is_caffe, is_onnx
from assay.supply.packed import is_tar
from assay.supply.protobuf import first_look
from assay.supply.report import Search
from assay.supply.safetensors_file import is_safetensors

ZIP = (b"PK\x03\x04", b"PK\x05\x06")

_STARTS = {
    b"\x93NUMPY": "npy",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x78\x01": "zlib",
    b"\x78\x5e": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
}

PROGRAMS = {b"\x7fELF": "ELF", b"MZ": "Windows", b"\xcf\xfa\xed\xfe": "macOS", b"#!": "script"}
"""First bytes of files that are run."""

FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"GGUF": "gguf",
}
"""First bytes of formats that are recognised and not read."""


def tell(data: memoryview, search: Search) -> str:
    """The format, as far as the bytes say it themselves; empty where they do not."""
    head = bytes(data[:8])
    if head[:4] in ZIP:
        return "zip"
    for table in (_STARTS, FOREIGN):
        for start, name in table.items():
            if head.startswith(start):
                return name
    if is_hdf5(data):
        return "hdf5"
    if is_safetensors(data):
        return "safetensors"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        return "pickle"
    if is_tar(data):
        return "tar"
    if head[4:8] == b"TFL3":
        return "tflite"
    message = first_look(data, search)
    if is_onnx(message):
        return "onnx"
    return "caffemodel" if is_caffe(message, search) else ""


def program(data: memoryview) -> str:
    """The kind of program the bytes are; empty if they are none."""
    head = bytes(data[:4])
    return next((name for start, name in PROGRAMS.items() if head.startswith(start)), "")

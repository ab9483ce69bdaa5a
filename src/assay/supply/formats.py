"""Tell a file's format by its bytes, never by its name."""

from __future__ import annotations

import re

MAX_SAFETENSORS_HEADER = 100_000_000
"""Bytes; the format's own limit."""

_PICKLE_TEXT = re.compile(rb"[(\]}cilIFSVNg0-2.\x28-\x8f]")


def tell(head: bytes, size: int) -> str:
    """The format of a file of `size` bytes that begins with `head` (at least its first 512 bytes)."""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:6] == b"\x93NUMPY":
        return "npy"
    if head[:8] == b"\x89HDF\r\n\x1a\n":
        return "hdf5"
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        return "pickle"
    if is_safetensors(head, size):
        return "safetensors"
    if head[:1] == b"\x08" and len(head) > 2 and head[1] < 64 and head[2] in b"\x12\x1a\x22\x2a\x32\x3a\x42":
        return "onnx"
    if (head[:1] == b"\x0a" and b"Data" in head[:512]) or b"Convolution" in head[:512]:
        return "caffemodel"
    if _PICKLE_TEXT.match(head):
        return "pickle?"
    return "unknown"


def is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes of header length, then a JSON object."""
    if len(head) < 9:
        return False
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(size - 8, MAX_SAFETENSORS_HEADER) and head[8:9] == b"{"

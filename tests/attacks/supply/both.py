"""Safetensors files that are a pickle as well: the length of the header is an opcode that swallows part of it."""

from __future__ import annotations


def safetensors_and(payload: bytes) -> bytes:
    """A file that safetensors opens as one tensor, and an unpickler as `payload`."""
    front, hop = b'{"__metadata__":{"a":"', b"U~" + b"x" * 126  # U~ pushes the 126 characters that follow
    back = b'"},"t":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}'
    back = back % (len(payload), len(payload))
    swallowed = 600
    length = ord("B") | swallowed << 8  # B pushes as many bytes as the four after it say
    before = b"x" * (swallowed + 5 - 8 - len(front))
    left = length - len(front) - len(before) - len(back)
    last = left % len(hop) - 2
    header = front + before + hop * (left // len(hop)) + b"U" + bytes([last + len(back)]) + b"x" * last + back
    return length.to_bytes(8, "little") + header + payload

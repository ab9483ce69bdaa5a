"""Makes the table of harmless files: seventeen that run something when a careless loader opens them, eight that do not.

Every payload only prints or echoes; where a test wants to see whether it ran, it echoes into a file of the test's.
`python make.py FOLDER` writes them all.
"""

from __future__ import annotations

import io
import os
import pdb
import pickle
import subprocess
import sys
import timeit
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

SAYS = "echo this file could have run anything"


class Call:
    """Unpickles to the result of `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


def shell(command: str = SAYS) -> bytes:
    """A pickle that runs a shell command."""
    return pickle.dumps(Call(os.system, command), 4)


def benign_pickle() -> bytes:
    return pickle.dumps({"weights": [0.5, 0.25]}, 4)


def state_dict() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {"conv.weight": (2, 1, 3, 3), "conv.bias": (2,), "fc.weight": (3, 8), "fc.bias": (3,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in weights.items()}


def torch_bytes(value: object, legacy: bool = False) -> bytes:
    blob = io.BytesIO()
    torch.save(value, blob, _use_new_zipfile_serialization=not legacy)
    return blob.getvalue()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    blob = io.BytesIO()
    with zipfile.ZipFile(blob, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return blob.getvalue()


def torch_members(value: object) -> dict[str, bytes]:
    """The members of a torch archive, by name."""
    with zipfile.ZipFile(io.BytesIO(torch_bytes(value))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_wrong_checksum(blob: bytes) -> bytes:
    """A zip archive whose first directory entry has another checksum than its content."""
    at = blob.index(b"PK\x01\x02") + 16
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


def numpy_bytes(save: Callable[..., None], *values: object, **named: object) -> bytes:
    blob = io.BytesIO()
    save(blob, *values, **named)
    return blob.getvalue()


# Protocol buffers by hand: ONNX needs no library here.


def number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def piece(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def onnx_tensor(name: str, values: np.ndarray, **extra: bytes) -> bytes:
    dims = b"".join(number(1, side) for side in values.shape)
    return dims + number(2, 1) + piece(8, name) + piece(9, values.astype("<f4").tobytes()) + extra.get("more", b"")


def onnx_node(operator: str, inputs: list[str], outputs: list[str], domain: str = "", attributes: bytes = b"") -> bytes:
    names = b"".join(piece(1, i) for i in inputs) + b"".join(piece(2, o) for o in outputs)
    return names + piece(3, operator.lower()) + piece(4, operator) + attributes + (piece(7, domain) if domain else b"")


def onnx_model(nodes: list[bytes], tensors: list[bytes], extra: bytes = b"") -> bytes:
    graph = b"".join(piece(1, n) for n in nodes) + piece(2, "g") + b"".join(piece(5, t) for t in tensors)
    graph += piece(11, piece(1, "input")) + piece(12, piece(1, "output"))
    return number(1, 8) + piece(2, "assay-tests") + piece(7, graph) + piece(8, number(2, 17)) + extra


def onnx_benign() -> bytes:
    weight = onnx_tensor("w", np.full((2, 2), 0.5))
    nodes = [onnx_node("MatMul", ["input", "w"], ["hidden"]), onnx_node("Relu", ["hidden"], ["output"])]
    return onnx_model(nodes, [weight])


def pt2_bytes() -> bytes:
    """A network of three layers, exported by torch itself."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 3))
    batch = torch.export.Dim("batch")
    program = torch.export.export(network.eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
    blob = io.BytesIO()
    torch.export.save(program, blob)
    return blob.getvalue()


def evil_files(command: str = SAYS) -> dict[str, bytes]:
    """The seventeen, by file name."""
    evil, says = shell(command), f"import os; os.system({command!r})"
    members = torch_members(state_dict())
    root = next(iter(members)).partition("/")[0]
    instead = members | {f"{root}/data.pkl": evil}
    return {
        "os_system.pkl": evil,
        "exec.pkl": b"cbuiltins\nexec\n(V" + says.encode("raw-unicode-escape") + b"\ntR.",
        "subprocess.pkl": pickle.dumps(Call(subprocess.getoutput, command), 2),
        "pdb.pkl": pickle.dumps(Call(pdb.run, says), 3),
        "timeit.pkl": pickle.dumps(Call(timeit.timeit, says), 5),
        "broken_tail.pkl": evil[:-1] + b"\xff\xff not a pickle",
        "second.pkl": pickle.dumps({"weights": [1.0, 2.0]}) + evil,
        "os_system.pt": zip_bytes(instead),
        "bad_crc.pt": with_wrong_checksum(zip_bytes(instead)),
        "inner_zip.pt": zip_bytes(members | {f"{root}/extra.zip": zip_bytes({"hidden.pkl": evil})}),
        "outer.zip": zip_bytes({"readme.txt": b"weights inside", "model.pt": zip_bytes(instead)}),
        "config.pt": zip_bytes(members | {f"{root}/config.txt": evil}),
        "pickle.safetensors": evil,
        "object.npy": numpy_bytes(np.save, np.array([Call(os.system, command)], dtype=object)),
        "torch_zip.pt": torch_bytes({"weights": Call(os.system, command)}),
        "torch_legacy.pt": torch_bytes({"weights": Call(os.system, command)}, legacy=True),
        "print.pkl": pickle.dumps(Call(print, "this file could have run anything")),
    }


def benign_files() -> dict[str, bytes]:
    """The eight, by file name."""
    from safetensors.torch import save

    weights = state_dict()
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    return {
        "state_dict.pt": torch_bytes(weights),
        "state_dict_old.pt": torch_bytes(weights, legacy=True),
        "weights.safetensors": save(weights),
        "array.npy": numpy_bytes(np.save, arrays["fc.weight"]),
        "arrays.npz": numpy_bytes(np.savez, **arrays),
        "model.onnx": onnx_benign(),
        "model.pt2": pt2_bytes(),
        "arrays.pkl": pickle.dumps(arrays),
    }


def os_system_pt() -> bytes:
    """The file that is kept beside this one: a state dict whose pickle echoes a sentence first."""
    return zip_bytes(torch_members({"weights": Call(os.system, SAYS)}))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in {**evil_files(), **benign_files()}.items():
        (folder / name).write_bytes(blob)

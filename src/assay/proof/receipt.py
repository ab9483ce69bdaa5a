"""Receipts: an answer, what it is the answer to, and the proof, as bytes.

MessagePack, an array of fixed length, and only in the one encoding that Assay writes. Everything is checked here before
anything is computed or allocated from it; the proof itself has no structure but its length (see `transcript`).

A proof shows integrity only: the answer is what this model gives on this input. It hides nothing; activations can be
worked out from it, in part, by whoever reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.errors import InputError
from assay.integer.graph import LARGEST, Input
from assay.integer.shapes import MAX_NODES
from assay.proof.errors import UnreadableReceipt, VerificationError
from assay.proof.plan import Interval
from assay.proof.tensors import Ints
from assay.runs import write_atomically

FORMAT = "assay receipt"
VERSION = 1
MAX_RECEIPT = 1 << 30
MAX_BATCH = 1 << 20
NONCE_BYTES = (16, 64)
"""Least and most."""

DIGEST_BYTES = 32

_SHORT_ARRAY, _NO_SHORT_ARRAY = b"\x90", b"\xa0"
"""First bytes of MessagePack arrays of at most 15 entries, and the one behind them."""


class Receipt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Attributes:
    model: the network's digest, or the commitment to its weights.
    architecture: what the commitment is to, beside the weights; empty where the verifier holds the network.
    weights_root: Merkle root over the committed weights; empty as well.
    intervals: (node, low, high) for each looked-up node: the range of its table.
    queries: columns opened a commitment.
    batch: number of pictures.
    nonce: drawn by the client.
    inputs: the pictures, a byte a value where the network takes bytes, else 8 bytes, little-endian.
    outputs: 8 bytes a value, little-endian, picture by picture.
    proof: what the prover said.
    """

    format: str
    version: int
    model: bytes
    architecture: bytes
    weights_root: bytes
    intervals: Annotated[list[tuple[int, int, int]], msgspec.Meta(max_length=MAX_NODES)]
    queries: int
    batch: int
    nonce: bytes
    inputs: bytes
    outputs: bytes
    proof: bytes

    def to_bytes(self) -> bytes:
        """The file."""
        return msgspec.msgpack.encode(self)

    def save(self, path: Path | str) -> Path:
        """Write the file; it is there whole or not at all."""
        path = Path(path)
        write_atomically(path, self.to_bytes())
        return path

    @property
    def ranges(self) -> dict[int, Interval]:
        """`intervals` by node."""
        return {position: (low, high) for position, low, high in self.intervals}


def parse(data: bytes) -> Receipt:
    """A receipt whose lengths and ranges make sense; whether they fit the network is seen later.

    Raises:
        UnreadableReceipt: if these bytes are no receipt, or one of another version.
        VerificationError: if it is one whose fields contradict themselves.
    """
    if len(data) > MAX_RECEIPT:
        raise UnreadableReceipt(f"a receipt of {len(data)} bytes is larger than {MAX_RECEIPT >> 20} MiB")
    if not _SHORT_ARRAY <= data[:1] < _NO_SHORT_ARRAY:  # a longer one becomes many times its size when it is decoded
        raise UnreadableReceipt("this is not a receipt")
    try:
        head = msgspec.msgpack.decode(data, type=list[msgspec.Raw])
        head_format = msgspec.msgpack.decode(head[0], type=str) if head else None
        version = msgspec.msgpack.decode(head[1], type=int) if len(head) > 1 else None
    except (msgspec.DecodeError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableReceipt(f"this is not a receipt: {error}") from error
    if head_format != FORMAT:
        raise UnreadableReceipt("this is not a receipt")
    if version != VERSION:
        raise UnreadableReceipt(f"this is a receipt of version {str(version)[:20]}; this Assay reads version {VERSION}")
    try:
        receipt = msgspec.msgpack.decode(data, type=Receipt)
        written = receipt.to_bytes()
    except (msgspec.DecodeError, ValueError, MemoryError) as error:
        raise UnreadableReceipt(f"this receipt is damaged: {error}") from error
    if written != data:
        raise UnreadableReceipt("this receipt is not in the one encoding that Assay writes")
    _check(receipt)
    return receipt


def _check(receipt: Receipt) -> None:
    if len(receipt.model) != DIGEST_BYTES:
        raise VerificationError(f"a model is named by {DIGEST_BYTES} bytes, got {len(receipt.model)}")
    if bool(receipt.architecture) != bool(receipt.weights_root) or len(receipt.weights_root) not in (0, DIGEST_BYTES):
        raise VerificationError("architecture and root of the weights come together or not at all")
    positions = [position for position, _, _ in receipt.intervals]
    if positions != sorted(set(positions)) or (positions and positions[0] < 0):
        raise VerificationError("the ranges of looked-up values are not in order")
    if any(not -LARGEST <= low <= high <= LARGEST for _, low, high in receipt.intervals):
        raise VerificationError("a range of looked-up values is empty or beyond the field")
    if not 1 <= receipt.batch <= MAX_BATCH:
        raise VerificationError(f"a batch has 1 to {MAX_BATCH} pictures, got {receipt.batch}")
    check_nonce(receipt.nonce)


def check_nonce(nonce: bytes) -> None:
    """Raise VerificationError unless its length is allowed."""
    least, most = NONCE_BYTES
    if not least <= len(nonce) <= most:
        raise VerificationError(f"a nonce has {least} to {most} bytes, got {len(nonce)}")


def check_pictures(given: Input, pictures: NDArray[np.integer]) -> None:
    """Raise InputError unless these are one or more pictures of the network's size and range."""
    if pictures.ndim != 4 or pictures.shape[1:] != given.shape or not len(pictures) or pictures.dtype.kind not in "iu":
        raise InputError(f"the network takes integers `n` x {given.shape}, got {pictures.dtype} {pictures.shape}")
    if int(pictures.min()) < given.low or int(pictures.max()) > given.high:
        raise InputError(f"the network takes values from {given.low} to {given.high}")


def encode_pictures(pictures: NDArray[np.integer], given: Input) -> bytes:
    """As in `inputs`."""
    return pictures.astype(_picture_type(given)).tobytes()


def _picture_type(given: Input) -> np.dtype[np.uint8] | np.dtype[np.int64]:
    return np.dtype(np.uint8) if given.low >= 0 and given.high <= 255 else np.dtype("<i8")


def decode_pictures(data: bytes, batch: int, given: Input) -> NDArray[np.integer]:
    """The pictures `n c h w`.

    Raises:
        VerificationError: if there are more or fewer, or a value is out of the network's range.
    """
    kind, shape = _picture_type(given), (batch, *given.shape)
    count = batch * given.shape[0] * given.shape[1] * given.shape[2]
    if len(data) != count * kind.itemsize:
        raise VerificationError(f"{batch} pictures are {count * kind.itemsize} bytes, the receipt holds {len(data)}")
    pictures: NDArray[Any] = np.frombuffer(data, kind).reshape(shape)
    if int(pictures.min()) < given.low or int(pictures.max()) > given.high:
        raise VerificationError(f"the network takes values from {given.low} to {given.high}, the receipt holds others")
    return pictures


def encode_outputs(outputs: Ints) -> bytes:
    """As in `outputs`."""
    return outputs.astype("<i8").tobytes()


def decode_outputs(data: bytes, batch: int, classes: int) -> Ints:
    """The outputs (batch, classes).

    Raises:
        VerificationError: if there are more or fewer, or one is no element of the field.
    """
    if len(data) != 8 * batch * classes:
        raise VerificationError(f"{batch} answers are {8 * batch * classes} bytes, the receipt holds {len(data)}")
    outputs = np.frombuffer(data, "<i8").reshape(batch, classes).astype(np.int64)
    if int(outputs.min()) < -LARGEST or int(outputs.max()) > LARGEST:
        raise VerificationError("an answer is beyond the field")
    return outputs

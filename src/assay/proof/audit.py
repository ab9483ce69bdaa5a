"""Freivalds' audit: a cheaper check, for a client that may see every linear layer's output.

Source: Freivalds (MFCS 1979), in the form of Slalom (Tramèr, Boneh, ICLR 2019). The provider hands over the outputs of
all linear and convolutional layers. The client checks each with one random vector, eq(r, ·) at a point r of F_p² that
it draws after it has them, and computes everything between by itself, exactly. No commitment, no lookups, no sum-check.

This is not a proof that can be shown to others, and its record is as large as the activations: use it where the client
computes anyway and wants to be rid of the multiplications only.

Soundness error: (variables of a layer's output)/p² a layer, for a client with its own randomness.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.integer import IntegerNetwork, modular
from assay.integer import graph as g
from assay.proof.errors import UnreadableReceipt, VerificationError
from assay.proof.field import Element, P, Words, dot, unpack
from assay.proof.layers.convolution import bias_everywhere, bind_outputs, window_values
from assay.proof.layers.linear import bias_at
from assay.proof.layers.windows import axes
from assay.proof.multilinear import combine, eq_table, split, tensor_at, variables
from assay.proof.receipt import check_pictures, decode_outputs, encode_outputs
from assay.proof.tensors import Ints, requantised
from assay.proof.weights import architecture_of

FORMAT, VERSION = "assay audit", 1


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the provider hands over: the network's digest, and the outputs of each layer with weights, in order."""

    format: str
    version: int
    model: bytes
    batch: int
    layers: list[bytes]

    def to_bytes(self) -> bytes:
        """The file."""
        return msgspec.msgpack.encode(self)


def record(network: IntegerNetwork, pictures: NDArray[np.integer]) -> tuple[Ints, Record]:
    """The outputs, and what a client needs to audit them."""
    values = network.trace(pictures).values
    layers = [
        encode_outputs(values[k]) for k, node in enumerate(network.nodes) if isinstance(node, g.Conv2d | g.Linear)
    ]
    return values[-1], Record(FORMAT, VERSION, bytes.fromhex(network.digest), len(pictures), layers)


def audit(data: bytes, network: IntegerNetwork, pictures: NDArray[np.integer]) -> Ints:
    """The outputs for one's own pictures, of a record that holds.

    Raises:
        InputError: if the pictures do not fit the network.
        UnreadableReceipt: if this is no record.
        VerificationError: if it is about another network or batch, or a layer is wrong.
    """
    try:
        found = msgspec.msgpack.decode(data, type=Record)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UnreadableReceipt(f"this is not an audit record: {error}") from error
    if (found.format, found.version) != (FORMAT, VERSION):
        raise UnreadableReceipt("this is not an audit record of this version")
    if found.model != bytes.fromhex(network.digest) or found.batch != len(pictures):
        raise VerificationError("this record is about another model or another batch")
    nodes, shapes = architecture_of(network).nodes, network.shapes
    weighted = [k for k, node in enumerate(nodes) if isinstance(node, g.Conv2d | g.Linear)]
    if len(found.layers) != len(weighted):
        raise VerificationError(f"the network has {len(weighted)} layers with weights, the record {len(found.layers)}")
    claimed = dict(zip(weighted, found.layers, strict=True))
    check_pictures(network.input, pictures)
    values: list[Ints] = [pictures.astype(np.int64)]
    for position, node in enumerate(nodes[1:], 1):
        given = [values[k] for k in node.inputs]
        if isinstance(node, g.Conv2d | g.Linear):
            size = int(np.prod(shapes[position]))
            output = decode_outputs(claimed[position], found.batch, size).reshape(found.batch, *shapes[position])
            _check(position, node, given[0], output)
            values.append(output)
        else:
            values.append(_computed(node, given, network))
    return values[-1]


def _check(position: int, node: g.Conv2d | g.Linear, given: Ints, output: Ints) -> None:
    shape = output.shape
    point = [Element(secrets.randbelow(P), secrets.randbelow(P)) for _ in range(sum(map(variables, shape)))]
    parts = split(point, shape)
    bound = combine(given.reshape(len(given), -1), eq_table(parts[0]))
    bias = unpack(combine(node.bias[:, None], eq_table(parts[1])))[0]
    if isinstance(node, g.Linear):
        weights = combine(node.weight, eq_table(parts[1]))
        inputs: Words = bound
        whole = bias_at(len(given), parts[0], bias)
    else:
        rows, columns = axes(node, given.shape, shape)
        weights = bind_outputs(node, parts[1]).reshape(-1, 2)
        inputs = window_values(bound.reshape(*given.shape[1:], 2), rows, columns, parts[2], parts[3]).reshape(-1, 2)
        whole = bias_everywhere(len(given), shape, parts, bias)
    if unpack(dot(weights, inputs))[0] + whole != tensor_at(output, point):
        raise VerificationError(f"layer {node.name or position}: its output is not what its weights give")


def _computed(node: g.Node, given: Sequence[Ints], network: IntegerNetwork) -> Ints:
    """A node without weights, exactly; values of classic networks wrap in the field."""
    x = given[0]
    match node:
        case g.Offset(value=value):
            return _wrapped([x, np.broadcast_to(value[:, None, None], x.shape)], (0, 0))
        case g.Add(shifts=shifts):
            return _wrapped(given, shifts)
        case g.Square():
            squares: Ints = modular.squared(x)[0]
            return squares
        case g.Requantise():
            return requantised(node, x)
        case g.ReLU():
            y = x.copy()
            y[:, node.start : node.stop] = np.maximum(y[:, node.start : node.stop], 0)
            return y
        case g.MaxPool() | g.SumPool():
            return _pooled(node, x)
        case g.Flatten():
            return x.reshape(len(x), -1)
        case g.Concat():
            return np.concatenate(given, axis=1)
        case g.Subsample(stride=(down, right)):
            return x[:, :, ::down, ::right]
        case g.PadChannels(before=before, after=after):
            return np.pad(x, ((0, 0), (before, after), (0, 0), (0, 0)))
        case _:
            raise ValueError(f"{type(node).__name__} has weights or is the input")


def _wrapped(terms: Sequence[Ints], shifts: Sequence[int]) -> Ints:
    return modular.added(list(terms), shifts)[0]


def _pooled(node: g.MaxPool | g.SumPool, x: Ints) -> Ints:
    largest = isinstance(node, g.MaxPool)
    top, bottom, left, right = node.padding
    outside = np.iinfo(np.int64).min if largest else 0
    wide = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=outside)
    dy, dx = node.dilation if isinstance(node, g.MaxPool) else (1, 1)
    (kh, kw), (down, right_step) = node.kernel, node.stride
    rows = (wide.shape[2] - dy * (kh - 1) - 1) // down + 1
    columns = (wide.shape[3] - dx * (kw - 1) - 1) // right_step + 1
    taps = [
        wide[:, :, dy * a :: down, dx * b :: right_step][:, :, :rows, :columns] for a in range(kh) for b in range(kw)
    ]
    return np.stack(taps).max(axis=0) if largest else _wrapped(taps, [0] * len(taps))

"""AES-128 for the two things oblivious transfer needs: long random streams, and a hash that breaks correlations.

The hash is TMMO of Guo, Katz, Wang, Yu, "Efficient and Secure Multiparty Computation from Fixed-Key Block Ciphers"
(IEEE S&P 2020), section 7.4: H(x, i) = π(π(x) ⊕ i) ⊕ π(x), tweakable and circular correlation robust when π is an
ideal permutation. π is AES under a key that each session derives anew, and no tweak is ever used twice.

Kernels use the processor's AES instructions through LLVM (two blocks an instruction where it has VAES); without them,
the `cryptography` package's AES does the same work.
Measured on one core of an AMD EPYC (Zen 4), numba 0.68: see `assay bench private-nonlinear`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from assay.kernels import kernel
from assay.private.ntt import Words

Blocks = NDArray[np.uint64]
"""Shape (n, 2): blocks of 128 bits, low word first."""

ROUND_WORDS = 22
"""Eleven round keys."""


@lru_cache(maxsize=1)
def _features() -> dict[str, bool]:
    return dict(llvm.get_host_cpu_features())


HARDWARE = _features().get("aes", False)
"""Whether this processor has AES instructions."""

_WIDTH = 2 if _features().get("vaes", False) and _features().get("avx2", False) else 1
_TILE = 8 * _WIDTH
"""Blocks that are encrypted together: enough to hide the latency of an instruction."""

_I64 = ir.IntType(64)
_PAIR = ir.VectorType(_I64, 2)
_VECTOR = ir.VectorType(_I64, 2 * _WIDTH)


@intrinsic
def _encrypt_tile(typingctx, keys, data):  # type: ignore[no-untyped-def]
    """Encrypt _TILE blocks in place; arguments are the addresses of 22 key words and of the blocks."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        keys = builder.inttoptr(arguments[0], _PAIR.as_pointer())
        data = builder.inttoptr(arguments[1], _VECTOR.as_pointer())
        places = [builder.gep(data, [ir.Constant(_I64, i)]) for i in range(8)]
        state = [builder.load(place, align=8) for place in places]
        first = _round_key(builder, keys, 0)
        state = [builder.xor(x, first) for x in state]
        for turn in range(1, 11):
            step = _instruction(builder, "llvm.x86.aesni.aesenc" if turn < 10 else "llvm.x86.aesni.aesenclast")
            key = _round_key(builder, keys, turn)
            state = [builder.call(step, [x, key]) for x in state]
        for place, x in zip(places, state, strict=True):
            builder.store(x, place, align=8)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


def _round_key(builder: ir.IRBuilder, keys: ir.Value, turn: int) -> ir.Value:
    key = builder.load(builder.gep(keys, [ir.Constant(_I64, turn)]), align=8)
    if _WIDTH == 1:
        return key
    both = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0, 1, 0, 1])
    return builder.shuffle_vector(key, ir.Constant(_PAIR, ir.Undefined), both)


def _instruction(builder: ir.IRBuilder, name: str) -> ir.Value:
    name += "" if _WIDTH == 1 else ".256"
    declared = builder.module.globals.get(name)
    return declared or ir.Function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR]), name)


_encrypt: Callable[..., Any] = _encrypt_tile


@kernel
def _encrypt_blocks(schedule, blocks):  # type: ignore[no-untyped-def]
    """In place; a last part that fills no tile is copied to one."""
    keys, data, whole = schedule.ctypes.data, blocks.ctypes.data, len(blocks) // _TILE * _TILE
    for i in range(0, whole, _TILE):
        _encrypt(keys, data + 16 * i)
    if whole < len(blocks):
        last = np.zeros((_TILE, 2), np.uint64)
        last[: len(blocks) - whole] = blocks[whole:]
        _encrypt(keys, last.ctypes.data)
        blocks[whole:] = last[: len(blocks) - whole]


@kernel
def _hash_tiles(schedule, x, domain, tweaks):  # type: ignore[no-untyped-def]
    """In place: block number i becomes H(x[i], (tweaks[i], domain))."""
    keys = schedule.ctypes.data
    inner, outer = np.empty((_TILE, 2), np.uint64), np.empty((_TILE, 2), np.uint64)
    for start in range(0, len(x), _TILE):
        size = min(_TILE, len(x) - start)
        for i in range(size):
            inner[i, 0], inner[i, 1] = x[start + i, 0], x[start + i, 1]
        _encrypt(keys, inner.ctypes.data)
        for i in range(size):
            outer[i, 0], outer[i, 1] = inner[i, 0] ^ tweaks[start + i], inner[i, 1] ^ domain
        _encrypt(keys, outer.ctypes.data)
        for i in range(size):
            x[start + i, 0], x[start + i, 1] = outer[i, 0] ^ inner[i, 0], outer[i, 1] ^ inner[i, 1]


@kernel
def _streams(schedules, first, out):  # type: ignore[no-untyped-def]
    """Row k of `out` becomes AES-CTR under key k, counters first, first + 1, …"""
    for k in range(len(schedules)):
        row = out[k].reshape(-1, 2)
        for i in range(len(row)):
            row[i, 0], row[i, 1] = first + np.uint64(i), np.uint64(0)
        _encrypt_blocks(schedules[k], row)


@lru_cache(maxsize=1)
def _substitution() -> NDArray[np.uint8]:
    """The S-box (FIPS 197, section 5.1.1): inverse in GF(2^8), then an affine map."""
    box = np.zeros(256, np.uint8)
    p = q = 1
    while True:  # p runs over all powers of 3, q over those of its inverse
        p ^= (p << 1) ^ (0x11B if p & 0x80 else 0)
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        turned = q | q << 8
        box[p] = (q ^ turned >> 7 ^ turned >> 6 ^ turned >> 5 ^ turned >> 4 ^ 0x63) & 0xFF
        if p == 1:
            box[0] = 0x63
            return box


def expanded(keys: NDArray[np.uint8]) -> Words:
    """Round keys (m, 22) of keys (m, 16), FIPS 197 section 5.2."""
    box, constant = _substitution(), 1
    words = [keys[:, 4 * i : 4 * i + 4] for i in range(4)]
    for i in range(4, 44):
        word = words[i - 1]
        if i % 4 == 0:
            word = box[np.roll(word, -1, axis=1)]
            word[:, 0] ^= constant
            constant = constant << 1 ^ (0x11B if constant & 0x80 else 0)
        words.append(words[i - 4] ^ word)
    return np.ascontiguousarray(np.concatenate(words, axis=1)).view(np.uint64)


class Permutation:
    """AES under one key that is no secret: the π of the hash."""

    def __init__(self, key: bytes, hardware: bool = HARDWARE) -> None:
        self._key, self._hardware = key, hardware
        self._schedule = expanded(np.frombuffer(key, np.uint8)[None])[0]

    def permute(self, blocks: Blocks) -> None:
        """In place."""
        if self._hardware:
            _encrypt_blocks(self._schedule, blocks)
        else:
            blocks[:] = _encrypted(self._key, blocks)

    def hash(self, x: Blocks, domain: int, tweaks: Words) -> None:
        """In place: block i becomes H(x[i], (tweaks[i], domain)).

        The caller never gives a pair of tweak and domain twice under one key.
        """
        if self._hardware:
            _hash_tiles(self._schedule, x, np.uint64(domain), tweaks)
            return
        self.permute(x)
        outer = x ^ np.stack([tweaks, np.full_like(tweaks, domain)], axis=1)
        self.permute(outer)
        x ^= outer


class Streams:
    """AES-CTR under many secret keys at once; each call goes on where the last one ended."""

    def __init__(self, keys: NDArray[np.uint8], hardware: bool = HARDWARE) -> None:
        self._keys, self._hardware = keys, hardware
        self._schedules = expanded(keys) if hardware else np.zeros((0, ROUND_WORDS), np.uint64)
        self._next = 0

    def draw(self, blocks: int) -> Words:
        """(keys, 2·blocks) words that were never given before."""
        out = np.empty((len(self._keys), 2 * blocks), np.uint64)
        first, self._next = self._next, self._next + blocks
        if self._hardware:
            _streams(self._schedules, np.uint64(first), out)
            return out
        counters = np.zeros((blocks, 2), np.uint64)
        counters[:, 0] = np.arange(first, self._next, dtype=np.uint64)
        for row, key in zip(out, self._keys, strict=True):
            row[:] = _encrypted(key.tobytes(), counters).ravel()
        return out


def _encrypted(key: bytes, blocks: Blocks) -> Blocks:
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(blocks.tobytes()), np.uint64).reshape(-1, 2)

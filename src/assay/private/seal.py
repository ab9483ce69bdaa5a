"""A thin, typed wall around Microsoft SEAL (through TenSEAL's bindings): keys, encryption and decryption in BFV.

Source: Brakerski (CRYPTO 2012); Fan and Vercauteren (ePrint 2012/144); SEAL 4. Degree N = 8192 with at most 218 bits of
modulus, ternary secrets and errors of at most 21 (a centred binomial of 42 coins, standard deviation 3.24): 128 bits
against the attacks that the homomorphic encryption standard (2018, table 1) counts. The plain modulus is 2^k and there
is no batching: plaintexts are polynomials, and their coefficients are the residues.

Everything beyond this wall is arrays of words: a ciphertext is `2 primes N`, each word below its prime. Streams that
SEAL reads are written here, word by word, from arrays whose sizes and ranges were checked; SEAL never parses a byte of
the other party's. They pass through a file that exists in memory only and has no name.

Randomness: SEAL seeds a generator anew for every call, from the operating system or the processor (what C++ calls
`std::random_device`), and expands the seed with BLAKE2.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from assay.private.channel import ProtocolError
from assay.private.ring import LARGEST_RING

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Words = NDArray[np.uint64]

DEGREE = 8192
ERROR = 21
"""Largest magnitude of an error that SEAL draws."""

CHAINS = {2: (60, 60, 60), 3: (60, 51, 51, 56)}
"""Bits of the primes by how many of them a ciphertext has; SEAL keeps the last one for keys."""


@dataclass(frozen=True)
class Scheme:
    """One choice of parameters: plain modulus 2^bits, ciphertexts of `count` primes.

    Both parties derive it from the shapes of the network (`circuit_privacy.scheme`).
    """

    bits: int
    count: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= LARGEST_RING or self.count not in CHAINS:
            raise ValueError(f"plain moduli have 2 to {LARGEST_RING} bits and chains 2 or 3 primes, got {self}")

    @cached_property
    def context(self) -> Any:
        """SEAL's own tables."""
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(DEGREE)
        parameters.set_coeff_modulus(sealapi.CoeffModulus.Create(DEGREE, list(CHAINS[self.count])))
        parameters.set_plain_modulus(1 << self.bits)
        context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        if not context.parameters_set():
            raise RuntimeError(f"SEAL refuses its parameters: {context.parameters_error_message()}")
        return context

    @cached_property
    def all_primes(self) -> tuple[int, ...]:
        """Those of keys: of ciphertexts, then one more."""
        parameters = self.context.key_context_data().parms()
        return tuple(modulus.value() for modulus in parameters.coeff_modulus())

    @property
    def primes(self) -> tuple[int, ...]:
        """Those of ciphertexts; a reply is switched down to the first one."""
        return self.all_primes[: self.count]


@lru_cache(maxsize=64)
def scheme(bits: int, count: int) -> Scheme:
    """The same object for the same choice."""
    return Scheme(bits, count)


class Keys:
    """The client's keys. The secret key never leaves this object."""

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        generator = sealapi.KeyGenerator(scheme.context)
        self._secret, public = generator.secret_key(), sealapi.PublicKey()
        generator.create_public_key(public)
        self._encryptor = sealapi.Encryptor(scheme.context, self._secret)
        self._decryptor = sealapi.Decryptor(scheme.context, self._secret)
        self.public = _cipher_words(_saved(public), len(scheme.all_primes))
        """`2 primes N`, transformed, over the primes of keys."""

    def encrypt(self, polynomial: Words) -> tuple[Words, bytes]:
        """Coefficients below 2^bits → a ciphertext with the least noise there is: at most 21 + 1 a coefficient.

        Returns:
            The first polynomial, `primes N`, and the seed that the second one follows from (`expanded`).
        """
        plain = sealapi.Plaintext()
        _load(plain, self.scheme.context, _plain_stream(polynomial))
        body = _saved(self._encryptor.encrypt_symmetric(plain))
        words = np.frombuffer(body, "<u8", self.scheme.count * DEGREE, _CIPHER_HEAD)
        return words.reshape(self.scheme.count, DEGREE), body[-SEED:]

    def decrypt(self, cipher: Words, places: NDArray[np.int64]) -> Words:
        """The coefficients at `places` of a ciphertext `2 N` over the first prime alone."""
        context = self.scheme.context
        read, plain = sealapi.Ciphertext(context), sealapi.Plaintext()
        _load(read, context, _cipher_stream(context.last_parms_id(), cipher[:, None], transformed=False))
        self._decryptor.decrypt(read, plain)
        found = np.zeros(DEGREE, np.uint64)
        filled = plain.coeff_count()
        inside = places[places < filled]
        found[inside] = _values(plain, inside.tolist())
        return found[places]


class Refresher:
    """What a server does with the client's public key: it makes sums of ciphertexts look like fresh ones."""

    def __init__(self, scheme: Scheme, public: Words) -> None:
        """
        Raises:
            ProtocolError: if SEAL does not take the key for one.
        """
        self.scheme = scheme
        key, context = sealapi.PublicKey(), scheme.context
        try:
            _load(key, context, _cipher_stream(context.key_parms_id(), public, transformed=True))
            self._encryptor = sealapi.Encryptor(context, key)
        except (RuntimeError, ValueError) as error:
            raise ProtocolError(f"the client's public key is not one: {error}") from None
        self._evaluator = sealapi.Evaluator(context)

    def refresh(self, words: Words, places: NDArray[np.int64]) -> tuple[Words, Words]:
        """Add a fresh encryption of zero, then switch down to the first prime.

        Args:
            words: a ciphertext `2 primes N`.

        Returns:
            Of the first polynomial the coefficients at `places`, and the whole second one.
        """
        context = self.scheme.context
        cipher = sealapi.Ciphertext(context)
        _load(cipher, context, _cipher_stream(context.first_parms_id(), words, transformed=False))
        self.add_zero(cipher)
        self._evaluator.mod_switch_to_inplace(cipher, context.last_parms_id())
        first, second = _cipher_words(_saved(cipher), 1)[:, 0]
        return first[places], second

    def add_zero(self, cipher: Any) -> None:
        """In place, at the full modulus. Ternary randomness and errors are new in every call."""
        zero = sealapi.Ciphertext(self.scheme.context)
        self._encryptor.encrypt_zero(self.scheme.context.first_parms_id(), zero)
        self._evaluator.add_inplace(cipher, zero)


def expanded(scheme: Scheme, first: Words, seed: bytes) -> Words:
    """A ciphertext `2 primes N` from its first polynomial and the seed of its second one.

    Any 64 bytes are a seed. Words of `first` are below their primes.
    """
    context, cipher = scheme.context, sealapi.Ciphertext(scheme.context)
    _load(cipher, context, _cipher_stream(context.first_parms_id(), first[None], transformed=False, seed=seed))
    return _cipher_words(_saved(cipher), scheme.count)


def _values(array: Any, places: list[int]) -> Words:
    """0.15 µs each: for a few words only."""
    return np.array(list(map(array.__getitem__, places)), np.uint64)


_HEADER = struct.Struct("<HBBBBHQ")
"""Serialization::SEALHeader: magic, its own size, version, compression (0: none), reserved, size of all."""


_CIPHER_HEAD = 4 * 8 + 1 + 3 * 8 + 8 + 8 + _HEADER.size + 8
"""Bytes before the first word of a ciphertext."""

SEED = 64
"""Bytes of the seed of a second polynomial."""

_BLAKE2 = 1
"""SEAL's number for the generator that expands it."""


def _framed(body: bytes) -> bytes:
    known = sealapi.Serialization.SEALHeader()
    version = known.version_major, known.version_minor
    return _HEADER.pack(known.magic, _HEADER.size, *version, 0, 0, _HEADER.size + len(body)) + body


def _array_stream(words: Words) -> bytes:
    """DynArray: how many words, and the words."""
    return _framed(struct.pack("<Q", words.size) + words.astype("<u8", copy=False).tobytes())


def _plain_stream(polynomial: Words) -> bytes:
    """Plaintext: no transform (four zero words), how many coefficients, scale."""
    return _framed(struct.pack("<4QQd", 0, 0, 0, 0, polynomial.size, 1.0) + _array_stream(polynomial))


def _cipher_stream(level: Any, words: Words, transformed: bool, seed: bytes = b"") -> bytes:
    """Ciphertext: level, transformed or not, polynomials, degree, primes, scale, correction factor."""
    polynomials, primes, degree = words.shape
    head = struct.pack("<4Q?QQQdQ", *level, transformed, 2 if seed else polynomials, degree, primes, 1.0, 1)
    rest = _framed(bytes([_BLAKE2]) + seed) if seed else b""
    return _framed(head + _array_stream(words) + rest)


def _cipher_words(body: bytes, primes: int) -> Words:
    return np.frombuffer(body, "<u8", 2 * primes * DEGREE, _CIPHER_HEAD).reshape(2, primes, DEGREE)


def _saved(source: Any) -> bytes:
    """What SEAL writes, without header and compression."""
    with _memory_file() as path:
        source.save(path)
        stream = Path(path).read_bytes()
    *_, compression, _, size = _HEADER.unpack_from(stream)
    body = stream[_HEADER.size : size]
    match compression:
        case 1:
            return zlib.decompress(body)
        case 2:
            return zstd.decompress(body)
    return body


def _load(target: Any, context: Any, stream: bytes) -> None:
    with _memory_file() as path:
        Path(path).write_bytes(stream)
        target.load(context, path)


@contextmanager
def _memory_file() -> Iterator[str]:
    """The path of a file that is never on a disk and that no other process sees."""
    descriptor = os.memfd_create("assay", os.MFD_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

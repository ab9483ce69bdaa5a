"""What prover and verifier say to each other: one order of messages, three ways to carry it.

A protocol is written once against a channel. The prover says elements and draws challenges; the verifier hears them in
the same order. A proof is the plain sequence of what was said: both sides know from the statement how many elements
come next, so there are no lengths in it that could lie.

    Recorder / Reader       a receipt: challenges are hashes of everything said before (Fiat and Shamir, CRYPTO 1986)
    LiveProver / LiveVerifier   over a stream: the verifier draws its challenges from the system's randomness

Hash: SHA-256. state₀ = H(domain); each item: state ← H(state ‖ kind ‖ length ‖ data). A challenge is
H(state ‖ "draw") read as two numbers of 128 bits, each modulo p: the bias is below 2**-66 per challenge, as a factor.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from assay.proof.errors import VerificationError
from assay.proof.field import Element, P, Words, is_canonical

DOMAIN = b"assay/proof/1"
"""Domain tag and version of all receipts."""

ELEMENT_BYTES = 16


class Transcript:
    """Everything said so far, hashed; both sides draw the same challenges from it."""

    def __init__(self, domain: bytes = DOMAIN) -> None:
        self._state = hashlib.sha256(domain).digest()

    def absorb(self, data: bytes) -> None:
        """Take in one item; its length is hashed with it."""
        self._state = hashlib.sha256(self._state + b"said" + len(data).to_bytes(8, "little") + data).digest()

    def squeeze(self) -> bytes:
        """32 bytes that depend on all that was absorbed and squeezed before."""
        self._state = hashlib.sha256(self._state + b"draw").digest()
        return self._state


class ProverChannel(Protocol):
    """The prover's end."""

    def bind(self, data: bytes) -> None:
        """Make the challenges depend on a part of the statement, which the verifier knows already."""

    def say(self, elements: Iterable[Element] | Words) -> None:
        """Send elements of F_p²."""

    def say_bytes(self, data: bytes) -> None:
        """Send hashes."""

    def draw(self) -> Element:
        """The verifier's next challenge."""

    def draw_indices(self, count: int, bits: int) -> list[int]:
        """The verifier's next `count` numbers in [0, 2**bits), with repetition."""


class VerifierChannel(Protocol):
    """The verifier's end. Every method raises VerificationError on bytes that are missing or not canonical."""

    def bind(self, data: bytes) -> None:
        """As on the prover's side."""

    def hear(self, count: int) -> list[Element]:
        """The next `count` elements."""

    def hear_words(self, count: int) -> Words:
        """The same as an array (count, 2)."""

    def hear_bytes(self, count: int) -> bytes:
        """The next `count` bytes."""

    def draw(self) -> Element:
        """A challenge."""

    def draw_indices(self, count: int, bits: int) -> list[int]:
        """`count` numbers in [0, 2**bits), with repetition."""


def element_from_hash(digest: bytes) -> Element:
    """A challenge from 32 bytes."""
    return Element(int.from_bytes(digest[:16], "little"), int.from_bytes(digest[16:32], "little"))


def to_bytes(elements: Iterable[Element] | Words) -> bytes:
    """Canonical encoding: 16 bytes an element."""
    if isinstance(elements, np.ndarray):
        return elements.astype("<u8", copy=False).tobytes()
    return b"".join(element.to_bytes() for element in elements)


def parse_elements(data: bytes) -> list[Element]:
    """Elements from a whole number of 16-byte encodings.

    Raises:
        VerificationError: if a word is not below p.
    """
    words = [int.from_bytes(data[k : k + 8], "little") for k in range(0, len(data), 8)]
    if any(word >= P for word in words):
        raise VerificationError("a field element is not canonical: a word is not below 2**61 - 1")
    return [Element(words[k], words[k + 1]) for k in range(0, len(words), 2)]


def parse_words(data: bytes) -> Words:
    """The same as an array (n, 2)."""
    words = np.frombuffer(data, "<u8").astype(np.uint64).reshape(-1, 2)
    if not is_canonical(words):
        raise VerificationError("a field element is not canonical: a word is not below 2**61 - 1")
    return words


class _Hashed:
    """Challenges from a transcript."""

    def __init__(self) -> None:
        self._transcript = Transcript()

    def bind(self, data: bytes) -> None:
        self._transcript.absorb(data)

    def draw(self) -> Element:
        return element_from_hash(self._transcript.squeeze())

    def draw_indices(self, count: int, bits: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            block = self._transcript.squeeze()
            found += [int.from_bytes(block[k : k + 4], "little") & ((1 << bits) - 1) for k in range(0, 32, 4)]
        return found[:count]


class Recorder(_Hashed):
    """The prover's end of a receipt: what was said is kept in `proof`."""

    def __init__(self) -> None:
        super().__init__()
        self.proof = bytearray()

    def say(self, elements: Iterable[Element] | Words) -> None:
        self.say_bytes(to_bytes(elements))

    def say_bytes(self, data: bytes) -> None:
        self._transcript.absorb(data)
        self.proof += data


class Reader(_Hashed):
    """The verifier's end of a receipt."""

    def __init__(self, proof: bytes) -> None:
        super().__init__()
        self._proof = proof
        self._place = 0

    def hear_bytes(self, count: int) -> bytes:
        data = self._proof[self._place : self._place + count]
        if len(data) != count:
            raise VerificationError(f"the proof ends early: {count} more bytes were expected, {len(data)} are there")
        self._place += count
        self._transcript.absorb(data)
        return data

    def hear(self, count: int) -> list[Element]:
        return parse_elements(self.hear_bytes(ELEMENT_BYTES * count))

    def hear_words(self, count: int) -> Words:
        return parse_words(self.hear_bytes(ELEMENT_BYTES * count))

    def finish(self) -> None:
        """Raise VerificationError if anything is left over."""
        if left := len(self._proof) - self._place:
            raise VerificationError(f"{left} bytes follow the end of the proof")


class Stream(Protocol):
    """A blocking two-way connection. Time limits are its own; it raises OSError when the other side is gone."""

    def send(self, data: bytes) -> None:
        """Send all of it."""

    def receive(self, count: int) -> bytes:
        """Exactly `count` bytes."""


class LiveProver:
    """The prover's end of a stream. What is said is sent when the next challenge is awaited."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._unsent = bytearray()

    def bind(self, data: bytes) -> None:
        """Nothing to do: the verifier draws its challenges after it has the statement."""

    def say(self, elements: Iterable[Element] | Words) -> None:
        self.say_bytes(to_bytes(elements))

    def say_bytes(self, data: bytes) -> None:
        self._unsent += data

    def flush(self) -> None:
        """Send what was said."""
        if self._unsent:
            self._stream.send(bytes(self._unsent))
            self._unsent.clear()

    def draw(self) -> Element:
        self.flush()
        return parse_elements(self._stream.receive(ELEMENT_BYTES))[0]

    def draw_indices(self, count: int, bits: int) -> list[int]:
        self.flush()
        data = self._stream.receive(4 * count)
        return [int.from_bytes(data[k : k + 4], "little") & ((1 << bits) - 1) for k in range(0, 4 * count, 4)]


class LiveVerifier:
    """The verifier's end of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def bind(self, data: bytes) -> None:
        """Nothing to do: challenges are drawn fresh."""

    def hear_bytes(self, count: int) -> bytes:
        try:
            data = self._stream.receive(count)
        except OSError as error:
            raise VerificationError(f"the prover left before the proof was complete: {error}") from error
        if len(data) != count:
            raise VerificationError(f"the prover sent {len(data)} bytes where {count} were expected")
        return data

    def hear(self, count: int) -> list[Element]:
        return parse_elements(self.hear_bytes(ELEMENT_BYTES * count))

    def hear_words(self, count: int) -> Words:
        return parse_words(self.hear_bytes(ELEMENT_BYTES * count))

    def draw(self) -> Element:
        challenge = Element(secrets.randbelow(P), secrets.randbelow(P))
        self._send(challenge.to_bytes())
        return challenge

    def draw_indices(self, count: int, bits: int) -> list[int]:
        indices = [secrets.randbits(bits) for _ in range(count)]
        self._send(b"".join(index.to_bytes(4, "little") for index in indices))
        return indices

    def _send(self, data: bytes) -> None:
        try:
            self._stream.send(data)
        except OSError as error:
            raise VerificationError(f"the prover left before the proof was complete: {error}") from error

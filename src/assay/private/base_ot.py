"""Base oblivious transfers: a few random OTs from elliptic curves, from which all others are made.

Source: Masny and Rindal, "Endemic Oblivious Transfer" (CCS 2019), with Diffie-Hellman as the key agreement; the group
is the prime-order part of ed25519, from libsodium.

1. For choice c the receiver draws a and r_{1-c}, and sends (r_0, r_1) with r_c = a·G - H_c(r_{1-c}).
2. The sender draws b, sends b·G, and has the keys k_j = KDF(b · (r_j + H_j(r_{1-j}))).
3. The receiver has k_c = KDF(a · (b·G)).

Security: both points that the sender sees are uniform, so it learns nothing of c, whatever its powers. The receiver
cannot know k_{1-c} without solving Diffie-Hellman, as r_{1-c} fixes a hash that it did not choose; in the random oracle
model this holds against malicious receivers too. One b serves all transfers of a session: their number, the session and
both messages go into the hashes and the KDF. Points outside the prime-order group, and encodings that are not
canonical, are refused: they would tell the other party b mod 8.
"""

from __future__ import annotations

import secrets
from hashlib import sha256, sha512

import nacl.bindings as sodium
import numpy as np
from nacl.exceptions import CryptoError
from numpy.typing import NDArray

from assay.private.channel import Channel, ProtocolError

POINT = 32
"""Bytes of a point."""
KEY = 16
"""Bytes of a key."""

Keys = NDArray[np.uint8]


def receive(channel: Channel, choices: NDArray[np.uint8], session: bytes) -> Keys:
    """Steps 1 and 3: keys `n 16`, one for each choice of 0 or 1. Nothing is learned of the others.

    Cost: 64 bytes a transfer, and three multiplications of points by each party.

    Raises:
        ProtocolError: if the sender's point is not of the group.
    """
    secret = [_scalar() for _ in choices]
    offers = [_offer(session, i, int(c), a) for i, (c, a) in enumerate(zip(choices, secret, strict=True))]
    channel.send(np.frombuffer(b"".join(offers), np.uint8))
    other = _point(channel.receive(POINT).tobytes())
    keys = [
        _key(session, i, int(c), offer, other, _times(a, other))
        for i, (c, a, offer) in enumerate(zip(choices, secret, offers, strict=True))
    ]
    return np.stack([np.frombuffer(key, np.uint8) for key in keys])


def send(channel: Channel, count: int, session: bytes) -> Keys:
    """Step 2: keys `n 2 16`. Nothing is learned of the choices.

    Raises:
        ProtocolError: if one of the receiver's points is not of the group.
    """
    said = channel.receive(2 * POINT * count).tobytes()
    points = [_point(said[i : i + POINT]) for i in range(0, len(said), POINT)]
    secret = _scalar()
    own = sodium.crypto_scalarmult_ed25519_base_noclamp(secret)
    channel.send(np.frombuffer(own, np.uint8))
    pairs = list(zip(points[::2], points[1::2], strict=True))
    keys = [[_sent(session, i, j, pair, own, secret) for j in (0, 1)] for i, pair in enumerate(pairs)]
    return np.array([[np.frombuffer(key, np.uint8) for key in both] for both in keys])


def _offer(session: bytes, number: int, choice: int, secret: bytes) -> bytes:
    """(r_0, r_1) of which only the one at `choice` hides a known secret."""
    free = sodium.crypto_scalarmult_ed25519_base_noclamp(_scalar())
    known = sodium.crypto_scalarmult_ed25519_base_noclamp(secret)
    tied = sodium.crypto_core_ed25519_sub(known, _hashed(session, number, choice, free))
    return free + tied if choice else tied + free


def _sent(session: bytes, number: int, side: int, points: tuple[bytes, bytes], own: bytes, secret: bytes) -> bytes:
    base = sodium.crypto_core_ed25519_add(points[side], _hashed(session, number, side, points[1 - side]))
    return _key(session, number, side, b"".join(points), own, _times(secret, base))


def _scalar() -> bytes:
    reduced: bytes = sodium.crypto_core_ed25519_scalar_reduce(secrets.token_bytes(64))
    return reduced


def _point(said: bytes) -> bytes:
    if not sodium.crypto_core_ed25519_is_valid_point(said):
        raise ProtocolError("the other party sent bytes that are no point of the curve's prime-order group")
    return said


def _times(scalar: bytes, point: bytes) -> bytes:
    try:
        product: bytes = sodium.crypto_scalarmult_ed25519_noclamp(scalar, point)
    except CryptoError:
        raise ProtocolError("the other party sent points that add up to the curve's neutral element") from None
    return product


def _label(what: bytes, session: bytes, number: int, side: int) -> bytes:
    return b"assay/base-ot/1/" + what + sha256(session).digest() + number.to_bytes(4, "little") + bytes([side])


def _hashed(session: bytes, number: int, side: int, point: bytes) -> bytes:
    """H_side(point): two maps added, since one of them reaches only half of the curve (Brier et al., CRYPTO 2010)."""
    digest = sha512(_label(b"point", session, number, side) + point).digest()
    halves = (sodium.crypto_core_ed25519_from_uniform(half) for half in (digest[:32], digest[32:]))
    added: bytes = sodium.crypto_core_ed25519_add(*halves)
    return added


def _key(session: bytes, number: int, side: int, offer: bytes, own: bytes, shared: bytes) -> bytes:
    return sha256(_label(b"key", session, number, side) + offer + own + shared).digest()[:KEY]

"""Circuit privacy: a reply tells the client W·r - s, and nothing else about W.

The client made the request (c0, c1), and knows the secret key and every error in it. A bare product would give it W in
two ways: dividing the second polynomial, w·c1, by c1; and taking Δ·(W·r - s) off the decrypted first one, which leaves
w·e with e known. Both attacks are in `tests/attacks/private`; they find every weight where a step below is left out.
So for every reply the server

1. adds a fresh encryption of zero under the client's *public* key. Its second polynomial, p1·u + e2 with u fresh and
   ternary, is as good as uniform for anybody (decision ring-LWE, 128 bits), and so is then the sum with w·c1;
2. takes round(q·s / 2^k) off each coefficient of the first polynomial that carries a result, s fresh and uniform, and
   adds f, fresh and uniform in [-2^b, 2^b);
3. throws away the coefficients that carry no result;
4. switches from modulus q to its first prime p and drops low bits of both polynomials: a function of what 1 to 3 left,
   so it can tell nothing more. It is what makes replies small.

What f hides is the sum n of all that the client could otherwise see of a coefficient, at most

    norm · 22      for w·e. norm = outer · fan-in · 2^(weight bits - 1) is at least Σ|w| over all products that reach a
                   coefficient (`Packing.norm`); SEAL's errors are at most 21, rounding q·r / 2^k adds less than 1
    N / 2 + 2      for the encryption of zero: SEAL makes it modulo q times the prime of keys, divides by that and
                   rounds, by at most 1/2 for each coefficient of the ternary secret; of the errors less than 1 is left
    1              for rounding q·s / 2^k

f + n and f differ by at most n / 2^(b+1) in total variation. So over all M coefficients of all replies for one picture

    Σ n / 2^(b+1) <= 2^-40,

which is computed for each network, from its public shapes, by both parties (`choose_scheme`); if it holds for no
parameters the network is refused. b is as large as decryption allows, whatever the weights are, and so tells nothing of
them: the largest with 2^b <= q / 2^(k+2). ResNet-32 in a ring of 32 bits, for example: two primes, q just below 2^120,
b = 119 - 32 - 2 = 85; M = 303,114 and Σ n = 2^39.7, so 2^-46.3 is given away where 2^-40 is allowed.

Decryption is right if all that is added stays below p / 2^(k+1) after step 4. In units of half of that, f takes at most
one and cutting the first polynomial to k + 2 bits takes a half. Rounding the second one is spread, by the product with
the secret, over N terms that are as good as independent: by Hoeffding's inequality it passes 430 times the unit of
rounding with a probability below 2^-64. As many bits are dropped as make that less than a half.

Security: against a client that keeps to the protocol, 40 bits statistical a picture, so 32 for an inference of 256 of
them, and 128 bits computational; one that does not can learn weights (Lehmkuhl, Mishra, Srinivasan, Popa: "Muse",
USENIX Security 2021). The server learns nothing from any of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2, prod

import numpy as np
from numpy.typing import NDArray

from assay.errors import ModelError
from assay.kernels import kernel
from assay.private.channel import Bytes
from assay.private.ntt import Words, add_product, companion, field, reduced, times
from assay.private.packing import Packing
from assay.private.ring import Residues, Ring
from assay.private.seal import CHAINS, DEGREE, ERROR, Refresher, Scheme, scheme
from assay.private.words import fresh_words, pack, packed_size, unpack

STATISTICAL = 40
"""Bits of statistical security of one picture's replies."""

ZERO_NOISE = DEGREE // 2 + 2
SPREAD = 430
"""How far DEGREE independent roundings of width 1 with signs add up, but for a chance of 2^-64 (Hoeffding)."""

LARGEST_FLOOD = 126
"""Bits: f + 2^b is drawn from two words."""


def noise_bound(norm: int) -> int:
    """n of the derivation above."""
    return norm * (ERROR + 1) + ZERO_NOISE + 1


@dataclass(frozen=True)
class Flooding:
    """What hides the noise of replies, for one choice of parameters."""

    scheme: Scheme

    @cached_property
    def bits(self) -> int:
        """b: f is uniform in [-2^b, 2^b)."""
        q = prod(self.scheme.primes)
        return min(q.bit_length() - 1 - self.scheme.bits - 2, LARGEST_FLOOD)

    def security(self, cuts: Sequence[Packing]) -> float:
        """-log2 of the total variation distance that all replies for one picture add up to."""
        total = sum(prod(cut.shape.output) * noise_bound(cut.norm) for cut in cuts)
        return self.bits + 1 - log2(max(total, 1))

    @cached_property
    def kept_first(self) -> int:
        """Bits sent of a coefficient that carries a result."""
        return self.scheme.bits + 2

    @cached_property
    def kept_second(self) -> int:
        """Bits sent of a coefficient of the second polynomial."""
        top = self.scheme.primes[0].bit_length()
        half = 1 << (top - self.scheme.bits - 3)
        return top - max(d for d in range(top) if SPREAD * ((1 << d) + (d > 0)) + 2 <= half)

    def size(self, results: int) -> int:
        """Bytes of a reply with so many results."""
        return packed_size(DEGREE, self.kept_second) + packed_size(results, self.kept_first)


def choose_scheme(ring: Ring, cuts: Sequence[Packing]) -> Scheme:
    """The cheapest parameters that hide these layers; both parties find the same ones.

    Raises:
        ModelError: if none do.
    """
    found = [scheme(ring.bits, count) for count in sorted(CHAINS)]
    for choice in found:
        if Flooding(choice).security(cuts) >= STATISTICAL:
            return choice
    widest = max(cuts, key=lambda cut: cut.norm)
    raise ModelError(
        f"encrypted layers would be hidden by {Flooding(found[-1]).security(cuts):.1f} bits where {STATISTICAL} are "
        f"needed; the layer {widest.shape.input} to {widest.shape.output} has the most weights: use fewer bits"
    )


def hide(
    flooding: Flooding, refresher: Refresher, sums: Words, places: NDArray[np.int64], ring: Ring
) -> tuple[Bytes, Residues]:
    """A reply to send, and the server's fresh uniform share of its results (steps 1 to 4).

    Args:
        sums: Σ w·c, `2 primes N`, not transformed. Written over.
        places: the coefficients that carry results.
    """
    share = fresh_words(len(places)) & np.uint64(ring.mask)
    flood = draw_flood(flooding.bits, len(places))
    for words, prime in zip(sums[0], flooding.scheme.primes, strict=True):
        _mask(words, places, share, flood, _constants(flooding, prime))
    first, second = refresher.refresh(sums, places)
    top = flooding.scheme.primes[0].bit_length()
    parts = [
        pack(words >> np.uint64(top - kept), kept)
        for words, kept in ((first, flooding.kept_first), (second, flooding.kept_second))
    ]
    return np.concatenate(parts), share.astype(ring.dtype)


def draw_flood(bits: int, count: int) -> Words:
    """f + 2^b, uniform in [0, 2^(b+1)): `2 n`, low word first. b is at least 64."""
    drawn = fresh_words(2 * count).reshape(2, -1)
    return np.stack([drawn[0], drawn[1] & np.uint64((1 << (bits + 1 - 64)) - 1)])


def reveal(flooding: Flooding, reply: Bytes, places: NDArray[np.int64]) -> Words:
    """The client's part: a reply → a ciphertext `2 N` over the first prime.

    Raises:
        ValueError: if the reply does not have its size.
    """
    cut = packed_size(len(places), flooding.kept_first)
    cipher = np.zeros((2, DEGREE), np.uint64)
    cipher[0, places] = _lengthened(flooding.scheme, reply[:cut], len(places), flooding.kept_first)
    cipher[1] = _lengthened(flooding.scheme, reply[cut:], DEGREE, flooding.kept_second)
    return cipher


def _constants(flooding: Flooding, prime: int) -> tuple[np.uint64, ...]:
    """Of one prime, as `_mask` takes them."""
    bits, q, z = flooding.scheme.bits, prod(flooding.scheme.primes), field(prime, DEGREE)
    whole = (q >> bits) % prime
    return (
        z.p, z.fold, z.fold_companion, z.one_companion,
        np.uint64(bits), np.uint64(whole), companion(whole, prime), np.uint64(q & ((1 << bits) - 1)),
        np.uint64((1 << flooding.bits) % prime),
    )  # fmt: skip


@kernel
def _mask(words, places, share, flood, constants):  # type: ignore[no-untyped-def]
    """words[places] += f - round(q·share / 2^k) mod p; `flood` is f + 2^b."""
    p, fold, fold_companion, one_companion, bits, whole, whole_companion, part, middle = constants
    half = np.uint64(1) << (bits - np.uint64(1))
    for i in range(len(places)):
        # q = whole · 2^k + part; part · share stays below 2^96.
        high, low = add_product(np.uint64(0), half, part, share[i])
        rounded = (high << (np.uint64(64) - bits)) | (low >> bits)
        scaled = times(share[i], whole, whole_companion, p) + rounded % p
        noise = reduced(flood[1, i], flood[0, i], p, fold, fold_companion, one_companion)
        words[places[i]] = (words[places[i]] + noise + (p - middle) + (p + p - scaled)) % p


def _lengthened(scheme: Scheme, data: Bytes, count: int, kept: int) -> Words:
    """The middle of what the upper bits leave open, mod the first prime."""
    p = scheme.primes[0]
    dropped = p.bit_length() - kept
    middle = (unpack(data, count, kept) << np.uint64(dropped)) + np.uint64((1 << dropped) >> 1)
    return middle % np.uint64(p)

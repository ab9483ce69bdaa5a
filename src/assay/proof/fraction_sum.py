"""A sum of fractions is zero: the layered protocol behind LogUp.

Source: Papini, Haböck, "Improving logarithmic derivative lookups using GKR" (ePrint 2023/1284), on the protocol of
Goldwasser, Kalai, Rothblum (J. ACM 62(4), 2015). Fractions are added in a binary tree; level k has 2ᵏ of them:

    p(x) = p(x,0)·q(x,1) + p(x,1)·q(x,0),    q(x) = q(x,0)·q(x,1)

Denominators are written q = 1 + d, so that a missing tail of fractions is 0/1 with p = d = 0, and costs nothing.

Why this and not committed inverses: inverses are full field elements, which would more than double what is encoded and
hashed, and every opened column with it; the tree costs about ten multiplications a fraction and 12 KB for 2²⁰ of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.kernels import kernel
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, Words, add, ext_mul, pack, sub, unpack
from assay.proof.multilinear import variables
from assay.proof.sumcheck import EqWeights, quadratic, second_value, verify_weighted
from assay.proof.transcript import ProverChannel, VerifierChannel


@dataclass(frozen=True, slots=True)
class LeafClaim:
    """The leaves' numerators and denominators (less one) extend to these values at `point`."""

    point: list[Element]
    numerator: Element
    denominator: Element


@kernel
def _level_above(p: Words, d: Words) -> tuple[Words, Words]:
    size = (len(p) + 1) // 2
    sum_p, sum_d = np.empty((size, 2), np.uint64), np.empty((size, 2), np.uint64)
    for i in range(size):
        p0, p1, d0, d1 = p[2 * i, 0], p[2 * i, 1], d[2 * i, 0], d[2 * i, 1]
        if 2 * i + 1 == len(p):
            sum_p[i, 0], sum_p[i, 1], sum_d[i, 0], sum_d[i, 1] = p0, p1, d0, d1
            continue
        u0, u1, e0, e1 = p[2 * i + 1, 0], p[2 * i + 1, 1], d[2 * i + 1, 0], d[2 * i + 1, 1]
        x0, x1 = ext_mul(p0, p1, add(e0, np.uint64(1)), e1)
        y0, y1 = ext_mul(u0, u1, add(d0, np.uint64(1)), d1)
        sum_p[i, 0], sum_p[i, 1] = add(x0, y0), add(x1, y1)
        x0, x1 = ext_mul(d0, d1, e0, e1)
        sum_d[i, 0], sum_d[i, 1] = add(add(d0, e0), x0), add(add(d1, e1), x1)
    return sum_p, sum_d


@kernel
def _pairs(p: Words, d: Words, mix: Words) -> Words:
    """For each pair of fractions (p₀, d₀), (p₁, d₁): p₀, d₀, d₁ and s = p₁ + mix·d₁, shape (pairs, 4, 2)."""
    size = (len(p) + 1) // 2
    out = np.zeros((size, 4, 2), np.uint64)
    for i in range(size):
        out[i, 0, 0], out[i, 0, 1], out[i, 1, 0], out[i, 1, 1] = p[2 * i, 0], p[2 * i, 1], d[2 * i, 0], d[2 * i, 1]
        if 2 * i + 1 < len(p):
            e0, e1 = d[2 * i + 1, 0], d[2 * i + 1, 1]
            x0, x1 = ext_mul(e0, e1, mix[0], mix[1])
            out[i, 2, 0], out[i, 2, 1] = e0, e1
            out[i, 3, 0], out[i, 3, 1] = add(p[2 * i + 1, 0], x0), add(p[2 * i + 1, 1], x1)
    return out


@kernel
def _value(p0, p1, d0, d1, e0, e1, s0, s1, m0, m1):  # type: ignore[no-untyped-def]
    """p₀ + s + p₀·d₁ + d₀·(s + mix), which is the next level's p + mix·d."""
    x0, x1 = ext_mul(p0, p1, e0, e1)
    y0, y1 = ext_mul(add(s0, m0), add(s1, m1), d0, d1)
    return add(add(p0, s0), add(x0, y0)), add(add(p1, s1), add(x1, y1))


@kernel
def _double_less(a, b):  # type: ignore[no-untyped-def]
    return sub(add(b, b), a)


@kernel
def _round(t: Words, high: Words, low: Words, mix: Words) -> Words:
    """Σ eq·(p + mix·d) with the fastest variable at 0 and at 2."""
    out = np.zeros((2, 2), np.uint64)
    m0, m1, zero = mix[0], mix[1], np.uint64(0)
    pairs, width = (len(t) + 1) // 2, len(low)
    for start in range(0, pairs, width):
        s0, s1, t0, t1 = zero, zero, zero, zero
        for j in range(min(width, pairs - start)):
            a = t[2 * (start + j)]
            p0, p1, d0, d1, e0, e1, v0, v1 = a[0, 0], a[0, 1], a[1, 0], a[1, 1], a[2, 0], a[2, 1], a[3, 0], a[3, 1]
            w0, w1 = low[j, 0], low[j, 1]
            x, y = _value(p0, p1, d0, d1, e0, e1, v0, v1, m0, m1)
            x, y = ext_mul(x, y, w0, w1)
            s0, s1 = add(s0, x), add(s1, y)
            if 2 * (start + j) + 1 < len(t):
                b = t[2 * (start + j) + 1]
                x, y = _value(
                    _double_less(p0, b[0, 0]), _double_less(p1, b[0, 1]), _double_less(d0, b[1, 0]),
                    _double_less(d1, b[1, 1]), _double_less(e0, b[2, 0]), _double_less(e1, b[2, 1]),
                    _double_less(v0, b[3, 0]), _double_less(v1, b[3, 1]), m0, m1,
                )  # fmt: skip
            else:
                x, y = _value(
                    sub(zero, p0), sub(zero, p1), sub(zero, d0), sub(zero, d1),
                    sub(zero, e0), sub(zero, e1), sub(zero, v0), sub(zero, v1), m0, m1,
                )  # fmt: skip
            x, y = ext_mul(x, y, w0, w1)
            t0, t1 = add(t0, x), add(t1, y)
        h = start // width
        x, y = ext_mul(s0, s1, high[h, 0], high[h, 1])
        out[0, 0], out[0, 1] = add(out[0, 0], x), add(out[0, 1], y)
        x, y = ext_mul(t0, t1, high[h, 0], high[h, 1])
        out[1, 0], out[1, 1] = add(out[1, 0], x), add(out[1, 1], y)
    return out


@kernel
def _fold_in_place(t: Words, r: Words) -> Words:
    """As `multilinear.fold`, for four tables side by side; the result lies at the front of `t`."""
    size = (len(t) + 1) // 2
    for i in range(size):
        for k in range(4):
            a0, a1 = t[2 * i, k, 0], t[2 * i, k, 1]
            b0, b1 = np.uint64(0), np.uint64(0)
            if 2 * i + 1 < len(t):
                b0, b1 = t[2 * i + 1, k, 0], t[2 * i + 1, k, 1]
            x0, x1 = ext_mul(sub(b0, a0), sub(b1, a1), r[0], r[1])
            t[i, k, 0], t[i, k, 1] = add(a0, x0), add(a1, x1)
    return t[:size]


def prove_zero_sum(channel: ProverChannel, p: Words, d: Words) -> LeafClaim:
    """Prove Σ p/(1 + d) = 0 over the leaves (size, 2), up to a claim on the leaves at one point.

    Says d of the root, then per level three elements a variable and the four values p₀, d₀, p₁, d₁.
    """
    levels = [(p, d)]
    while len(levels[-1][0]) > 1:
        levels.append(_level_above(*levels[-1]))
    root = unpack(levels.pop()[1])[0]
    channel.say([root])
    point: list[Element] = []
    claim_p, claim_d = ZERO, root
    while levels:
        mix = channel.draw()
        values = _prove_level(channel, *levels.pop(), point, claim_p + mix * claim_d, mix)
        channel.say(values)
        last = channel.draw()
        p0, d0, p1, d1 = values
        claim_p, claim_d = p0 + last * (p1 - p0), d0 + last * (d1 - d0)
        point.append(last)
    return LeafClaim(point, claim_p, claim_d)


def _prove_level(
    channel: ProverChannel, p: Words, d: Words, point: list[Element], claim: Element, mix: Element
) -> tuple[Element, Element, Element, Element]:
    """The sum-check of one level; replaces `point` and returns p₀, d₀, p₁, d₁ there."""
    mix_word, weights = pack([mix])[0], EqWeights(point)
    tables, bound = _pairs(p, d, mix_word), []
    for k, e in enumerate(reversed(point)):
        g0, g2 = unpack(_round(tables, *weights.after(k + 1), mix_word))
        g1 = second_value(claim, g0, e)
        channel.say((g0, g1, g2))
        r = channel.draw()
        claim = quadratic(g0, g1, g2, r)
        tables = _fold_in_place(tables, pack([r])[0])
        bound.append(r)
    point[:] = bound[::-1]
    p0, d0, d1, s = unpack(tables[0])
    return p0, d0, s - mix * d1, d1


def verify_zero_sum(channel: VerifierChannel, size: int) -> LeafClaim:
    """The other side of `prove_zero_sum` for `size` leaves.

    Raises:
        VerificationError: if the sum is not zero, or a denominator is.

    Soundness error: for n = ⌈log₂ size⌉ levels at most (3n(n − 1)/2 + 2n)/p².
    """
    (root,) = channel.hear(1)
    if root + 1 == ZERO:
        raise VerificationError("lookup: a denominator is zero")
    point: list[Element] = []
    claim_p, claim_d = ZERO, root
    for _ in range(variables(size)):
        mix = channel.draw()
        point, last = verify_weighted(channel, claim_p + mix * claim_d, point, 2)
        p0, d0, p1, d1 = channel.hear(4)
        q0, q1 = ONE + d0, ONE + d1
        if p0 * q1 + p1 * q0 + mix * (q0 * q1 - 1) != last:
            raise VerificationError("lookup: two fractions do not add up to the one above them")
        r = channel.draw()
        claim_p, claim_d = p0 + r * (p1 - p0), d0 + r * (d1 - d0)
        point.append(r)
    return LeafClaim(point, claim_p, claim_d)

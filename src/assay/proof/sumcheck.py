"""Sum-check over F_p²: claims about sums of products become claims at one random point.

Source: Lund, Fortnow, Karloff, Nisan, J. ACM 39(4), 1992; the prover in linear time is Thaler's (CRYPTO 2013). In sums
weighted by eq(r, ·) the factor of the bound variable is left out of the messages (Gruen, ePrint 2024/108, section 3):
a round's polynomial has the degree of the product alone, and the last claim is about the product alone.

Variables are bound fastest first, so a table whose tail is missing stays short.

Soundness: a false claim survives with probability at most (degree of a round's polynomial)/p² a round: degree for plain
sums, degree + 1 where eq is a factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from assay.kernels import kernel
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, P, Words, add, ext_mul, pack, sub, unpack
from assay.proof.multilinear import Point, eq_table, fold
from assay.proof.transcript import ProverChannel, VerifierChannel


def interpolate(values: Sequence[Element], x: Element) -> Element:
    """The polynomial of degree < len(values) with these values at 0, 1, 2, …, at `x`. Cost: linear."""
    behind = [ONE]  # Π_{j ≥ k} (x − j), last k first
    for j in range(len(values) - 1, 0, -1):
        behind.append(behind[-1] * (x - j))
    total, before = ZERO, ONE
    for k, (value, weight) in enumerate(zip(values, _lagrange_weights(len(values)), strict=True)):
        total = total + value * before * behind[-1 - k] * weight
        before = before * (x - k)
    return total


@lru_cache(maxsize=16)
def _lagrange_weights(count: int) -> list[int]:
    """1/Π_{j ≠ k} (k − j) mod p, which is (−1)^(count − 1 − k)/(k!·(count − 1 − k)!)."""
    factorials = [1]
    for k in range(1, count):
        factorials.append(factorials[-1] * k % P)
    return [pow((-1) ** (count - 1 - k) * factorials[k] * factorials[-1 - k], -1, P) for k in range(count)]


def quadratic(g0: Element, g1: Element, g2: Element, x: Element) -> Element:
    """Newton's form of `interpolate` for three values: g0 + x Δ + x (x − 1)/2 · Δ²."""
    first = g1 - g0
    return g0 + x * first + x * (x - 1) * _HALF * (g2 - g1 - first)


_HALF = Element(2).inverse()


@kernel
def _pair_round(a: Words, b: Words) -> Words:
    """Σ a·b with the fastest variable at 0 and at 2."""
    out = np.zeros((2, 2), np.uint64)
    size = min(len(a), len(b))
    for i in range(0, size, 2):
        a0, a1, b0, b1 = a[i, 0], a[i, 1], b[i, 0], b[i, 1]
        x, y = ext_mul(a0, a1, b0, b1)
        out[0, 0], out[0, 1] = add(out[0, 0], x), add(out[0, 1], y)
        c0, c1 = _at_two(a, i)
        d0, d1 = _at_two(b, i)
        x, y = ext_mul(c0, c1, d0, d1)
        out[1, 0], out[1, 1] = add(out[1, 0], x), add(out[1, 1], y)
    return out


@kernel
def _at_two(table: Words, i: int) -> tuple[int, int]:
    """2·t[i + 1] − t[i]: the line through both, at 2."""
    h0, h1 = np.uint64(0), np.uint64(0)
    if i + 1 < len(table):
        h0, h1 = table[i + 1, 0], table[i + 1, 1]
    return sub(add(h0, h0), table[i, 0]), sub(add(h1, h1), table[i, 1])


def prove_pair(
    channel: ProverChannel, claim: Element, a: Words, b: Words, n: int
) -> tuple[list[Element], Element, Element]:
    """Prove claim = Σ_{x ∈ {0,1}ⁿ} a(x)·b(x); a and b are tables of at most 2ⁿ elements.

    Says per round g(0), g(2) of its quadratic g; g(1) is what is left of the claim.

    Returns:
        The point r and the values ã(r), b̃(r), which are not said.

    Cost: about 4·2ⁿ multiplications in F_p².
    """
    point = []
    for _ in range(n):
        g0, g2 = unpack(_pair_round(a, b))
        channel.say((g0, g2))
        r = channel.draw()
        claim = quadratic(g0, claim - g0, g2, r)
        word = pack([r])[0]
        a, b = fold(a, word), fold(b, word)
        point.append(r)
    return point[::-1], unpack(a)[0], unpack(b)[0]


def verify_pair(channel: VerifierChannel, claim: Element, n: int) -> tuple[list[Element], Element]:
    """The other side of `prove_pair`: the point r, and what ã(r)·b̃(r) must be.

    Soundness error: 2n/p².
    """
    point = []
    for _ in range(n):
        g0, g2 = channel.hear(2)
        r = channel.draw()
        claim = quadratic(g0, claim - g0, g2, r)
        point.append(r)
    return point[::-1], claim


class EqWeights:
    """eq(r, ·) over the variables that are left, as products of two short tables (high half times low half)."""

    def __init__(self, point: Point) -> None:
        self._point = list(point)
        self._middle = len(self._point) // 2
        self._high = eq_table(self._point[: self._middle])

    def after(self, bound: int) -> tuple[Words, Words]:
        """Tables (high, low) with eq = high[i >> bits of low] · low[i & mask] once `bound` variables are gone."""
        left = len(self._point) - bound
        if left <= self._middle:
            return eq_table(self._point[:left]), _UNIT
        return self._high, eq_table(self._point[self._middle : left])


_UNIT = pack([ONE])


def second_value(claim: Element, g0: Element, r: Element) -> Element:
    """g(1) from (1 − r)·g(0) + r·g(1) = claim. For random r: r = 0 has probability p⁻²."""
    return (claim - (1 - r) * g0) * r.inverse()


@kernel
def _square_round(table: Words, high: Words, low: Words) -> Words:
    out = np.zeros((2, 2), np.uint64)
    width = len(low)
    for start in range(0, (len(table) + 1) // 2, width):
        s0, s1, t0, t1 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
        for j in range(min(width, (len(table) + 1) // 2 - start)):
            i = 2 * (start + j)
            x, y = ext_mul(table[i, 0], table[i, 1], table[i, 0], table[i, 1])
            x, y = ext_mul(x, y, low[j, 0], low[j, 1])
            s0, s1 = add(s0, x), add(s1, y)
            c0, c1 = _at_two(table, i)
            x, y = ext_mul(c0, c1, c0, c1)
            x, y = ext_mul(x, y, low[j, 0], low[j, 1])
            t0, t1 = add(t0, x), add(t1, y)
        h = start // width
        x, y = ext_mul(s0, s1, high[h, 0], high[h, 1])
        out[0, 0], out[0, 1] = add(out[0, 0], x), add(out[0, 1], y)
        x, y = ext_mul(t0, t1, high[h, 0], high[h, 1])
        out[1, 0], out[1, 1] = add(out[1, 0], x), add(out[1, 1], y)
    return out


def prove_square(
    channel: ProverChannel, claim: Element, table: Words, eq_point: Point
) -> tuple[list[Element], Element]:
    """Prove claim = Σ_x eq(eq_point, x)·t(x)², no variable of `eq_point` being 0, as random ones are not.

    Says three elements a round; returns r and t̃(r), which is not said.
    """
    weights, point = EqWeights(eq_point), []
    for k, e in enumerate(reversed(eq_point)):
        g0, g2 = unpack(_square_round(table, *weights.after(k + 1)))
        g1 = second_value(claim, g0, e)
        channel.say((g0, g1, g2))
        r = channel.draw()
        claim = quadratic(g0, g1, g2, r)
        table = fold(table, pack([r])[0])
        point.append(r)
    return point[::-1], unpack(table)[0]


@kernel
def _product_round(tables: Words, high: Words, low: Words) -> Words:
    """Σ eq·Π_k t_k with the fastest variable at 0, 1, …, number of tables."""
    count, size = tables.shape[0], tables.shape[1]
    out = np.zeros((count + 1, 2), np.uint64)
    width = len(low)
    for i in range(0, size, 2):
        w0, w1 = ext_mul(
            high[i // 2 // width, 0], high[i // 2 // width, 1], low[i // 2 % width, 0], low[i // 2 % width, 1]
        )
        for x in range(count + 1):
            p0, p1 = w0, w1
            for k in range(count):
                v0, v1 = tables[k, i, 0], tables[k, i, 1]
                h0, h1 = np.uint64(0), np.uint64(0)
                if i + 1 < size:
                    h0, h1 = tables[k, i + 1, 0], tables[k, i + 1, 1]
                d0, d1 = ext_mul(sub(h0, v0), sub(h1, v1), np.uint64(x), np.uint64(0))
                p0, p1 = ext_mul(p0, p1, add(v0, d0), add(v1, d1))
            out[x, 0], out[x, 1] = add(out[x, 0], p0), add(out[x, 1], p1)
    return out


def prove_product(channel: ProverChannel, tables: Words, eq_point: Point) -> tuple[list[Element], list[Element]]:
    """Prove Σ_x eq(eq_point, x)·Π_k t_k(x), a sum that both sides know; `tables` has shape (k, size, 2).

    Says k + 1 elements a round. Returns r and the values t̃_k(r), which are not said. Cost: O(k²·2ⁿ).
    """
    weights, point = EqWeights(eq_point), []
    for k in range(len(eq_point)):
        channel.say(_product_round(tables, *weights.after(k + 1)))
        r = channel.draw()
        word = pack([r])[0]
        tables = np.stack([fold(table, word) for table in tables])
        point.append(r)
    return point[::-1], unpack(tables[:, 0])


def verify_weighted(
    channel: VerifierChannel, claim: Element, eq_point: Point, degree: int
) -> tuple[list[Element], Element]:
    """The other side of every sum Σ_x eq(eq_point, x)·F(x), F of `degree` in each variable: r, and what F(r) must be.

    Raises:
        VerificationError: if a round does not add up to the running claim.

    Soundness error: (degree + 1)·n/p².
    """
    point = []
    for k, e in enumerate(reversed(eq_point)):
        values = channel.hear(degree + 1)
        if (1 - e) * values[0] + e * values[1] != claim:
            raise VerificationError(f"sum-check, round {k}: the message does not add up to the running claim")
        r = channel.draw()
        claim = quadratic(values[0], values[1], values[2], r) if degree == 2 else interpolate(values, r)
        point.append(r)
    return point[::-1], claim

"""F_p for p = 2**61 − 1, and F_p² = F_p[i] with i² = −1: kernels on arrays, and a plain Python twin.

p ≡ 3 (mod 4), so −1 is no square and X² + 1 is irreducible. p = 2**61 − 1 is the prime of SafetyNets (Ghodsi, Gu, Garg,
NeurIPS 2017, section 4); challenges come from F_p², because a proof sent as a file can be tried again 2**40 times.

Encodings. A base element is a `uint64`, an extension element two of them (real part first), so an array of n of them
has shape (n, 2). Canonical means every word in [0, p). Kernels return canonical words; they accept the redundant
word p for 0 as well. What comes from outside is checked to be canonical before any kernel sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from assay.kernels import WIDE, WORD, inlined, kernel

P = (1 << 61) - 1
Words = NDArray[np.uint64]
"""Field elements: shape (n,) in F_p, (n, 2) in F_p²."""


def _reduce(builder: ir.IRBuilder, wide: ir.Value) -> ir.Value:
    """Canonical word of a 128-bit value below 2**124, as 2**61 = 1 (mod p)."""
    low = builder.and_(builder.trunc(wide, WORD), ir.Constant(WORD, P))
    high = builder.trunc(builder.lshr(wide, ir.Constant(WIDE, 61)), WORD)
    once = builder.add(low, high)
    twice = builder.add(builder.and_(once, ir.Constant(WORD, P)), builder.lshr(once, ir.Constant(WORD, 61)))
    less = builder.sub(twice, ir.Constant(WORD, P))
    return builder.select(builder.icmp_unsigned("<", twice, ir.Constant(WORD, P)), twice, less)


def _wide_product(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.mul(builder.zext(a, WIDE), builder.zext(b, WIDE))


@intrinsic
def _mul(typingctx, a, b):  # type: ignore[no-untyped-def]
    """a·b in F_p, for a < 2**62 and b ≤ p."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _reduce(builder, _wide_product(builder, *arguments))

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def _mul_add(typingctx, a, b, c, d):  # type: ignore[no-untyped-def]
    """a·b + c·d in F_p, for a, c < 2**62 and b, d ≤ p."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, b, c, d = arguments
        return _reduce(builder, builder.add(_wide_product(builder, a, b), _wide_product(builder, c, d)))

    return types.uint64(types.uint64, types.uint64, types.uint64, types.uint64), generate


@intrinsic
def _mul_sub(typingctx, a, b, c, d):  # type: ignore[no-untyped-def]
    """a·b − c·d in F_p, for a, c < 2**62 and b, d ≤ p."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, b, c, d = arguments
        # p · 2**62 is a multiple of p, and at least the largest c·d
        raised = builder.add(_wide_product(builder, a, b), ir.Constant(WIDE, P << 62))
        return _reduce(builder, builder.sub(raised, _wide_product(builder, c, d)))

    return types.uint64(types.uint64, types.uint64, types.uint64, types.uint64), generate


mul: Callable[..., Any] = _mul
mul_add: Callable[..., Any] = _mul_add
mul_sub: Callable[..., Any] = _mul_sub

_P = np.uint64(P)
_ZERO = np.uint64(0)


@inlined
def add(a, b):  # type: ignore[no-untyped-def]
    """a + b in F_p, for a, b ≤ p."""
    total = a + b
    total = total - _P if total >= _P else total
    return total - _P if total >= _P else total


@inlined
def sub(a, b):  # type: ignore[no-untyped-def]
    """a − b in F_p, for a, b ≤ p."""
    return add(a, _P - b)


@inlined
def ext_mul(a0, a1, b0, b1):  # type: ignore[no-untyped-def]
    """(a0 + a1·i)(b0 + b1·i), for a0, a1 < 2**62 and b0, b1 ≤ p."""
    return mul_sub(a0, b0, a1, b1), mul_add(a0, b1, a1, b0)


@kernel
def products(a: Words, b: Words) -> Words:
    """Element by element in F_p², shapes (n, 2)."""
    out = np.empty_like(a)
    for k in range(len(a)):
        out[k, 0], out[k, 1] = ext_mul(a[k, 0], a[k, 1], b[k, 0], b[k, 1])
    return out


@kernel
def sums(a: Words, b: Words) -> Words:
    """Element by element, shapes (n, 2)."""
    out = np.empty_like(a)
    for k in range(len(a)):
        out[k, 0], out[k, 1] = add(a[k, 0], b[k, 0]), add(a[k, 1], b[k, 1])
    return out


@kernel
def differences(a: Words, b: Words) -> Words:
    """Element by element, shapes (n, 2)."""
    out = np.empty_like(a)
    for k in range(len(a)):
        out[k, 0], out[k, 1] = sub(a[k, 0], b[k, 0]), sub(a[k, 1], b[k, 1])
    return out


@kernel
def dot(a: Words, b: Words) -> Words:
    """Σ a·b in F_p², over the shorter of two arrays (m, 2), (n, 2); shape (2,)."""
    re, im = _ZERO, _ZERO
    for k in range(min(len(a), len(b))):
        x, y = ext_mul(a[k, 0], a[k, 1], b[k, 0], b[k, 1])
        re, im = add(re, x), add(im, y)
    out = np.empty(2, np.uint64)
    out[0], out[1] = re, im
    return out


class Element:
    """re + im·i in F_p², in plain Python: the verifier's scalars, and the oracle of the kernels.

    Whole numbers mix with elements: `2 * x + 1`. Parts are canonical whatever they were made from. Never changed.
    """

    __slots__ = ("im", "re")

    def __init__(self, re: int, im: int = 0) -> None:
        self.re = re % P
        self.im = im % P

    def __repr__(self) -> str:
        return f"Element({self.re}, {self.im})"

    def __add__(self, other: Element | int) -> Element:
        o = _lift(other)
        return Element(self.re + o.re, self.im + o.im)

    def __sub__(self, other: Element | int) -> Element:
        o = _lift(other)
        return Element(self.re - o.re, self.im - o.im)

    def __rsub__(self, other: int) -> Element:
        return Element(other - self.re, -self.im)

    def __neg__(self) -> Element:
        return Element(-self.re, -self.im)

    def __mul__(self, other: Element | int) -> Element:
        if isinstance(other, int):
            return Element(self.re * other, self.im * other)
        return Element(self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re)

    __radd__ = __add__
    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> Element:
        power, square = ONE, self
        while exponent:
            if exponent & 1:
                power = power * square
            square, exponent = square * square, exponent >> 1
        return power

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Element | int):
            return NotImplemented
        o = _lift(other)
        return self.re == o.re and self.im == o.im

    def __hash__(self) -> int:
        return hash((self.re, self.im))

    def conjugate(self) -> Element:
        """re − im·i, which is also the p-th power."""
        return Element(self.re, -self.im)

    def inverse(self) -> Element:
        """1/self; 0 for 0. The norm re² + im² is inverted in F_p."""
        inverse_norm = pow(self.re * self.re + self.im * self.im, P - 2, P)
        return Element(self.re * inverse_norm, -self.im * inverse_norm)

    def to_bytes(self) -> bytes:
        """16 bytes: real part, imaginary part, each little-endian."""
        return self.re.to_bytes(8, "little") + self.im.to_bytes(8, "little")


def _lift(value: Element | int) -> Element:
    return value if isinstance(value, Element) else Element(value)


ZERO = Element(0)
ONE = Element(1)
I = Element(0, 1)  # noqa: E741

ROOT_BITS = 62
"""2**62 divides p² − 1 = (p − 1)(p + 1): there are roots of unity of every order up to 2**62."""

# 4 + i has norm 17, no square in F_p, so it is no square in F_p² and its odd power below has the full order.
_ROOT = Element(4, 1) ** ((P * P - 1) >> ROOT_BITS)


def root_of_unity(bits: int) -> Element:
    """A root of unity of order exactly 2**bits, 0 ≤ bits ≤ 62; the square of the one for bits + 1."""
    return _ROOT ** (1 << (ROOT_BITS - bits))


def pack(elements: list[Element]) -> Words:
    """As an array (n, 2)."""
    return np.array([(e.re, e.im) for e in elements], np.uint64).reshape(-1, 2)


def unpack(words: Words) -> list[Element]:
    """Back from an array (…, 2)."""
    return [Element(int(re), int(im)) for re, im in words.reshape(-1, 2).tolist()]


def from_integers(values: NDArray[Any]) -> Words:
    """Whole numbers of |v| < 2**60 as base elements; negative v becomes p + v."""
    wide = values.astype(np.int64).ravel()
    return np.where(wide < 0, wide + P, wide).astype(np.uint64)


def is_canonical(words: Words) -> bool:
    """Whether every word is below p."""
    return bool((words < _P).all())

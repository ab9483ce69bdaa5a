"""Commitment to a long vector of F_p, opened as linear claims on its multilinear extension.

Source: Ligero (Ames, Hazay, Ishai, Venkitasubramaniam, CCS 2017), with the evaluation of multilinear polynomials as in
Brakedown (Golovnev et al., CRYPTO 2023, section 4).

The vector fills a matrix of `rows` rows, each of 2C values: C real parts, then C imaginary parts of a message in F_p².
Rows are Reed–Solomon encoded at rate 1/4, columns hashed into a Merkle tree. An opening at (z_row, z_part, z_column):

1. The prover says A = Σ_r eq(z_row, r) real_r and B = Σ_r eq(z_row, r) imaginary_r, C elements each.
2. The verifier draws t columns, the prover opens them.
3. Check, at each: A + iB encodes to Σ eq(z_row, r)·column_r, and conj(A) + i·conj(B) to Σ conj(eq(z_row, r))·column_r.
4. The value is (1 − z_part)⟨A, eq(z_column)⟩ + z_part⟨B, eq(z_column)⟩.

Soundness. Let e = ⌊3C/2⌋ be the unique decoding radius. If the matrix is further than e columns from all codewords, the
combination with eq(z_row, ·) for random z_row is so too, but for a share (log₂ rows)·4C/p² of the z_row (Ben-Sasson et
al., FOCS 2020, theorem 1.4 for lines; Diamond and Gruen, "Proximity gaps in interleaved codes", 2025, for tensors).
Otherwise one codeword matrix is meant, and wrong A or B differ from its combination in more than e columns. Either way
t columns miss the difference with probability at most (1 − (e + 1)/4C)**t, 0.68 bit a column. z_row is random here
because the claims are first reduced to one point by a sum-check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.kernels import kernel
from assay.proof.errors import VerificationError
from assay.proof.field import ONE, ZERO, Element, I, P, Words, add, ext_mul, pack, products, sums
from assay.proof.merkle import MerkleTree, check_leaves, leaf_hash
from assay.proof.multilinear import Point, at, combine, combine_elements, eq, eq_table, evaluate, variables
from assay.proof.reed_solomon import EXPANSION_BITS, encode, encode_one
from assay.proof.sumcheck import prove_pair, verify_pair
from assay.proof.transcript import ProverChannel, VerifierChannel, to_bytes

QUERIES = 154
"""Columns opened: 154 · 0.678 = 104.4 bits."""

MAX_GAP = 1 << 20
"""Bad points of a proximity gap, of p² in all: 102 bits."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The matrix that holds `size` values: 2**column_bits elements of F_p² a row."""

    size: int
    column_bits: int

    @property
    def row_values(self) -> int:
        return 2 << self.column_bits

    @property
    def rows(self) -> int:
        return -(-self.size // self.row_values)

    @property
    def variables(self) -> int:
        """Of the vector's extension."""
        return variables(self.rows) + 1 + self.column_bits

    @property
    def codeword(self) -> int:
        """Number of columns after encoding."""
        return 1 << (self.column_bits + EXPANSION_BITS)

    @property
    def depth(self) -> int:
        """Of the Merkle tree."""
        return self.column_bits + EXPANSION_BITS

    @property
    def query_bits(self) -> float:
        """Bits of soundness of all column queries together."""
        radius = 3 * (1 << self.column_bits) // 2
        return -QUERIES * math.log2(1 - (radius + 1) / self.codeword)

    @property
    def gap(self) -> int:
        """Points z_row, of p² in all, at which a matrix far from all codewords may look close to one, at most."""
        return variables(self.rows) * self.codeword


def layout_for(size: int) -> Layout:
    """The layout with a small enough gap whose opening is smallest, but for its paths.

    Rows of x values cost x for the combination and QUERIES·size/x for the columns; the best power of two is the first
    with 2x² ≥ QUERIES·size.
    """
    layout = Layout(size, 0)
    while 2 * layout.row_values**2 < QUERIES * size:
        wider = Layout(size, layout.column_bits + 1)
        if variables(layout.rows) * wider.codeword > MAX_GAP:
            break
        layout = wider
    return layout


@dataclass(frozen=True, slots=True)
class Term:
    """coefficient · Σ_j eq(point, j)·vector[offset + j]; `offset` is a multiple of 2**len(point)."""

    offset: int
    point: tuple[Element, ...]
    coefficient: Element = ONE


@dataclass(frozen=True, slots=True)
class Claim:
    """The terms add up to `value`."""

    terms: tuple[Term, ...]
    value: Element


class Committed:
    """The prover's side: the vector, its encoded columns, their tree. `root` is the commitment."""

    def __init__(self, values: Words) -> None:
        """`values`: base field elements, shape (size,)."""
        self.layout = layout_for(len(values))
        filled = np.zeros(self.layout.rows * self.layout.row_values, np.uint64)
        filled[: len(values)] = values
        self._messages = filled.reshape(self.layout.rows, 2, -1)
        self._columns = encode(self._messages)
        self._tree = MerkleTree([leaf_hash(column.tobytes()) for column in self._columns])
        self.root = self._tree.root

    def prove(self, channel: ProverChannel, claims: Sequence[Claim]) -> None:
        """Prove all claims by one opening. Cost: about 6 multiplications a value and 2 for every claim on it."""
        layout = self.layout
        total, weights = weighted_sum(claims, channel.draw(), layout.rows * layout.row_values)
        vector = np.zeros((len(weights), 2), np.uint64)
        vector[:, 0] = self._messages.ravel()
        point, _, _ = prove_pair(channel, total, vector, weights, layout.variables)
        self._open(channel, point)

    def _open(self, channel: ProverChannel, point: Point) -> None:
        row_weights = eq_table(point[: variables(self.layout.rows)])
        parts = combine(self._messages.reshape(self.layout.rows, -1), row_weights)
        channel.say(parts)
        positions = sorted(set(channel.draw_indices(QUERIES, self.layout.depth)))
        channel.say_bytes(self._columns[positions].tobytes())
        for level in self._tree.siblings(positions):
            channel.say_bytes(level)


@kernel
def _add_scaled(target: Words, source: Words, scale: Words) -> None:
    for k in range(len(source)):
        x, y = ext_mul(source[k, 0], source[k, 1], scale[0], scale[1])
        target[k, 0], target[k, 1] = add(target[k, 0], x), add(target[k, 1], y)


def weighted_sum(claims: Sequence[Claim], mix: Element, size: int) -> tuple[Element, Words]:
    """Σ mixᵏ·claim_k: its value, and the table of the weights of all `size` values."""
    total, power = ZERO, ONE
    weights = np.zeros((size, 2), np.uint64)
    for claim in claims:
        for term in claim.terms:
            block = weights[term.offset : term.offset + (1 << len(term.point))]
            _add_scaled(block, eq_table(term.point)[: len(block)], pack([power * term.coefficient])[0])
        total, power = total + power * claim.value, power * mix
    return total, weights


def _weight_at(claims: Sequence[Claim], mix: Element, point: Point) -> Element:
    """The extension of the table of weights."""
    total, power = ZERO, ONE
    for claim in claims:
        for term in claim.terms:
            n = len(term.point)
            block = at(point[: len(point) - n], term.offset >> n)
            total = total + power * term.coefficient * block * eq(term.point, point[len(point) - n :])
        power = power * mix
    return total


def verify_claims(channel: VerifierChannel, root: bytes, layout: Layout, claims: Sequence[Claim]) -> None:
    """Return if all claims hold for the one vector under `root`.

    Raises:
        VerificationError: if not.

    Soundness error: (number of claims + 2·variables)/p² for the reduction, and that of one opening (see the module).
    """
    mix = channel.draw()
    total, power = ZERO, ONE
    for claim in claims:
        total, power = total + power * claim.value, power * mix
    point, last = verify_pair(channel, total, layout.variables)
    if _open_at(channel, root, layout, point) * _weight_at(claims, mix, point) != last:
        raise VerificationError("the committed vector at the random point disagrees with the claims on it")


def _open_at(channel: VerifierChannel, root: bytes, layout: Layout, point: Point) -> Element:
    """The value at `point` of the vector under `root`."""
    size, row_bits = 1 << layout.column_bits, variables(layout.rows)
    parts = channel.hear_words(2 * size).reshape(2, size, 2)
    positions = channel.draw_indices(QUERIES, layout.depth)
    distinct = sorted(set(positions))
    columns = channel.hear_words(len(distinct) * layout.rows).reshape(len(distinct), layout.rows, 2)
    hashes = {place: leaf_hash(to_bytes(column)) for place, column in zip(distinct, columns, strict=True)}
    check_leaves(root, layout.depth, hashes, channel.hear_bytes)
    weights = eq_table(point[:row_bits])[: layout.rows]
    _check_combination(parts, columns, weights, distinct)
    _check_combination(_conjugate(parts), columns, _conjugate(weights), distinct)
    part = point[row_bits]
    real, imaginary = (evaluate(table, point[row_bits + 1 :]) for table in parts)
    return (1 - part) * real + part * imaginary


def _conjugate(table: Words) -> Words:
    out = table.copy()
    out[..., 1] = (P - out[..., 1]) % P
    return out


def _check_combination(parts: Words, columns: Words, weights: Words, positions: Sequence[int]) -> None:
    """Check that A + iB encodes, at `positions`, to the weighted sums of the opened columns."""
    imaginary = products(parts[1], np.repeat(pack([I]), len(parts[1]), axis=0))
    expected = encode_one(sums(parts[0], imaginary))[list(positions)]
    found = combine_elements(columns.transpose(1, 0, 2), weights)
    if not np.array_equal(expected, found):
        raise VerificationError("an opened column disagrees with the combined row")

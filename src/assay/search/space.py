"""The search space: skeletons of a fixed depth, each layer an operation and skips from the layers before it.

The layer just before joins always, so that its skip bit says nothing and is left at 0.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from assay.models.cnet import OPERATIONS, Layer, decode, encode

MOST_DEPTH = 24

DENSE = {1: 0, 3: 2}
"""What a separable convolution of the supernet is in the final networks."""


@dataclass(frozen=True, slots=True)
class Space:
    """Skeletons of `depth` layers: `choices` lists how many values each decision has, layer by layer.

    A skeleton is a row of decisions: for layer i its operation, then a bit for each layer before the one before it.
    """

    depth: int = 6

    def __post_init__(self) -> None:
        if not 3 <= self.depth <= MOST_DEPTH:
            raise ValueError(f"a skeleton has 3 to {MOST_DEPTH} layers, one a stage at least, got {self.depth}")

    @property
    def choices(self) -> tuple[int, ...]:
        return tuple(n for i in range(self.depth) for n in (len(OPERATIONS), *(2,) * max(i - 1, 0)))

    @property
    def digest(self) -> str:
        """Names the space: a study of another one is not gone on with. 2: since max pools have a price."""
        return hashlib.sha256(f"cnet/2 {self.depth} {OPERATIONS}".encode()).hexdigest()[:16]

    def skeleton(self, decisions: tuple[int, ...]) -> str:
        """The encoding of a row of decisions."""
        layers, at = [], 0
        for i in range(self.depth):
            bits = decisions[at + 1 : at + 1 + max(i - 1, 0)]
            layers.append(Layer(decisions[at], tuple(bool(b) for b in (*bits, *((0,) if i else ())))))
            at += 1 + len(bits)
        return encode(tuple(layers))

    def decisions(self, skeleton: str) -> tuple[int, ...]:
        """The row that gives this encoding.

        Raises:
            ValueError: if it is not of this space.
        """
        decided = _decided(skeleton)
        if len(decided) != len(self.choices) or self.skeleton(decided) != skeleton:
            raise ValueError(f"{skeleton!r} is no skeleton of {self.depth} layers of this space")
        return decided

    def becomes(self, skeleton: str) -> str:
        """One encoding for all skeletons that become the same network.

        A separable convolution is dense there, and the published skeletons have skip bits that say nothing.
        """
        layers = [Layer(DENSE.get(layer.operation, layer.operation), layer.skips) for layer in decode(skeleton)]
        return self.skeleton(_decided(encode(tuple(layers))))

    def changed(self, skeleton: str, draw: random.Random) -> str:
        """The skeleton with one decision, drawn evenly, that says something else."""
        row = list(_decided(skeleton))
        at = draw.randrange(len(row))
        row[at] = (row[at] + draw.randrange(1, self.choices[at])) % self.choices[at]
        return self.skeleton(tuple(row))


def _decided(skeleton: str) -> tuple[int, ...]:
    """Operations and the skip bits that say something, layer by layer."""
    layers = enumerate(decode(skeleton))
    return tuple(int(d) for i, layer in layers for d in (layer.operation, *layer.skips[: max(i - 1, 0)]))

"""SHA-256 Merkle trees over columns, and proofs for several leaves at once.

Leaves and inner nodes are hashed with different first bytes, so that neither can stand for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from assay.proof.errors import VerificationError

HASH_BYTES = 32


def leaf_hash(column: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + column).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """All levels of a tree over 2**n leaves, leaves first."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(level := self.levels[-1]) > 1:
            self.levels.append([node_hash(level[k], level[k + 1]) for k in range(0, len(level), 2)])

    @property
    def root(self) -> bytes:
        return self.levels[-1][0]

    def siblings(self, positions: Iterable[int]) -> list[bytes]:
        """What a verifier that knows the leaves at `positions` needs to find the root, level by level."""
        known, found = set(positions), []
        for nodes in self.levels[:-1]:
            found.append(b"".join(nodes[index] for index in missing(known)))
            known = {index >> 1 for index in known}
        return found


def missing(known: Iterable[int]) -> list[int]:
    """Nodes of a level whose neighbour is known, but they are not; in the order in which they are sent."""
    inside = set(known)
    return sorted(index ^ 1 for index in inside if index ^ 1 not in inside)


def check_leaves(root: bytes, depth: int, leaves: dict[int, bytes], hear: Callable[[int], bytes]) -> None:
    """Raise VerificationError unless the hashed leaves, by position, lie in the tree under `root`.

    `hear(n)` gives the next n bytes of what `siblings` found.
    """
    known = leaves
    for _ in range(depth):
        places = missing(known)
        sent = hear(HASH_BYTES * len(places))
        whole = known | {place: sent[HASH_BYTES * k : HASH_BYTES * (k + 1)] for k, place in enumerate(places)}
        known = {index >> 1: node_hash(whole[index & ~1], whole[index | 1]) for index in known}
    if known != {0: root}:
        raise VerificationError("an opened column does not lie under the committed Merkle root")

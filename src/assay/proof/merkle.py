"""SHA-256 Merkle trees over columns, and proofs for several leaves at once.

Leaves and inner nodes are hashed with different first bytes, so that neither can stand for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

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

    def siblings(self, positions: Sequence[int]) -> bytes:
        """What a verifier that knows the leaves at `positions` needs to find the root."""
        return b"".join(self.levels[level][index] for level, index in missing_nodes(positions, len(self.levels) - 1))


def missing_nodes(positions: Sequence[int], depth: int) -> list[tuple[int, int]]:
    """(level, index) of the nodes between known leaves and the root that must be sent, in the order of sending."""
    known, missing = sorted(set(positions)), []
    for level in range(depth):
        inside = set(known)
        missing += [(level, index ^ 1) for index in known if index ^ 1 not in inside]
        known = sorted({index >> 1 for index in known})
    return missing


def check_leaves(root: bytes, depth: int, leaves: dict[int, bytes], siblings: bytes) -> None:
    """Raise VerificationError unless the hashed leaves, by position, lie in the tree under `root`.

    `siblings` holds exactly the nodes that `missing_nodes` lists.
    """
    places = missing_nodes(list(leaves), depth)
    sent = {place: siblings[HASH_BYTES * k : HASH_BYTES * (k + 1)] for k, place in enumerate(places)}
    known = leaves
    for level in range(depth):
        whole = known | {index: node for (at, index), node in sent.items() if at == level}
        known = {index >> 1: node_hash(whole[index & ~1], whole[index | 1]) for index in known}
    if known != {0: root}:
        raise VerificationError("an opened column does not lie under the committed Merkle root")

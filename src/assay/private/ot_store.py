"""What the parties prepare before the input exists, and use up while the client waits.

Everything here is random oblivious transfers (Beaver, "Precomputing Oblivious Transfer", CRYPTO 1995) or follows from
them without a word: the protocols turn them into chosen ones by telling the difference.

    digits   1-of-16 transfers. The server has 16 pads, the client a random digit and the pad at its place.
    singles  AND triples: shares of random bits a, b and of a·b, 64 in a word.
    doubles  pairs of AND triples that have a in common: a, b, b', a·b, a·b'.
    down     1-of-2 transfers of ring words: the server has two, the client a random bit and the word at its place.
    up       the same with the client as the sender.
    products server: a random word a; client: b; and shares of a·b.

Who learns what: nothing of the other's. The client cannot know a pad that it does not hold; the server cannot know the
client's digits and bits. Both store the same kinds in the same order, and each piece is taken once: what was taken is
overwritten with zeros and gone. A piece is bound to the session by the key of the hash, and to its place by the tweak;
the parties compare where they are before each protocol (`Party.agree`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from hashlib import sha256

import numpy as np

from assay.errors import ModelError
from assay.private import ot_extension as extension
from assay.private.aes import Permutation
from assay.private.channel import Channel, ProtocolError, Role
from assay.private.random_ot import Maker, Piece
from assay.private.ring import Ring

MAX_DEMAND = 1 << 33
"""Correlated transfers that one call prepares at most, 128 GiB of them; beyond is a mistake or an attack."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a step uses up, by kind; demands add up.

    Attributes:
        digits: 1-of-16 transfers with pads of 4 bits a place.
        singles, doubles: words of 64 triples.
        down, up: transfers of ring words by the server and by the client.
        products: products of ring words.
    """

    digits: int = 0
    singles: int = 0
    doubles: int = 0
    down: int = 0
    up: int = 0
    products: int = 0

    def __add__(self, other: Demand) -> Demand:
        return Demand(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def correlated(self, ring: Ring) -> tuple[int, int]:
        """How many correlated transfers it takes with the server, and with the client, as sender."""
        down = 4 * self.digits + 128 * self.singles + 192 * self.doubles + self.down + (ring.bits - 1) * self.products
        return down, self.up


@dataclass(slots=True)
class _Pool:
    """Pieces of one kind in the order in which they were made; of the first, what was taken is `used`.

    Pieces stay apart, so that one that is used up gives its memory back.
    """

    pieces: deque[Piece] = field(default_factory=deque)
    used: int = 0

    @property
    def left(self) -> int:
        return sum(int(piece[-1].shape[-1]) for piece in self.pieces) - self.used

    def take(self, count: int) -> Piece:
        """The next `count` >= 1 of those that are left, which are overwritten here."""
        parts: list[Piece] = []
        while count:
            first = self.pieces[0]
            stop = min(self.used + count, first[-1].shape[-1])
            parts.append(tuple(array[..., self.used : stop].copy() for array in first))
            for array in first:
                array[..., self.used : stop] = 0
            count -= stop - self.used
            self.used = stop
            if stop == first[-1].shape[-1]:
                self.pieces.popleft()
                self.used = 0
        if len(parts) == 1:
            return parts[0]
        taken = tuple(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
        _wipe(parts)
        return taken


def _wipe(pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        for array in piece:
            array[...] = 0


class Store:
    """One party's material for one session.

    Args:
        session: at least 16 bytes that both parties know and that no other session has.
        ring: of the words.
    """

    def __init__(self, session: bytes, ring: Ring, field: int = extension.FIELD) -> None:
        if len(session) < 16:
            raise ValueError(f"a session needs a name of at least 16 bytes, got {len(session)}")
        self.ring = ring
        self._session, self._field = session, field
        self._extensions: dict[str, extension.Receiver | extension.Sender] = {}
        self._pools: dict[str, _Pool] = {}
        self.taken = Demand()

    @property
    def left(self) -> Demand:
        """What is prepared and not yet taken."""
        return Demand(**{kind: pool.left for kind, pool in self._pools.items()})

    @property
    def place(self) -> bytes:
        """16 bytes that name the session and how much of each kind is taken: the same at both parties."""
        return sha256(b"assay/place/1" + self._session + repr(self.taken).encode()).digest()[:16]

    def prepare(self, channel: Channel, role: Role, demand: Demand) -> None:
        """Make what `demand` says, together with the other party, which says the same.

        Cost: 3.9 bytes a correlated transfer (`Demand.correlated`), most of them from the client, and the first time
        256 base transfers.

        Raises:
            ProtocolError: if the other party does not keep to the protocol; nothing of this call is kept.
        """
        if max(demand.correlated(self.ring)) > MAX_DEMAND:
            raise ModelError(f"{demand} is more than one call prepares")
        if not self._extensions:
            self._extensions = {name: self._set_up(channel, role, name) for name in ("down", "up")}
        made: dict[str, Piece] = {}
        for kind, count in ((f.name, getattr(demand, f.name)) for f in fields(demand)):
            if count:
                made[kind] = self._make(channel, role, kind, count)
        for kind, piece in made.items():
            self._pools.setdefault(kind, _Pool()).pieces.append(piece)

    def take(self, kind: str, count: int) -> Piece:
        """The next `count` of a kind; they are overwritten in the store.

        Raises:
            ProtocolError: if not so many are left.
        """
        left = self._pools[kind].left if kind in self._pools else 0
        if not 1 <= count <= left:
            raise ProtocolError(f"only {left} of the {count} {kind} that are needed are prepared; prepare more")
        piece = self._pools[kind].take(count)
        self.taken += Demand(**{kind: count})
        return piece

    def close(self) -> None:
        """Overwrite and forget everything."""
        for pool in self._pools.values():
            _wipe(pool.pieces)
        self._pools.clear()
        self._extensions.clear()

    def _set_up(self, channel: Channel, role: Role, name: str) -> extension.Receiver | extension.Sender:
        sends = (role == "server") == (name == "down")
        make = extension.sender if sends else extension.receiver
        return make(channel, self._session + name.encode(), self._field)

    def _make(self, channel: Channel, role: Role, kind: str, count: int) -> Piece:
        name = "up" if kind == "up" else "down"
        maker = Maker(channel, self._extensions[name], self._hash(name), self.ring)
        make: dict[str, Callable[[int], Piece]] = {
            "digits": maker.digits,
            "singles": maker.singles,
            "doubles": maker.doubles,
            "products": maker.products,
        }
        return make.get(kind, maker.words)(count)

    def _hash(self, name: str) -> Permutation:
        return Permutation(sha256(b"assay/ot-hash/1" + name.encode() + self._session).digest()[:16])

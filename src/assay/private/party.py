"""One party of a session: who it is, whom it talks to, in which ring, with which prepared material."""

from __future__ import annotations

from dataclasses import dataclass, field

from assay.private.aes import Randomness
from assay.private.channel import Channel, Role
from assay.private.ot_store import Store
from assay.private.ring import Ring


@dataclass(frozen=True, slots=True, eq=False)
class Party:
    """The server is the sender of all transfers but the last of a multiplexer, the client the receiver."""

    role: Role
    channel: Channel
    ring: Ring
    store: Store
    randomness: Randomness = field(default_factory=Randomness)

    @property
    def serves(self) -> bool:
        return self.role == "server"

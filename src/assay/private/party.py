"""One party of a session: who it is, whom it talks to, in which ring, with which prepared material."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.private.channel import Channel, ProtocolError, Role
from assay.private.ot_store import Store
from assay.private.ring import Ring


@dataclass(frozen=True, slots=True, eq=False)
class Party:
    """The server is the sender of all transfers but the last of a multiplexer, the client the receiver."""

    role: Role
    channel: Channel
    ring: Ring
    store: Store

    @property
    def serves(self) -> bool:
        return self.role == "server"

    def agree(self) -> None:
        """The client says which session this is and what is used up of the material; the server has to be there too.

        A message of another session, or of an earlier step, does not get past this, and no material is spent on it.

        Raises:
            ProtocolError: if the two parties are not at the same place.
        """
        place = np.frombuffer(self.store.place, np.uint8)
        if not self.serves:
            self.channel.send(place)
        elif self.channel.receive(place.nbytes).tobytes() != place.tobytes():
            raise ProtocolError("the two parties are not at the same place of the same session; start a new one")

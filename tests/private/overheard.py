"""Channels that write down what was said, or change one message on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.private.channel import MemoryChannel
from assay.private.party import Party

Message = np.ndarray


@dataclass
class Overheard:
    """An end whose messages are noted, and changed by `change(number, message)`; None means that nothing arrives."""

    end: MemoryChannel
    change: Callable[[int, Message], Message | None] = lambda number, message: message
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.part, self.ledger, self.receive = self.end.part, self.end.ledger, self.end.receive

    def send(self, message: np.ndarray) -> None:
        data = np.frombuffer(np.ascontiguousarray(message).tobytes(), np.uint8)
        changed = self.change(len(self.sent), data)
        self.sent.append(data)
        if changed is not None:
            self.end.send(changed)


def overheard(party: Party, change: Any = None) -> tuple[Party, Overheard]:
    """The same party, speaking through such an end."""
    end = Overheard(party.channel, change) if change else Overheard(party.channel)  # type: ignore[arg-type]
    return Party(party.role, end, party.ring, party.store), end  # type: ignore[arg-type]

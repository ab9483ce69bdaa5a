"""The client's side of a session against nobody: every message by its size, before anybody deploys.

The size of a message never depends on a value. So the client that is used in earnest, given zeros wherever the server
would speak, says and hears exactly as many bytes in as many rounds as it will. Nothing is secret here: keys and masks
are zeros, and the transfers come from a source that makes none; no server understands a word of it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.private import base_ot
from assay.private import ot_extension as extension
from assay.private.architecture import Architecture
from assay.private.channel import Bytes, Channel, Meter, Role, Traffic
from assay.private.client import Session
from assay.private.linear import Layers, LayerShape
from assay.private.messages import PROTOCOL, Infer, Prepare, Ready, Welcome, fresh_nonce
from assay.private.offline import ClientWorkshop, key_size, layer_shapes
from assay.private.ot_store import Store
from assay.private.ring import Residues, Ring
from assay.private.steps import Plan
from assay.private.transport import FRAME

T = TypeVar("T")


def rehearse(architecture: Architecture, size: int = 1) -> dict[str, Traffic]:
    """Traffic by part, as `SocketChannel.ledger` has it, of a session that answers `size` pictures once.

    Seconds are those of the client's computation alone.
    """
    channel = Rehearsal(architecture)
    session = Session(channel, make_workshop=IdleWorkshop)  # type: ignore[arg-type]
    session.infer(np.full((size, *architecture.input.shape), architecture.input.low))
    ledger = channel.meter.take()
    session.close()
    return ledger


class Rehearsal:
    """A channel with nobody at its other end."""

    timeout_s = 0.0

    def __init__(self, architecture: Architecture) -> None:
        self._architecture, self._number = architecture, 0
        self.meter = Meter()
        self.part, self.ledger = self.meter.part, self.meter.ledger

    def send(self, message: NDArray[Any]) -> None:
        self.meter.sent(FRAME.size + message.nbytes)

    def receive(self, size: int) -> Bytes:
        self.meter.received(FRAME.size + size)
        return np.zeros(size, np.uint8)

    def say(self, message: msgspec.Struct) -> None:
        self.meter.sent(FRAME.size + len(msgspec.json.encode(message)))
        if isinstance(message, Prepare):
            self._number = message.first
        elif isinstance(message, Infer):
            self._number = message.number

    def hear(self, kind: type[T], timeout_s: float | None = None) -> T:
        said: msgspec.Struct = Ready(self._number)
        if kind is Welcome:
            said = Welcome(PROTOCOL, fresh_nonce(), self._architecture.text.decode())
        self.meter.received(FRAME.size + len(msgspec.json.encode(said)))
        return said  # type: ignore[return-value]

    def complain(self, sentence: str) -> None: ...

    def close(self, flush: bool = True) -> None: ...


class IdleWorkshop(ClientWorkshop):
    """A workshop whose keys are zeros and whose transfers are none."""

    def __init__(self, plan: Plan, session: str) -> None:
        super().__init__(plan, session)
        self.store = IdleStore(bytes.fromhex(session), plan.architecture.ring)

    @cached_property
    def _linear(self) -> Any:
        return IdleLinear(self._plan.architecture.ring, layer_shapes(self._plan))


class IdleLinear:
    """Has the sizes of `LinearClient`'s messages."""

    def __init__(self, ring: Ring, shapes: list[LayerShape]) -> None:
        self._layers, self._ring = Layers.of(ring, shapes), ring
        self.reply_size = self._layers.reply_size

    def public_key(self) -> Bytes:
        return np.zeros(key_size(self._layers), np.uint8)

    def request(self, index: int, mask: Residues) -> Bytes:
        return np.zeros(self._layers.request_size(index), np.uint8)

    def finish(self, index: int, reply: Bytes) -> Residues:
        return np.zeros(self._layers.maps[index].packing.shape.output, self._ring.dtype)


class IdleStore(Store):
    """Has the client's kinds of material and the sizes of the messages that make them."""

    def _set_up(self, channel: Channel, role: Role, name: str) -> extension.Receiver | extension.Sender:
        both, sums = 2 * base_ot.POINT * extension.BITS, 2 * base_ot.KEY * extension.BITS
        none: Any = None
        if name == "down":  # the client receives: it sends the base transfers, and the sums of its trees
            channel.receive(both)
            channel.send(np.zeros(base_ot.POINT, np.uint8))
            channel.send(np.zeros(sums, np.uint8))
            return IdleReceiver(none, self._field)
        channel.send(np.zeros(both, np.uint8))
        channel.receive(base_ot.POINT)
        channel.receive(sums)
        multiples = np.zeros((16, 2), np.uint64)
        return IdleSender(none, self._field, np.zeros(extension.BITS // self._field, np.uint8), multiples)


class IdleReceiver(extension.Receiver):
    """Says as much as a receiver of transfers."""

    def extend(self, channel: Channel, words: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        channel.send(np.zeros((extension.BITS // self.field - 1, words), np.uint64))
        self.used += 64 * words
        return np.zeros(words, np.uint64), np.zeros((extension.BITS, words), np.uint64)


class IdleSender(extension.Sender):
    """Hears as much as a sender of transfers."""

    def extend(self, channel: Channel, words: int) -> NDArray[np.uint64]:
        channel.receive((extension.BITS // self.field - 1) * words * 8)
        self.used += 64 * words
        return np.zeros((extension.BITS, words), np.uint64)

"""The online phase: the plan carried out on shares, for one picture or for many in one set of rounds.

Security: semi-honest. The server sees x - r with r uniform and used once, and messages of the non-linear protocols; the
client sees messages of those, and of the last tensor the server's share. All sizes follow from plan and batch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from assay.integer import graph as g
from assay.private import linear, nonlinear
from assay.private.architecture import LINEAR
from assay.private.channel import Channel
from assay.private.local import rearranged
from assay.private.party import Party
from assay.private.ring import Residues, Ring
from assay.private.steps import Local, Open, Plan, Product, Reveal, Secure, Tick, no_tick


class Side(Protocol):
    """What one party does where the two do different things."""

    adds_constants: bool

    def open(self, node: int, share: Residues) -> None:
        """Its part in opening x - r."""

    def product(self, step: Product) -> Residues:
        """Its share of a linear layer's tensor."""

    def reveal(self, share: Residues) -> NDArray[np.int64] | None:
        """Its part in telling the client the answer."""


@dataclass(slots=True)
class ClientSide:
    """Masks by tensor and W·r - s by node, of the pictures together: `n …`."""

    channel: Channel
    ring: Ring
    masks: dict[int, Residues]
    products: dict[int, Residues]
    adds_constants: bool = False

    def open(self, node: int, share: Residues) -> None:
        self.channel.send(packed(self.ring, share - self.masks.pop(node)))

    def product(self, step: Product) -> Residues:
        return self.products.pop(step.node)

    def reveal(self, share: Residues) -> NDArray[np.int64]:
        other = received(self.channel, self.ring, share.shape)
        return self.ring.signed(share + other)


@dataclass(slots=True)
class ServerSide:
    """The weights, and s by node, of the pictures together."""

    channel: Channel
    ring: Ring
    nodes: tuple[g.Node, ...]
    blinds: dict[int, Residues]
    opened: dict[int, Residues] = field(default_factory=dict)
    adds_constants: bool = True

    def open(self, node: int, share: Residues) -> None:
        masked = share + received(self.channel, self.ring, share.shape)
        masked &= masked.dtype.type(self.ring.mask)
        self.opened[node] = masked

    def product(self, step: Product) -> Residues:
        node = self.nodes[step.node]
        assert isinstance(node, LINEAR)  # the plan has no other products
        return linear.apply(self.ring, node, self.opened[node.input], self.blinds.pop(step.node))

    def reveal(self, share: Residues) -> None:
        self.channel.send(packed(self.ring, share))


def run(
    plan: Plan, nodes: tuple[g.Node, ...], party: Party, side: Side, first: Residues, tick: Tick = no_tick
) -> NDArray[np.int64] | None:
    """All steps. Returns the outputs `n k` to the client, None to the server.

    Args:
        nodes: the network's for the server, the architecture's for the client.
        first: the party's share of the pictures.

    Raises:
        ProtocolError: if the other party does not keep to the protocol.
    """
    values: dict[int, Residues] = {0: first}
    bounds = plan.architecture.bounds
    result = None
    for index, step in enumerate(plan.steps):
        with party.channel.part(f"online/{step.node}"):
            match step:
                case Open():
                    side.open(step.node, values[step.node])
                case Product():
                    values[step.node] = side.product(step)
                case Local():
                    node = nodes[step.node]
                    given = [values[i] for i in node.inputs]
                    values[step.node] = rearranged(node, given, party.ring, side.adds_constants)
                case Secure():
                    node = plan.architecture.nodes[step.node]
                    source = plan.source(step.node)
                    values[step.node] = nonlinear.compute(party, node, bounds[source], values[source])
                case Reveal():
                    result = side.reveal(values[step.node])
        tick("online", index + 1, len(plan.steps))
        _forget(values, plan.last_use, index)
    return result


def _forget(values: dict[int, Residues], last_use: Mapping[int, int], index: int) -> None:
    for node in [node for node in values if last_use.get(node, index) <= index]:
        del values[node]


def zero_share(plan: Plan, size: int) -> Residues:
    """The server's share of pictures that the client holds."""
    return np.zeros((size, *plan.architecture.shapes[0]), plan.architecture.ring.dtype)


def packed(ring: Ring, residues: Residues) -> NDArray[np.uint8]:
    """In as few whole bytes a value as the ring needs; what is above 2^k is dropped."""
    width = -(-ring.bits // 8)
    reduced = np.ascontiguousarray(residues) & residues.dtype.type(ring.mask)
    data: NDArray[np.uint8] = reduced.view(np.uint8).reshape(-1, residues.itemsize)[:, :width]
    return data


def received(channel: Channel, ring: Ring, shape: tuple[int, ...]) -> Residues:
    """Residues of this shape from the next message."""
    width = -(-ring.bits // 8)
    count = int(np.prod(shape))
    words = np.zeros((count, np.dtype(ring.dtype).itemsize), np.uint8)
    words[:, :width] = channel.receive(count * width).reshape(count, width)
    return (words.view(ring.dtype) & np.asarray(ring.mask, ring.dtype)).reshape(shape)

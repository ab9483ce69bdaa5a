"""The offline phase: material for one inference each, made before its picture exists, and used once.

For each tensor that enters linear layers the client draws a mask r and sends it encrypted; the server answers with
W·r - s, for s of its own, encrypted again. Then both make the oblivious transfers of all non-linear layers. Nothing is
written to a disk: what a party loses with its memory is made anew.

Source: Delphi (Mishra et al., USENIX Security 2020), section 4.1.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from assay.integer import graph as g
from assay.private import nonlinear
from assay.private.architecture import LINEAR
from assay.private.channel import Channel, ProtocolError
from assay.private.linear import Layers, LayerShape, LinearClient, LinearServer, LinearSession
from assay.private.ot_store import Demand, Store
from assay.private.profile import TRANSFERS
from assay.private.ring import Residues, Ring
from assay.private.seal import DEGREE
from assay.private.steps import Plan, Tick, no_tick
from assay.private.words import packed_size


@dataclass(slots=True)
class ClientMaterial:
    """Of one inference: masks by tensor, W·r - s by node, each `n …`. The transfers are in the session's store."""

    size: int
    masks: dict[int, Residues]
    products: dict[int, Residues]


@dataclass(slots=True)
class ServerMaterial:
    """Of one inference: s by node, `n …`."""

    size: int
    blinds: dict[int, Residues]


Material = TypeVar("Material", ClientMaterial, ServerMaterial)


@dataclass(slots=True)
class Shelf(Generic[Material]):
    """Material by number; a number is given once in a session, and what is taken is gone from here."""

    items: dict[int, Material] = field(default_factory=dict)
    next: int = 0

    def put(self, material: Material) -> int:
        self.items[self.next] = material
        self.next += 1
        return self.next - 1

    def take(self, number: int, size: int) -> Material:
        """The material of this number.

        Raises:
            ProtocolError: if it was used, was never made, or is for another number of pictures, and is then still here.
        """
        material = self.items.get(number)
        if material is None:
            raise ProtocolError(f"there is no material {number} in this session: it is made once and used once")
        if material.size != size:
            raise ProtocolError(f"material {number} is for {material.size} pictures, not {size}")
        return self.items.pop(number)

    def of_size(self, size: int) -> int | None:
        """The first number whose material is for so many pictures."""
        return next((number for number, material in self.items.items() if material.size == size), None)


def demand(plan: Plan, size: int) -> Demand:
    """All oblivious transfers of one inference of `size` pictures."""
    total = Demand()
    for node in plan.secure:
        total = total + demand_of(plan, node, size)
    return total


def demand_of(plan: Plan, node: int, size: int) -> Demand:
    """Those of one node."""
    architecture, source = plan.architecture, plan.source(node)
    shape = (size, *architecture.shapes[source])
    return nonlinear.demand_of(architecture.nodes[node], architecture.bounds[source], architecture.ring, shape)


def uniform(ring: Ring, shape: tuple[int, ...]) -> Residues:
    """Fresh residues from the operating system's generator."""
    count = int(np.prod(shape))
    words = np.frombuffer(os.urandom(count * np.dtype(ring.dtype).itemsize), ring.dtype)
    return (words & np.asarray(ring.mask, ring.dtype)).reshape(shape)


def transfers(plan: Plan) -> dict[int, int]:
    """How many correlated transfers each non-linear node takes for one picture."""
    ring = plan.architecture.ring
    return {node: sum(demand_of(plan, node, 1).correlated(ring)) for node in plan.secure}


def material_bytes(plan: Plan, size: int) -> int:
    """What a server keeps of one inference until it is used."""
    word = np.dtype(plan.architecture.ring.dtype).itemsize
    needed = demand(plan, size)
    words = sum(plan.values(node) for node in plan.linear) * size + 2 * (needed.down + needed.up + needed.products)
    return word * words + 8 * (needed.digits + 3 * needed.singles + 5 * needed.doubles)


class ClientWorkshop:
    """Where a client makes the material of a session: one key pair, one store of transfers."""

    def __init__(self, plan: Plan, session: str) -> None:
        self._plan = plan
        self.store = Store(bytes.fromhex(session), plan.architecture.ring)

    @cached_property
    def _linear(self) -> LinearClient:
        return LinearClient(self._plan.architecture.ring, layer_shapes(self._plan))

    def hand_over_key(self, channel: Channel) -> None:
        """Once a session, before anything is made."""
        if self._plan.linear:
            channel.send(self._linear.public_key())

    def make(self, channel: Channel, size: int, tick: Tick = no_tick) -> ClientMaterial:
        """Material for one inference. Masks are sent while the server still works on those of layers before."""
        plan, shapes, ring = self._plan, self._plan.architecture.shapes, self._plan.architecture.ring
        masks = {node: uniform(ring, (size, *shapes[node])) for node in plan.masked}
        products = {node: np.empty((size, *shapes[node]), ring.dtype) for node in plan.linear}
        work = [(picture, layer, node) for picture in range(size) for layer, node in enumerate(plan.linear)]
        for turn in range(len(work) + AHEAD):
            if turn < len(work):
                picture, layer, node = work[turn]
                with channel.part(f"offline/{node}"):
                    channel.send(self._linear.request(layer, masks[plan.source(node)][picture]))
            if 0 <= turn - AHEAD < len(work):
                picture, layer, node = work[turn - AHEAD]
                with channel.part(f"offline/{node}"):
                    reply = channel.receive(self._linear.reply_size(layer))
                    products[node][picture] = self._linear.finish(layer, reply)
                tick("linear layers", turn - AHEAD + 1, len(work))
        with channel.part(TRANSFERS):
            tick("oblivious transfers", 0, 1)
            self.store.prepare(channel, "client", demand(plan, size))
            tick("oblivious transfers", 1, 1)
        return ClientMaterial(size, masks, products)


class ServerWorkshop:
    """Where a server makes the material of one session."""

    def __init__(self, plan: Plan, linear: LinearServer, session: str) -> None:
        self._plan, self._linear = plan, linear
        self._session: LinearSession | None = None
        self.store = Store(bytes.fromhex(session), plan.architecture.ring)

    def take_key(self, channel: Channel) -> None:
        """Once a session, before anything is made."""
        if self._plan.linear:
            self._session = self._linear.session(channel.receive(key_size(self._linear.layers)))

    def make(self, channel: Channel, size: int) -> ServerMaterial:
        """Material for one inference."""
        plan, shapes = self._plan, self._plan.architecture.shapes
        blinds = {node: np.empty((size, *shapes[node]), plan.architecture.ring.dtype) for node in plan.linear}
        for picture in range(size):
            for layer, node in enumerate(plan.linear):
                assert self._session is not None  # the key was taken
                request = channel.receive(self._linear.request_size(layer))
                reply, blinds[node][picture] = self._session.answer(layer, request)
                channel.send(reply)
        self.store.prepare(channel, "server", demand(plan, size))
        return ServerMaterial(size, blinds)


def layer_shapes(plan: Plan) -> list[LayerShape]:
    """Of the linear layers, in order."""
    architecture, found = plan.architecture, []
    for index in plan.linear:
        node = architecture.nodes[index]
        assert isinstance(node, LINEAR)  # the plan counts no others
        found.append(LayerShape.of(node, architecture.shapes[node.input], architecture.weight_bits))
    return found


def linear_server(plan: Plan, nodes: Sequence[g.Node]) -> LinearServer:
    """The server's part in the linear layers of a plan, `nodes` being those of the network, with its weights.

    Raises:
        ModelError: if no parameters hide the weights of such layers.
    """
    architecture = plan.architecture
    linear: list[Any] = [nodes[i] for i in plan.linear]  # the plan counts no others
    inputs = [architecture.shapes[plan.source(i)] for i in plan.linear]
    return LinearServer(architecture.ring, linear, inputs, architecture.weight_bits)


def key_size(layers: Layers) -> int:
    """Bytes of a client's public key."""
    return sum(packed_size(2 * DEGREE, prime.bit_length()) for prime in layers.scheme.all_primes)


AHEAD = 2
"""Layers whose masks are sent before the reply for an earlier one is read."""

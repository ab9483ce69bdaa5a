"""One client's session, as the server sees it: hello, then preparing and answering by turns until the client leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from assay.integer import IntegerNetwork
from assay.integer.threads import one_blas_thread
from assay.private.architecture import LINEAR, describe
from assay.private.channel import ProtocolError
from assay.private.limits import Allowance
from assay.private.linear import apply
from assay.private.messages import (
    PROTOCOL,
    REQUESTS,
    Bye,
    Hello,
    Infer,
    Prepare,
    Ready,
    Request,
    Welcome,
    fresh_nonce,
    session_name,
)
from assay.private.offline import ServerMaterial, ServerWorkshop, Shelf, linear_server, material_bytes
from assay.private.online import ServerSide, run, zero_share
from assay.private.ot_store import Store
from assay.private.party import Party
from assay.private.steps import Plan
from assay.private.transport import SocketChannel
from assay.private.warming import warm_up

Log = Callable[[str], None]


class Provider:
    """What all sessions share: the network, made ready once."""

    def __init__(self, network: IntegerNetwork) -> None:
        warm_up()
        self.nodes = network.nodes
        self.plan = Plan(describe(network))
        self.linear = linear_server(self.plan, self.nodes)
        for index in self.plan.linear:
            self._lay_out(index)

    def _lay_out(self, index: int) -> None:
        """Multiply once, so that weights are laid out for that before the first client waits."""
        architecture, node = self.plan.architecture, self.nodes[index]
        assert isinstance(node, LINEAR)  # the plan counts no others
        x, y = (np.zeros((1, *architecture.shapes[i]), architecture.ring.dtype) for i in (node.input, index))
        apply(architecture.ring, node, x, y)


@dataclass(slots=True)
class Conversation:
    """A session.

    Attributes:
        who: the client, for limits by client: a name that its certificate proves.
        resting: a context around the wait for a request.
    """

    provider: Provider
    channel: SocketChannel
    allowance: Allowance
    who: str
    resting: Callable[[SocketChannel], AbstractContextManager[None]]
    log: Log
    name: str = ""
    shelf: Shelf[ServerMaterial] = field(default_factory=Shelf)

    def run(self) -> None:
        """Until the client says goodbye.

        Raises:
            ProtocolError: if it says something else than the protocol has, too much, or nothing for too long.
        """
        self._welcome()
        workshop = ServerWorkshop(self.provider.plan, self.provider.linear, self.name)
        workshop.take_key(self.channel)
        try:
            while not isinstance(request := self._next(), Bye):
                if isinstance(request, Prepare):
                    self._prepare(request, workshop)
                else:
                    self._infer(request, workshop.store)
        finally:
            workshop.store.close()
            for material in self.shelf.items.values():
                self.allowance.release(self._bytes(material.size))
            self.shelf.items.clear()

    def _next(self) -> Request:
        self.channel.meter.take()
        with self.resting(self.channel):
            request: Request = self.channel.hear(REQUESTS, self.allowance.limits.idle_s)
        if not isinstance(request, Bye) and request.session != self.name:
            raise ProtocolError("the request is of another session")
        return request

    def _welcome(self) -> None:
        hello = self.channel.hear(Hello)
        if hello.protocol != PROTOCOL:
            raise ProtocolError(f"the server speaks version {PROTOCOL} of the protocol, the client {hello.protocol}")
        ours = fresh_nonce()
        try:
            self.name = session_name(hello.nonce, ours)
        except ValueError as error:
            raise ProtocolError("the client does not name the session: a nonce has 16 bytes in hex") from error
        self.channel.say(Welcome(PROTOCOL, ours, self.provider.plan.architecture.text.decode()))

    def _prepare(self, asked: Prepare, workshop: ServerWorkshop) -> None:
        most = self.allowance.limits.pictures
        if not (1 <= asked.size <= most and 1 <= asked.batches <= MAX_BATCHES):
            raise ProtocolError(f"one inference is of 1 to {most} pictures; up to {MAX_BATCHES} are prepared at once")
        if asked.first != self.shelf.next:
            raise ProtocolError("the client counts differently what was prepared")
        size = self._bytes(asked.size)
        self.allowance.reserve(asked.batches * size)
        made = 0
        try:
            self.channel.say(Ready(asked.first))
            for _ in range(asked.batches):
                self.shelf.put(workshop.make(self.channel, asked.size))
                made += 1
        finally:
            self.allowance.release((asked.batches - made) * size)
        self.log(f"{self.who}: prepared {asked.batches} x {asked.size}")

    def _bytes(self, size: int) -> int:
        return material_bytes(self.provider.plan, size)

    def _infer(self, asked: Infer, store: Store) -> None:
        material = self.shelf.take(asked.number, asked.size)
        try:
            self.allowance.count(self.who, material.size)
            self.channel.say(Ready(asked.number))
            plan = self.provider.plan
            ring = plan.architecture.ring
            side = ServerSide(self.channel, ring, self.provider.nodes, material.blinds)
            party = Party("server", self.channel, ring, store)
            with one_blas_thread():
                run(plan, self.provider.nodes, party, side, zero_share(plan, asked.size))
        finally:
            self.allowance.release(self._bytes(material.size))
        self.log(f"{self.who}: answered {asked.size}")


MAX_BATCHES = 1024
"""Inferences that are prepared by one request."""

"""Loading compiled code before anybody waits for an answer: both parties of a tiny network, in this process, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.private.architecture import describe
from assay.private.channel import MemoryChannel, pair
from assay.private.offline import ClientWorkshop, ServerWorkshop, linear_server
from assay.private.online import ClientSide, ServerSide, run, zero_share
from assay.private.party import Party
from assay.private.steps import Plan

PATIENCE_S = 300.0
"""The first time on a machine, code is compiled."""


@cache
def warm_up() -> None:
    """Takes a second; the first time on a machine, up to a minute. Afterwards nothing is compiled or loaded."""
    network = _network()
    plan, session = Plan(describe(network)), 32 * "00"
    server, client = pair(PATIENCE_S)
    with ThreadPoolExecutor(2) as pool:
        parties = [pool.submit(_serve, plan, network, session, server), pool.submit(_ask, plan, session, client)]
        for party in parties:
            party.result()


def _serve(plan: Plan, network: IntegerNetwork, session: str, channel: MemoryChannel) -> None:
    workshop = ServerWorkshop(plan, linear_server(plan, network.nodes), session)
    workshop.take_key(channel)
    material = workshop.make(channel, 1)
    side = ServerSide(channel, plan.architecture.ring, network.nodes, material.blinds)
    run(plan, network.nodes, Party("server", channel, side.ring, workshop.store), side, zero_share(plan, 1))


def _ask(plan: Plan, session: str, channel: MemoryChannel) -> None:
    workshop = ClientWorkshop(plan, session)
    workshop.hand_over_key(channel)
    material = workshop.make(channel, 1)
    side = ClientSide(channel, plan.architecture.ring, material.masks, material.products)
    run(plan, plan.architecture.nodes, Party("client", channel, side.ring, workshop.store), side, zero_share(plan, 1))


def _network() -> IntegerNetwork:
    """One of each kind of step."""
    one = np.ones((1, 1, 1, 1), np.int64)
    nodes = (
        g.Input((1, 2, 2)),
        g.Conv2d(input=0, weight=one, bias=np.zeros(1, np.int64)),
        g.Requantise(input=1, shift=2, low=-8, high=7),
        g.MaxPool(input=2, kernel=(2, 2), stride=(2, 2)),
        g.Square(input=3),
        g.Requantise(input=4, shift=1, low=0, high=7, start=0, stop=1),
        g.Flatten(input=5),
        g.Linear(input=6, weight=one[0, 0], bias=np.zeros(1, np.int64)),
        g.ReLU(input=7, start=0, stop=1),
    )
    return IntegerNetwork(nodes, ("only",), 1.0)

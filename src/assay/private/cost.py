"""What private inference of a network will cost, before anybody deploys it: exact bytes and rounds, predicted seconds.

Bytes, rounds and messages are those of a rehearsal. Seconds are a sum over units of work (rounds, transfers of each
kind, products), times what a unit took when this machine was calibrated, plus what the link takes; of encrypted linear
layers they are what the two parties take side by side (`pipeline`). The server's work in a linear layer online is
waited for, and counted, in the layer after it, as it is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import nan

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.integer.shapes import multiplications
from assay.private.architecture import LINEAR, Architecture, describe
from assay.private.channel import Traffic
from assay.private.emulator import Link
from assay.private.offline import demand, demand_of, transfers
from assay.private.ot_store import Demand
from assay.private.pipeline import Rates, Work, layers_of, seconds_of, waited
from assay.private.profile import TRANSFERS, Profile, profile
from assay.private.rehearsal import rehearse
from assay.private.steps import Open, Plan, Product, Reveal, Secure

BEGINNING = ("base", "start")
"""Units of what a session does only before its first inference."""


def predict(
    network: IntegerNetwork | Architecture, rates: Rates | None, link: Link | None = None, size: int = 1
) -> Profile:
    """The profile that a session will have that prepares and infers `size` pictures once.

    Args:
        rates: of this machine (`calibration`); without them, seconds are not numbers.
        link: what joins the parties; None for one machine.

    Raises:
        ModelError: if two parties cannot compute such a network.
    """
    architecture = network if isinstance(network, Architecture) else describe(network)
    plan = Plan(architecture)
    ledger = rehearse(architecture, size)
    work = work_of(plan, size, ledger)
    spent = {} if rates is None else waited(layers_of(plan), rates, size)
    linear = {f"offline/{node}": seconds for node, seconds in spent.items()}
    for part, traffic in ledger.items():
        computing = nan if rates is None else linear.get(part, 0.0) + seconds_of(work.get(part, {}), rates)
        traffic.seconds = _seconds(part, traffic, computing, link)
    return profile(architecture, ledger, transfers(plan))


def _seconds(part: str, traffic: Traffic, computing: float, link: Link | None) -> float:
    """In a linear layer offline the parties compute while others' bytes are under way; elsewhere they take turns."""
    if link is None:
        return computing
    if linear_part(part):
        return max(computing, link.seconds(max(traffic.sent, traffic.received), 0))
    return computing + link.seconds(traffic.bytes, traffic.rounds)


def linear_part(part: str) -> bool:
    """Whether a part of a ledger is of one encrypted linear layer."""
    return part.startswith("offline/") and part.removeprefix("offline/").isdigit()


def work_of(plan: Plan, size: int, ledger: Mapping[str, Traffic]) -> dict[str, Work]:
    """Units of work by part of a session's ledger, but for encrypted linear layers (`pipeline`).

    Args:
        ledger: tells how often each part waits, which is most of what a protocol on few values takes.
    """
    return {**_offline_work(plan, size), **_online_work(plan, size, ledger)}


def _offline_work(plan: Plan, size: int) -> dict[str, Work]:
    return {
        "offline/keys": {"keys": 1},
        "offline/hello": {"hello": 1},
        "offline/request": {"start": 1},
        TRANSFERS: {"base": 1, "transfers": sum(demand(plan, size).correlated(plan.architecture.ring))},
    }


def _used(needed: Demand) -> dict[str, float]:
    return {"digits": needed.digits, "words": needed.down + needed.up, "squares": needed.products}


def _online_work(plan: Plan, size: int, ledger: Mapping[str, Traffic]) -> dict[str, Work]:
    work: dict[str, dict[str, float]] = {
        "online/request": {"request": 1},
        "online/between": {"between": len(plan.steps)},
    }
    products: Counter[str] = Counter()  # the server's, since a party last waited
    for step in plan.steps:
        name = f"online/{step.node}"
        part = work.setdefault(name, {})  # a tensor is made under its name, and opened
        match step:
            case Open():
                part["opened"] = size * plan.values(step.node)
            case Product():
                products.update(_product(plan.architecture, step.node, size))
            case Secure():
                part |= {"rounds": ledger[name].rounds, **products, **_used(demand_of(plan, step.node, size))}
                products.clear()
            case Reveal():
                part |= {"reveal": 1, **products}
    return {part: units for part, units in work.items() if units}


def _product(architecture: Architecture, position: int, size: int) -> dict[str, int]:
    """Products of a weight and a value in one linear layer, and values that a convolution lays out for them."""
    node, shape = architecture.nodes[position], architecture.shapes[position]
    assert isinstance(node, LINEAR)  # the plan has no other products
    products = size * multiplications(node, shape)
    if isinstance(node, g.Linear):
        return {"multiply": products}
    return {"multiply": products, "laid_out": products * node.groups // len(node.weight)}

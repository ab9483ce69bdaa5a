"""How long a client waits for encrypted linear layers, which the two parties work on side by side.

The client encrypts masks for layers to come while the server multiplies those of layers before, so no sum over layers
tells the seconds: in deep networks the server alone counts, in shallow ones the parties wait for each other. Here the
loop of `ClientWorkshop.make` is followed with the time that each call takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from assay.integer import IntegerNetwork
from assay.private.linear import Layers, LinearClient
from assay.private.offline import AHEAD, layer_shapes, linear_server, uniform
from assay.private.steps import Plan

Work = Mapping[str, float]
"""Unit of work to how many of them."""

Rates = Mapping[str, float]
"""Unit of work to seconds for one."""


def seconds_of(work: Work, rates: Rates) -> float:
    """What so much work takes."""
    return sum(count * rates[unit] for unit, count in work.items())


@dataclass(frozen=True, slots=True)
class Layer:
    """Units of work of one linear layer for one picture.

    Attributes:
        ask: the client encrypts masks. answer: the server multiplies. finish: the client decrypts.
    """

    node: int
    ask: Work
    answer: Work
    finish: Work


def layers_of(plan: Plan) -> list[Layer]:
    """The linear layers, in order."""
    found = []
    if plan.linear:
        for node, maps in zip(plan.linear, Layers.of(plan.architecture.ring, layer_shapes(plan)).maps, strict=True):
            cut = maps.packing
            products = prod(cut.tiles) * cut.products
            answer = {"received": cut.requests, "products": products, "hidden": cut.replies}
            found.append(Layer(node, {"requests": cut.requests}, answer, {"replies": cut.replies}))
    return found


def waited(layers: Sequence[Layer], rates: Rates, size: int) -> dict[int, float]:
    """Seconds that the client spends in each layer's part, by node, for `size` pictures one after the other."""
    spent = {layer.node: 0.0 for layer in layers}
    work = [layer for _ in range(size) for layer in layers]
    client = server = 0.0
    asked: list[float] = []
    for turn in range(len(work) + AHEAD):
        if turn < len(work):
            seconds = seconds_of(work[turn].ask, rates)
            client += seconds
            spent[work[turn].node] += seconds
            asked.append(client)
        if 0 <= turn - AHEAD < len(work):
            layer = work[turn - AHEAD]
            server = max(server, asked[turn - AHEAD]) + seconds_of(layer.answer, rates)
            before, client = client, max(client, server) + seconds_of(layer.finish, rates)
            spent[layer.node] += client - before
    return spent


def alone(network: IntegerNetwork, plan: Plan, rounds: int = 3) -> dict[str, list[tuple[Work, float]]]:
    """Work and seconds of each call, by `ask`, `answer` and `finish`, with both parties in this thread.

    The first round is left out: it touches code and memory for the first time.
    """
    architecture, layers = plan.architecture, layers_of(plan)
    client = LinearClient(architecture.ring, layer_shapes(plan))
    server = linear_server(plan, network.nodes).session(client.public_key())
    samples: dict[str, list[tuple[Work, float]]] = {"ask": [], "answer": [], "finish": []}
    for turn in range(1 + rounds):
        for index, layer in enumerate(layers):
            mask = uniform(architecture.ring, architecture.shapes[plan.source(layer.node)])
            request, ask = _timed(client.request, index, mask)
            (reply, _), answer = _timed(server.answer, index, request)
            _, finish = _timed(client.finish, index, reply)
            if turn:
                samples["ask"].append((layer.ask, ask))
                samples["answer"].append((layer.answer, answer))
                samples["finish"].append((layer.finish, finish))
    return samples


def _timed(call: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    begun = time.perf_counter()
    return call(*given), time.perf_counter() - begun

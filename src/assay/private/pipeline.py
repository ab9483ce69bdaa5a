"""How long a client waits for encrypted linear layers, which the two parties work on side by side.

The client encrypts masks for layers to come while the server multiplies those of layers before, so no sum over layers
tells the seconds: in deep networks the server alone counts, in shallow ones the parties wait for each other. Here the
loop of `ClientWorkshop.make` is followed with the time that each call takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.integer import IntegerNetwork
from assay.private.linear import Layers, LinearClient, LinearServer
from assay.private.offline import AHEAD, layer_shapes, uniform
from assay.private.steps import Plan

Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """Units of work of one linear layer for one picture.

    Attributes:
        ask: the client encrypts masks. answer: the server multiplies. finish: the client decrypts.
    """

    node: int
    ask: Counts
    answer: Counts
    finish: Counts


def layers_of(plan: Plan) -> list[Layer]:
    """The linear layers, in order."""
    found = []
    if plan.linear:
        for node, maps in zip(plan.linear, Layers.of(plan.architecture.ring, layer_shapes(plan)).maps, strict=True):
            cut = maps.packing
            tiles = cut.tiles[0] * cut.tiles[1]
            products = tiles * sum(len(cut.partners(block)) for block in range(cut.output_blocks))
            answer = {"received": cut.requests, "products": products, "hidden": cut.replies}
            found.append(Layer(node, {"requests": cut.requests}, answer, {"replies": cut.replies}))
    return found


def waited(layers: Sequence[Layer], rates: Mapping[str, float], size: int) -> dict[int, float]:
    """Seconds that the client spends in each layer's part, by node, for `size` pictures one after the other."""
    spent = {layer.node: 0.0 for layer in layers}
    work = [layer for _ in range(size) for layer in layers]
    client = server = 0.0
    asked: list[float] = []
    for turn in range(len(work) + AHEAD):
        if turn < len(work):
            seconds = _seconds(work[turn].ask, rates)
            client += seconds
            spent[work[turn].node] += seconds
            asked.append(client)
        if 0 <= turn - AHEAD < len(work):
            layer = work[turn - AHEAD]
            server = max(server, asked[turn - AHEAD]) + _seconds(layer.answer, rates)
            before, client = client, max(client, server) + _seconds(layer.finish, rates)
            spent[layer.node] += client - before
    return spent


def _seconds(counts: Counts, rates: Mapping[str, float]) -> float:
    return sum(count * rates[unit] for unit, count in counts.items())


def alone(network: IntegerNetwork, plan: Plan, rounds: int = 3) -> dict[str, list[tuple[Counts, float]]]:
    """Counts and seconds of each call, by `ask`, `answer` and `finish`, with both parties in this thread.

    The first round is left out: it touches code and memory for the first time.
    """
    architecture, ring = plan.architecture, plan.architecture.ring
    nodes: list[Any] = [network.nodes[i] for i in plan.linear]
    inputs = [architecture.shapes[plan.source(i)] for i in plan.linear]
    client = LinearClient(ring, layer_shapes(plan))
    server = LinearServer(ring, nodes, inputs, architecture.weight_bits).session(client.public_key())
    samples: dict[str, list[tuple[Counts, float]]] = {"ask": [], "answer": [], "finish": []}
    for turn in range(1 + rounds):
        for index, layer in enumerate(layers_of(plan)):
            mask = uniform(ring, inputs[index])
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

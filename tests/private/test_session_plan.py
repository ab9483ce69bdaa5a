"""What the client is told, and the steps that both parties derive from it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_networks import NETWORKS, network, pictures, weights

from assay.errors import ModelError
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.private.architecture import describe, read
from assay.private.local import rearranged
from assay.private.ring import Ring
from assay.private.steps import Local, Open, Plan, Product, Reveal, Secure


@pytest.fixture(params=list(NETWORKS))
def any_network(request: pytest.FixtureRequest) -> IntegerNetwork:
    return NETWORKS[request.param]


def test_the_architecture_survives_its_text(any_network: IntegerNetwork) -> None:
    said = describe(any_network)
    heard = read(said.text)
    assert heard.digest == said.digest
    assert heard.shapes == any_network.shapes
    assert heard.ring == said.ring


def test_every_value_lies_in_its_public_interval_and_in_the_ring(any_network: IntegerNetwork) -> None:
    said = describe(any_network)
    for values, (low, high) in zip(any_network.trace(pictures(any_network, 50)).values, said.intervals, strict=True):
        assert low <= values.min()
        assert values.max() <= high
        assert -(1 << (said.ring.bits - 1)) <= low
        assert high < 1 << (said.ring.bits - 1)
    assert any_network.ring_bits <= said.ring.bits <= any_network.ring_bits + 1


def scaled(of: IntegerNetwork) -> IntegerNetwork:
    """Other weights, the same architecture: each moved by one, within the same bits."""
    nodes = []
    for node in of.nodes:
        if isinstance(node, g.Conv2d | g.Linear):
            moved = np.where(node.weight > 0, node.weight - 1, node.weight)
            node = replace(node, weight=moved)
        nodes.append(node)
    return IntegerNetwork(tuple(nodes), of.class_names, of.output_scale)


def test_the_text_tells_of_weights_nothing_but_how_many_bits_values_take(any_network: IntegerNetwork) -> None:
    one, other = (json.loads(describe(n).text) for n in (any_network, scaled(any_network)))
    assert one.pop("bits") != [] != other.pop("bits")
    assert one == other


def test_no_client_node_holds_a_weight(any_network: IntegerNetwork) -> None:
    for node in describe(any_network).nodes:
        for name in ("weight", "bias", "value"):
            assert not np.any(getattr(node, name, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"graph": "{}"}, {"graph": "["}, {"weights": {}}, {"weights": {"2": [6, 0]}},
        {"weights": {"2": [1 << 40, 1 << 40], "4": [3, 6]}}, {"weights": {"2": [6], "4": [3, 6]}},
        {"bits": []}, {"bits": [9, 9, 65, 9, 9]}, {"bits": [9, 9, 60, 9, 9]}, {"bits": [0] * 5}, {"weight_bits": {}},
        {"weight_bits": 200}, {"more": 1},
        {"weights": {"2": [1 << 20, 64], "x": [-1, 1 << 26]}}, {"weights": {"2": [6, 4], "4": [3, 6], "99": [1]}},
        {"weights": {"2": [-6, -4], "4": [3, 6]}},
    ],
)  # fmt: skip
def test_an_architecture_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    said = json.loads(describe(NETWORKS["perceptron"]).text) | change
    with pytest.raises(ModelError, match="cannot be used"):
        read(json.dumps(said).encode())


def test_a_network_beyond_48_bits_is_refused_with_the_name_of_the_layer() -> None:
    wide = network(
        g.Input((1, 1, 1)),
        g.Flatten(input=0),
        g.Linear(input=1, weight=weights(2, 1, largest=1) + (1 << 29), bias=weights(2), name="wide"),
        g.Add(inputs=(2,), shifts=(20,), name="wider"),
        g.Linear(input=3, weight=weights(2, 2, largest=1), bias=weights(2)),
    )
    with pytest.raises(ModelError, match=r"layer wider \(add\) needs values of 5. bits"):
        describe(wide)


def test_a_tensor_is_opened_once_and_before_every_layer_that_reads_it() -> None:
    plan = Plan(describe(NETWORKS["squares"]))
    assert plan.steps == (
        Secure(1), Open(1), Product(2, 0), Open(2), Product(3, 1), Product(4, 2), Local(5), Secure(6), Secure(7),
        Secure(8), Local(9), Open(9), Product(10, 3), Reveal(10),
    )  # fmt: skip
    assert plan.masked == (1, 2, 9)


def shares(values: g.Ints, ring: Ring, seed: int) -> tuple[np.ndarray, np.ndarray]:
    client = ring.reduce(np.random.default_rng(seed).integers(0, 1 << 62, values.shape))
    return ring.reduce(values - client.astype(np.int64)), client


def test_local_steps_on_shares_give_shares_of_the_result(any_network: IntegerNetwork) -> None:
    plan = Plan(describe(any_network))
    ring, values = plan.architecture.ring, any_network.trace(pictures(any_network, 3)).values
    for step in plan.steps:
        if not isinstance(step, Local):
            continue
        given = [shares(values[i], ring, i) for i in any_network.nodes[step.node].inputs]
        server = rearranged(any_network.nodes[step.node], [s for s, _ in given], ring, True)
        client = rearranged(plan.architecture.nodes[step.node], [c for _, c in given], ring, False)
        assert max(server.max(), client.max()) <= ring.mask
        assert np.array_equal(ring.signed(ring.reduce(server.astype(np.int64) + client)), values[step.node])

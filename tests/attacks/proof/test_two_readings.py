"""Architectures that one verifier could read as another network than the other does: neither accepts any of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof import HiddenNetwork, VerificationError, accept_commitment, prove, standalone, verify
from assay.proof.hidden import commitment_of, describe

NONCE = bytes(range(16))
X = np.random.default_rng(0).integers(0, 256, (1, 1, 4, 4)).astype(np.uint8)


def network(reduced: g.Node) -> IntegerNetwork:
    weight = np.random.default_rng(0).integers(-5, 6, (3, 4))
    nodes = (g.Input((1, 4, 4)), reduced, g.Flatten(1), g.Linear(2, weight, np.zeros(3, np.int64)))
    return IntegerNetwork(nodes, ("a", "b", "c"), 1.0)


SUBSAMPLED = network(g.Subsample(0, (2, 2)))
SUMMED = network(g.SumPool(0, (2, 2), (2, 2)))


def rewritten(change: Callable[[dict[str, Any]], object], of: IntegerNetwork = SUBSAMPLED) -> bytes:
    """The architecture of a network, with its graph changed."""
    described = json.loads(describe(of))
    graph = json.loads(described["graph"])
    change(graph)
    described["graph"] = json.dumps(graph, separators=(",", ":"))
    return json.dumps(described, separators=(",", ":")).encode()


def committed(architecture: bytes, of: IntegerNetwork = SUBSAMPLED) -> HiddenNetwork:
    """The provider's side, which says that this is what it has committed to."""
    hidden = HiddenNetwork(of)
    hidden.description, hidden.digest = architecture, commitment_of(architecture, hidden.root)
    return hidden


WORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a window that no subsample has": lambda graph: graph["nodes"][1].update(kernel=[2, 2]),
    "a shift that no linear layer has": lambda graph: graph["nodes"][3].update(shift=1),
    "padding of an input": lambda graph: graph["nodes"][0].update(padding=[0, 0, 0, 0]),
    "no stride": lambda graph: graph["nodes"][1].pop("stride"),
    "no name": lambda graph: graph["nodes"][2].pop("name"),
}
"""Nodes that say more, or less, than those of their kind."""

OTHERWISE: dict[str, Callable[[dict[str, Any]], object]] = {
    "fewer class names than outputs": lambda graph: graph["class_names"].pop(),
    "more class names than outputs": lambda graph: graph["class_names"].append("d"),
    "a whole number with a point": lambda graph: graph["nodes"][1].update(stride=[2.0, 2]),
    "keys in another order": lambda graph: graph["nodes"][1].update(name=graph["nodes"][1].pop("name")),
    "a scale that is none": lambda graph: graph.update(output_scale=-1.0),
    "another version": lambda graph: graph.update(version=2),
}


@pytest.mark.parametrize("what", WORDS | OTHERWISE)
def test_no_commitment_to_an_architecture_that_reads_two_ways_is_accepted(what: str) -> None:
    changed = rewritten((WORDS | OTHERWISE)[what])
    assert changed != describe(SUBSAMPLED)
    with pytest.raises(VerificationError):
        accept_commitment(committed(changed).to_bytes())


@pytest.mark.parametrize("what", WORDS)
@pytest.mark.parametrize("of", [SUBSAMPLED, SUMMED], ids=["subsampled", "summed"])
def test_neither_verifier_accepts_a_receipt_for_it(what: str, of: IntegerNetwork) -> None:
    hidden = committed(rewritten(WORDS[what]), of)
    _, receipt = prove(of, X, nonce=NONCE, hidden=hidden)
    with pytest.raises(VerificationError):
        verify(receipt, X, nonce=NONCE, commitment=hidden.digest)
    with pytest.raises(standalone.Rejected):
        standalone.verify(standalone.read_receipt(receipt.to_bytes()), None, hidden.digest, None, NONCE)


def test_the_architecture_as_assay_writes_it_is_accepted() -> None:
    assert rewritten(lambda graph: None) == describe(SUBSAMPLED)
    hidden = HiddenNetwork(SUBSAMPLED)
    assert accept_commitment(hidden.to_bytes()) == hidden.digest

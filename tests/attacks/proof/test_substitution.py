"""What a dishonest provider would rather do, and what `assay verify` says of it on the command line: 1, rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from assay.cli import main
from assay.integer import IntegerNetwork, save
from assay.integer import graph as g
from assay.proof import Receipt, prove

NONCE = bytes(range(16))
OLD = bytes(16)
X = np.random.default_rng(3).integers(0, 256, (2, 1, 5, 6)).astype(np.uint8)


def smaller() -> IntegerNetwork:
    """A network that is cheaper to run, for the same pictures and classes."""
    weight = np.random.default_rng(5).integers(-9, 10, (3, 30))
    nodes = (g.Input((1, 5, 6)), g.Flatten(input=0), g.Linear(input=1, weight=weight, bias=np.zeros(3, np.int64)))
    return IntegerNetwork(nodes, ("a", "b", "c"), 1.0)


def made(network: IntegerNetwork, x: np.ndarray = X, drawn: bytes = NONCE, **changes: Any) -> Receipt:
    """An honest receipt for these, and then what is put in the place of its fields."""
    return msgspec.structs.replace(prove(network, x, nonce=drawn)[1], **changes)


def other_answer(network: IntegerNetwork) -> bytes:
    """Another class wins for the first picture."""
    outputs = network.run(X)
    outputs[0, (outputs[0].argmax() + 1) % 3] = outputs[0].max() + 1
    return outputs.astype("<i8").tobytes()


SUBSTITUTED: dict[str, Callable[[IntegerNetwork], Receipt]] = {
    "a smaller model": lambda n: made(smaller()),
    "a smaller model under the right name": lambda n: made(smaller(), model=bytes.fromhex(n.digest)),
    "a smaller model's answer": lambda n: made(n, outputs=smaller().run(X).astype("<i8").tobytes()),
    "another answer": lambda n: made(n, outputs=other_answer(n)),
    "the answer to another input": lambda n: made(n, X + 1),
    "the answer to another input under our input's name": lambda n: made(n, X + 1, inputs=X.tobytes()),
    "the answer to half of the input": lambda n: made(n, X[:1]),
    "an old receipt": lambda n: made(n, X, OLD),
    "an old receipt under the new nonce": lambda n: made(n, X, OLD, nonce=NONCE),
}


def verdict(
    receipt: Receipt, network: IntegerNetwork, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, Any]:
    """Exit code and document of `assay verify`, against the agreed network, the client's pictures and nonce."""
    receipt.save(folder / "a.receipt")
    save(network, folder / "net.assay")
    np.savez(folder / "x.npz", x=X)
    words = ["--model", folder / "net.assay", "--inputs", folder / "x.npz", "--nonce", NONCE.hex(), "--json"]
    code = main(["verify", str(folder / "a.receipt"), *map(str, words)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("what", SUBSTITUTED)
def test_what_was_substituted_is_rejected(
    what: str, victim: IntegerNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = verdict(SUBSTITUTED[what](victim), victim, tmp_path, capsys)
    assert code == 1 and document["accepted"] is False and document["reason"]


def test_the_honest_receipt_is_accepted(
    victim: IntegerNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = verdict(made(victim), victim, tmp_path, capsys)
    assert code == 0 and document["accepted"] is True and document["labels"] == victim.predict(X).tolist()

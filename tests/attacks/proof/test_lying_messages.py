"""A prover that lies in one message and goes on as if it were true: no message of any step can be another.

Its challenges follow from what it said, as a real liar's would. Sum-check rounds, fraction trees, what is said about
looked-up values, maxima, merged claims, summands, weights that only the prover holds, groups of convolutions, the
combined row, opened columns and Merkle paths are all among the messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

import assay.proof.api as api
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof import HiddenNetwork, VerificationError, prove, verify
from assay.proof.field import Element, P, Words
from assay.proof.transcript import ELEMENT_BYTES, Recorder, parse_elements, to_bytes

NONCE = bytes(range(16))


class LyingRecorder(Recorder):
    """Adds 1 to one element of message number `lie`, or flips a bit of it if it is of bytes; `None` is honest."""

    lie: int | None = None
    element = 0

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def say(self, elements: Iterable[Element] | Words) -> None:
        data = to_bytes(elements)
        if len(self.messages) == self.lie:
            said = parse_elements(data)
            place = self.element % len(said)
            said[place] = said[place] + 1
            data = to_bytes(said)
        self.messages.append(f"{len(data) // ELEMENT_BYTES} elements")
        super().say_bytes(data)

    def say_bytes(self, data: bytes) -> None:
        if len(self.messages) == self.lie and data:
            place = self.element % len(data)
            data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        self.messages.append(f"{len(data)} bytes")
        super().say_bytes(data)


def grouped() -> IntegerNetwork:
    """A convolution in groups, a merged tensor, concatenation, and squares, so that every kind of message is said."""
    rng = np.random.default_rng(3)
    weights = lambda *shape: rng.integers(-9, 10, shape).astype(np.int64)  # noqa: E731
    nodes: tuple[g.Node, ...] = (
        g.Input((2, 4, 4)),
        g.Conv2d(input=0, weight=weights(6, 1, 3, 3), bias=weights(6), padding=(1, 1, 1, 1), groups=2),
        g.Requantise(input=1, shift=6, low=-128, high=127, start=2, stop=6),
        g.MaxPool(input=2, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
        g.Subsample(input=2, stride=(2, 2)),
        g.Add(inputs=(3, 4), shifts=(0, 1)),
        g.Concat(inputs=(5, 3)),
        g.Flatten(input=6),
        g.Linear(input=7, weight=weights(5, 48), bias=weights(5)),
        g.Square(input=8),
        g.Concat(inputs=(8, 9)),
        g.Linear(input=10, weight=weights(3, 10), bias=weights(3)),
    )
    return IntegerNetwork(nodes, ("a", "b", "c"), 1.0)


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    return grouped()


@pytest.fixture(scope="module")
def hidden(network: IntegerNetwork) -> HiddenNetwork:
    return HiddenNetwork(network)


@pytest.fixture
def attempt(
    network: IntegerNetwork, hidden: HiddenNetwork, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bool, int | None, int], list[str]]:
    """Prove with a lie and verify; the messages that were said."""
    made: list[LyingRecorder] = []
    pictures = np.random.default_rng(4).integers(0, 256, (3, 2, 4, 4)).astype(np.uint8)

    def make(committed: bool, lie: int | None, element: int) -> list[str]:
        def recorder() -> LyingRecorder:
            made.append(LyingRecorder())
            made[-1].lie, made[-1].element = lie, element
            return made[-1]

        monkeypatch.setattr(api, "Recorder", recorder)
        answer, receipt = prove(network, pictures, nonce=NONCE, hidden=hidden if committed else None)
        known: dict[str, object] = {"commitment": hidden.digest} if committed else {"model": network}
        verify(receipt, pictures, answer, nonce=NONCE, **known)  # type: ignore[arg-type]
        return made[-1].messages

    return make


@pytest.mark.parametrize("committed", [False, True], ids=["public", "committed"])
def test_no_message_of_a_proof_can_be_another(
    committed: bool, attempt: Callable[[bool, int | None, int], list[str]]
) -> None:
    messages = attempt(committed, None, 0)
    assert len(messages) > 150
    seen = set()
    for lie, message in enumerate(messages):
        # long runs of rounds of one kind are sampled, every other message is lied in
        if message in ("2 elements", "3 elements") and lie % 7 and messages[lie - 1] == message:
            continue
        if message != "0 bytes":
            seen.add(message)
            with pytest.raises(VerificationError):
                attempt(committed, lie, lie)
    assert len(seen) >= 8


def test_an_element_beyond_the_field_is_refused_even_where_it_stands_for_the_right_one(
    network: IntegerNetwork,
) -> None:
    """x + p is x in the field: two encodings of one proof would be two receipts."""
    pictures = np.zeros((1, 2, 4, 4), np.uint8)
    _, receipt = prove(network, pictures, nonce=NONCE)
    changed = 0
    for place in range(32, len(receipt.proof) - 8, 8 * 97):
        word = int.from_bytes(receipt.proof[place : place + 8], "little")
        if word + P < 1 << 64:
            proof = receipt.proof[:place] + (word + P).to_bytes(8, "little") + receipt.proof[place + 8 :]
            fields = {name: getattr(receipt, name) for name in receipt.__struct_fields__} | {"proof": proof}
            with pytest.raises(VerificationError):
                verify(type(receipt)(**fields), pictures, None, nonce=NONCE, model=network)
            changed += 1
    assert changed > 10

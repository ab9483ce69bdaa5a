"""`assay prove`, `verify`, `commit`, `estimate`: files in, documents and exit codes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli.commit import commit
from assay.cli.console import Common
from assay.cli.estimate import estimate
from assay.cli.prove import prove
from assay.cli.verify import verify
from assay.errors import AssayError, InputError
from assay.integer import IntegerNetwork, save
from assay.proof import standalone

NONCE = bytes(range(16)).hex()


@dataclass(frozen=True)
class Desk:
    """A folder with a network, pictures, and a receipt for them."""

    folder: Path
    network: IntegerNetwork
    x: np.ndarray

    def __getattr__(self, name: str) -> Path:
        return self.folder / {"net": "net.assay", "inputs": "x.npz", "receipt": "a.receipt"}[name]

    def out(self, name: str) -> Common:
        return Common(out=self.folder / name)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, named_network: Callable[[str], IntegerNetwork]) -> Desk:
    network = named_network("perceptron")
    made = Desk(tmp_path_factory.mktemp("desk"), network, np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4) * 7)
    save(network, made.net)
    np.savez_compressed(made.inputs, x=made.x, y=np.zeros(2, np.int64))
    prove(made.net, made.inputs, nonce=NONCE, common=made.out("a.receipt"))
    return made


def test_what_is_proven_is_accepted_with_the_same_labels(desk: Desk) -> None:
    proven = prove(desk.net, desk.inputs, nonce=NONCE, common=desk.out("b.receipt"))
    keys = {"receipt", "labels", "prove_s", "cpu_s", "receipt_bytes", "soundness_bits"}
    assert keys <= set(proven.document) and proven.exit_code == 0
    assert proven.document["labels"] == desk.network.predict(desk.x).tolist()
    found = verify(desk.folder / "b.receipt", model=desk.net, inputs=desk.inputs, nonce=NONCE)
    assert found.exit_code == 0 and found.document["accepted"] and found.document["reason"] is None
    assert found.document["labels"] == proven.document["labels"]
    assert found.document["soundness_bits"] == pytest.approx(proven.document["soundness_bits"], abs=0.1)
    assert "not zero-knowledge" in str(found.text)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: d | {"nonce": bytes(16).hex()}, 1),
        (lambda d: d | {"inputs": "other.npz"}, 1),
        (lambda d: d | {"model": "other.assay"}, 1),
        (lambda d: d | {"receipt": "tampered.receipt"}, 1),
        (lambda d: d | {"receipt": "net.assay"}, 2),
        (lambda d: d | {"inputs": None, "nonce": None, "trust_receipt_inputs": True, "allow_replay": True}, 0),
    ],
    ids=["nonce", "inputs", "model", "receipt", "no receipt", "everything trusted"],
)
def test_exit_codes_say_accepted_rejected_or_unreadable(
    desk: Desk,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    code: int,
    named_network: Callable[[str], IntegerNetwork],
) -> None:
    save(named_network("residual"), desk.folder / "other.assay")
    np.savez(desk.folder / "other.npz", x=desk.x + 1)
    data = bytearray(desk.receipt.read_bytes())
    data[-1000] ^= 1
    (desk.folder / "tampered.receipt").write_bytes(bytes(data))
    said = change({"receipt": "a.receipt", "model": "net.assay", "inputs": "x.npz", "nonce": NONCE})
    files = {key: desk.folder / said[key] for key in ("model", "inputs") if said[key] is not None}
    rest = {key: value for key, value in said.items() if key not in ("receipt", "model", "inputs")}
    found = verify(desk.folder / said["receipt"], **files, **rest)
    assert found.exit_code == code
    assert found.document["accepted"] == (code == 0)
    assert (found.document["reason"] is None) == (code == 0)


def test_a_commitment_is_written_accepted_and_enough_to_verify(desk: Desk) -> None:
    written = commit(desk.net, common=desk.out("net.commitment"))
    accepted = commit(desk.folder / "net.commitment", accept=True)
    assert accepted.document["commitment"] == written.document["commitment"]
    prove(desk.net, desk.inputs, nonce=NONCE, committed=True, common=desk.out("c.receipt"))
    common = {"commitment": accepted.document["commitment"], "inputs": desk.inputs, "nonce": NONCE}
    assert verify(desk.folder / "c.receipt", **common).exit_code == 0
    assert verify(desk.receipt, **common).exit_code == 1
    assert commit(desk.net, accept=True).exit_code == 2


def test_an_audit_is_recorded_and_accepted(desk: Desk) -> None:
    recorded = prove(desk.net, desk.inputs, audit="freivalds", common=desk.out("a.audit"))
    found = verify(desk.folder / "a.audit", model=desk.net, inputs=desk.inputs)
    assert found.exit_code == 0 and found.document["labels"] == recorded.document["labels"]
    data = bytearray((desk.folder / "a.audit").read_bytes())
    data[-3] ^= 1
    (desk.folder / "b.audit").write_bytes(bytes(data))
    assert verify(desk.folder / "b.audit", model=desk.net, inputs=desk.inputs).exit_code == 1


def test_an_estimate_foresees_the_size_of_the_receipt(desk: Desk) -> None:
    found = estimate(desk.net, batch=2).document
    assert found["receipt_bytes"] == pytest.approx(desk.receipt.stat().st_size, rel=0.1)
    assert found["prove_s"] > 0 and found["memory_bytes"] > 1 << 20


BAD: dict[str, tuple[Callable[[Desk], object], str]] = {
    "no out": (lambda d: prove(d.net, d.inputs, nonce=NONCE), "--out"),
    "no nonce": (lambda d: prove(d.net, d.inputs, common=d.out("x")), "--nonce"),
    "nonce not hex": (lambda d: prove(d.net, d.inputs, nonce="xyz", common=d.out("x")), "hex"),
    "nonce short": (lambda d: prove(d.net, d.inputs, nonce="00", common=d.out("x")), "16 to 64"),
    "no inputs file": (lambda d: prove(d.net, d.folder / "no", nonce=NONCE, common=d.out("x")), "no"),
    "network as inputs": (lambda d: prove(d.net, d.net, nonce=NONCE, common=d.out("x")), "net.assay"),
    "inputs as network": (lambda d: prove(d.inputs, d.inputs, nonce=NONCE, common=d.out("x")), "x.npz"),
    "no model": (lambda d: verify(d.receipt, inputs=d.inputs, nonce=NONCE), "--commitment"),
    "inputs left out": (lambda d: verify(d.receipt, model=d.net, nonce=NONCE), "--trust-receipt-inputs"),
    "nonce left out": (lambda d: verify(d.receipt, model=d.net, inputs=d.inputs), "--allow-replay"),
    "no receipt": (lambda d: verify(d.folder / "no", model=d.net, inputs=d.inputs, nonce=NONCE), "cannot be read"),
    "commit without out": (lambda d: commit(d.net), "--out"),
    "batch of none": (lambda d: estimate(d.net, batch=0), "at least one picture"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments_get_one_sentence_that_says_what_to_do(desk: Desk, what: str) -> None:
    call, sentence = BAD[what]
    with pytest.raises(AssayError, match=sentence) as caught:
        call(desk)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert isinstance(caught.value, InputError) or what in ("inputs as network",)


@pytest.mark.parametrize(
    ("changed", "code"),
    [({}, 0), ({"--nonce": bytes(16).hex()}, 1), ({"receipt": "x.npz"}, 2)],
    ids=["good", "replayed", "no receipt"],
)
def test_the_stand_alone_verifier_reads_the_same_files_and_agrees(
    desk: Desk, changed: dict[str, str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"--model": str(desk.net), "--inputs": str(desk.inputs), "--nonce": NONCE, "receipt": "a.receipt"} | changed
    arguments = [str(desk.folder / said.pop("receipt")), *(word for pair in said.items() for word in pair)]
    assert standalone.main(arguments) == code
    printed = capsys.readouterr().out
    assert printed.startswith(("accepted", "rejected", "unreadable")[code])
    if code == 0:
        assert printed.strip().endswith(", ".join(map(str, desk.network.predict(desk.x).tolist())))

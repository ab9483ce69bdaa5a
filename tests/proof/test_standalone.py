"""The stand-alone verifier gives the same verdict as the fast one, on good receipts and on damaged ones."""

from __future__ import annotations

import ast
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from assay.bench.fuzzing import Victim, victims
from assay.bench.mutation import mutate
from assay.integer import IntegerNetwork, save
from assay.integer.files import to_bytes
from assay.proof import HiddenNetwork, Receipt, VerificationError, prove, standalone, verify

Pictures = Callable[[IntegerNetwork, int], np.ndarray]


def alone(data: bytes, network: IntegerNetwork, x: np.ndarray, nonce: bytes) -> list[list[int]]:
    pictures = standalone.whole_numbers("B", x.tobytes(), x.shape)
    return standalone.verify(
        standalone.read_receipt(data), standalone.read_network(to_bytes(network)), None, pictures, nonce
    )


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(standalone.__file__).read_text())
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert {str(module).split(".")[0] for module in modules} <= set(sys.stdlib_module_names)


def test_run_as_the_guide_says_it_loads_nothing_but_the_standard_library(
    named_network: Callable[[str], IntegerNetwork], pictures: Pictures, nonce: bytes, tmp_path: Path
) -> None:
    guide = (Path(__file__).parents[2] / "docs/how-to/client.md").read_text()
    (copy,) = re.findall(r"    (cp .*standalone.py.*)\n", guide)
    (command,) = re.findall(r"    (python -I standalone.py .*)\n", guide)
    network = named_network("perceptron")
    x = pictures(network, 2)
    answer, receipt = prove(network, x, nonce=nonce)
    receipt.save(tmp_path / "answer.receipt")
    save(network, tmp_path / "net.assay")
    np.savez(tmp_path / "digits.npz", x=x)
    python = f'python() {{ "{sys.executable}" "$@"; }}; N={nonce.hex()}; '
    spoken = command.replace("-I", "-I -X importtime")
    done = subprocess.run(["bash", "-ec", f"{python}{copy}; {spoken}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "accepted: labels " + ", ".join(str(row.argmax()) for row in answer) + "\n"
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "hashlib" in loaded and not loaded & {"assay", "numpy", "numba", "msgspec", "torch"}


def test_it_can_be_read_whole() -> None:
    """At most 800 lines as `wc -l` counts them, blank ones and comments too, and no longer lines than elsewhere."""
    lines = Path(standalone.__file__).read_text().splitlines()
    assert len(lines) <= 800
    assert max(map(len, lines)) <= 120


def test_it_accepts_every_honest_receipt(any_network: IntegerNetwork, pictures: Pictures, nonce: bytes) -> None:
    x = pictures(any_network, 2)
    answer, receipt = prove(any_network, x, nonce=nonce)
    assert alone(receipt.to_bytes(), any_network, x, nonce) == answer.tolist()


@pytest.mark.parametrize("name", ["perceptron", "convolutional", "residual", "classic"])
def test_it_accepts_receipts_of_committed_weights(
    name: str, named_network: Callable[[str], IntegerNetwork], pictures: Pictures, nonce: bytes
) -> None:
    network = named_network(name)
    hidden, x = HiddenNetwork(network), pictures(network, 1)
    answer, receipt = prove(network, x, nonce=nonce, hidden=hidden)
    parsed = standalone.read_receipt(receipt.to_bytes())
    assert standalone.verify(parsed, None, hidden.digest, None, None) == answer.tolist()
    with pytest.raises(standalone.Rejected):
        standalone.verify(parsed, None, bytes(32), None, None)


DAMAGE: dict[str, Callable[[Receipt], bytes]] = {
    "outputs": lambda r: msgspec.structs.replace(r, outputs=bytes(8) + r.outputs[8:]).to_bytes(),
    "nonce": lambda r: msgspec.structs.replace(r, nonce=bytes(16)).to_bytes(),
    "batch": lambda r: msgspec.structs.replace(r, batch=1).to_bytes(),
    "ranges": lambda r: msgspec.structs.replace(r, intervals=[(k, -9, 9) for k, _, _ in r.intervals]).to_bytes(),
    "model": lambda r: msgspec.structs.replace(r, model=bytes(32)).to_bytes(),
    "first message": lambda r: msgspec.structs.replace(r, proof=b"\1" + r.proof[1:]).to_bytes(),
    "last message": lambda r: msgspec.structs.replace(r, proof=r.proof[:-1] + b"\1").to_bytes(),
    "middle": lambda r: msgspec.structs.replace(r, proof=r.proof[:2000] + bytes(16) + r.proof[2016:]).to_bytes(),
    "short proof": lambda r: msgspec.structs.replace(r, proof=r.proof[:-32]).to_bytes(),
    "long proof": lambda r: msgspec.structs.replace(r, proof=r.proof + b"\0").to_bytes(),
    "cut short": lambda r: r.to_bytes()[:-1],
    "something behind it": lambda r: r.to_bytes() + b"\0",
    "nothing": lambda r: b"",
    "another encoding": lambda r: r.to_bytes().replace(b"\xadassay receipt", b"\xd9\x0dassay receipt", 1),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_both_verifiers_reject_the_same_receipts(
    what: str, named_network: Callable[[str], IntegerNetwork], pictures: Pictures, nonce: bytes
) -> None:
    network = named_network("perceptron")
    x = pictures(network, 2)
    data = DAMAGE[what](prove(network, x, nonce=nonce)[1])
    with pytest.raises(VerificationError) as fast:
        verify(data, x, None, nonce=nonce, model=network)
    with pytest.raises(standalone.Rejected) as slow:
        alone(data, network, x, nonce)
    assert isinstance(slow.value, standalone.Unreadable) == (fast.value.exit_code == 2)


def test_it_accepts_receipts_of_many_groups_of_lookups(
    named_network: Callable[[str], IntegerNetwork], pictures: Pictures, nonce: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.proof.blocks.GROUP_BITS", 8)
    monkeypatch.setattr(standalone, "GROUP_BITS", 8)
    network = named_network("perceptron")
    x, hidden = pictures(network, 40), HiddenNetwork(network)
    answer, receipt = prove(network, x, nonce=nonce)
    assert alone(receipt.to_bytes(), network, x, nonce) == answer.tolist()
    answer, receipt = prove(network, x, nonce=nonce, hidden=hidden)
    assert (
        standalone.verify(standalone.read_receipt(receipt.to_bytes()), None, hidden.digest, None, None)
        == answer.tolist()
    )


def verdict(check: Callable[[], object]) -> int:
    """0 accepted, 1 rejected, 2 unreadable."""
    try:
        check()
    except VerificationError as error:
        return error.exit_code
    except standalone.Rejected as error:
        return 2 if isinstance(error, standalone.Unreadable) else 1
    return 0


def compared(victim: Victim, mutants: int, seed: int) -> Counter[tuple[str, int, int]]:
    """How often (kind of mutation, verdict of the fast verifier, verdict of the stand-alone one) was met."""
    rng, seen = random.Random(seed), Counter[tuple[str, int, int]]()
    model, commitment = victim.known.get("model"), victim.known.get("commitment")
    data = None if model is None else to_bytes(model)
    for _ in range(mutants):
        kind, mutant = mutate(victim.receipt, rng)
        network = None if data is None else standalone.read_network(data)
        fast = verdict(lambda mutant=mutant: victim.verify(mutant, trusting=True))
        slow = verdict(
            lambda mutant=mutant, n=network: standalone.verify(
                standalone.read_receipt(mutant), n, commitment, None, None
            )
        )
        seen[kind, fast, slow] += 1
    return seen


@pytest.mark.parametrize("name", ["quantised", "committed", "squares"])
@pytest.mark.parametrize("mutants", [150, pytest.param(4000, marks=pytest.mark.slow)])
def test_both_verifiers_give_the_same_verdict_on_changed_receipts(name: str, mutants: int) -> None:
    victim = victims()[name]
    commitment = victim.known.get("commitment")
    network = None if commitment else standalone.read_network(to_bytes(victim.known["model"]))
    assert standalone.verify(standalone.read_receipt(victim.receipt), network, commitment, None, None)
    seen = compared(victim, mutants, seed=mutants)
    assert {(fast, slow) for _, fast, slow in seen} == {(1, 1), (2, 2)}
    assert {kind for kind, fast, _ in seen if fast == 1} >= {"bytes", "elements", "fields"}

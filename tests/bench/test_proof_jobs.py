"""The measurements of proofs, on networks so small that they take a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.bench import classic_process, modular_loop, proof_jobs, proof_process
from assay.bench.networks import NETWORKS
from assay.data import Dataset
from assay.integer import IntegerNetwork, P, compile, save
from assay.integer.graph import Flatten, Input, Linear, Square
from assay.models import Model, ModelSpec, build, seeded
from assay.models import save as save_model


def noise(n: int = 12) -> Dataset:
    x = np.random.default_rng(0).integers(0, 3, (n, 1, 4, 4), dtype=np.uint8)
    return Dataset(x, np.arange(n) % 3, ("a", "b", "c"), "noise")


def model(architecture: str, **arguments: int) -> Model:
    with seeded(0):
        return build(ModelSpec(architecture, (1, 4, 4), noise().class_names, (0.004,), (0.003,), dict(arguments)))


def of_squares() -> IntegerNetwork:
    """Two layers of products with a square between, on pictures of three levels."""
    rng = np.random.default_rng(1)
    first, second = (rng.integers(-9, 10, shape) for shape in ((8, 16), (3, 8)))
    nodes = (
        Input((1, 4, 4), 0, 2),
        Flatten(0),
        Linear(1, first, rng.integers(-9, 10, 8)),
        Square(2),
        Linear(3, second, rng.integers(-9, 10, 3)),
    )
    return IntegerNetwork(nodes, noise().class_names, 1.0, classic=True)


def test_the_plain_loop_gives_what_the_network_gives() -> None:
    network = of_squares()
    outputs = modular_loop.run(modular_loop.prepared(network.nodes[2:]), network.trace(noise().x).values[1])
    assert outputs.tolist() == (network.run(noise().x).astype(object) % P).tolist()
    with pytest.raises(ValueError, match="no Flatten"):
        modular_loop.prepared(network.nodes[1:])


def test_the_two_ratios_are_measured_on_a_live_proof(tmp_path: Path) -> None:
    save(of_squares(), tmp_path / "net.assay")
    save_model(model("safetynets-fcnn", width=8, depth=1), tmp_path / "model.safetensors")
    np.savez(tmp_path / "x.npz", x=noise().x[:4])
    found = classic_process.measure({"folder": str(tmp_path), "repeat": 2})
    for way in ("clear", "prove", "float32"):
        assert len(found[way]["cpu_s"]) == 2 and min(found[way]["cpu_s"]) >= 0
    assert found["loop_cpu_s"] >= 0
    assert all(0 < live["bytes"] < 8000 and live["answer_bytes"] == 4 * 3 * 8 for live in found["live"])
    assert found["proof_bytes"] < found["receipt_bytes"]


@pytest.mark.filterwarnings("ignore::assay.integer.AccuracyWarning")
@pytest.mark.parametrize("committed", [False, True])
def test_a_proof_is_measured_with_its_verifiers(tmp_path: Path, committed: bool) -> None:
    save(compile(model("mlp", width=8), noise()), tmp_path / "net.assay")
    np.savez(tmp_path / "x.npz", x=noise().x[:2])
    asked: dict[str, Any] = {"folder": str(tmp_path), "repeat": 1, "committed": committed, "standalone": True}
    found = proof_process.measure(asked)
    assert found["soundness_bits"] > 90
    assert found["peak_bytes"] > 1 << 20
    assert found["standalone_cpu_s"] > 0
    assert len(found["verify"]["wall_s"]) == 5
    assert ("commitment" in found) is committed
    assert (found["foreseen"] is None) is committed


def test_the_peer_is_absent_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "make peers-proof" in proof_jobs.ezkl({"version": proof_jobs.EZKL, "repeat": 1})["absent"]


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="is not a file"):
        proof_jobs._in_a_process("proof_process.py", {"folder": "nowhere", "committed": False})


def test_the_networks_of_the_design_are_there() -> None:
    assert {"MLP 784-128-10", "LeNet-5", "signs-net", "ResNet-20", "VGG-11", "VGG-16"} == set(NETWORKS)

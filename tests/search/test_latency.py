"""What a point of the frontier says of its cost in private is what the engine says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from assay.data import Dataset
from assay.integer import IntegerNetwork, compile_measured, save
from assay.models import ModelSpec, build, fresh_weights
from assay.search.latency import KEYS, measured, predicted


def small_network() -> tuple[IntegerNetwork, Dataset]:
    rng = np.random.default_rng(1)
    data = Dataset(rng.integers(0, 255, (20, 1, 8, 8), dtype=np.uint8), np.arange(20) % 2, ("a", "b"), "noise")
    spec = ModelSpec("cnet", (1, 8, 8), data.class_names, (0.5,), (0.3,), {"layers": "0 0:0 0:00", "width": 1})
    return compile_measured(fresh_weights(1, lambda: build(spec)), data).network, data


def test_bytes_and_rounds_online_are_predicted_exactly(tmp_path: Path) -> None:
    network, data = small_network()
    foretold, timed = predicted(network), measured(save(network, tmp_path / "net.assay"), data.x)
    assert foretold is not None and timed is not None
    assert set(foretold) == set(timed) == set(KEYS)
    assert foretold["online_bytes"] == timed["online_bytes"]
    assert foretold["online_rounds"] == timed["online_rounds"]
    assert timed["online_s"] > 0

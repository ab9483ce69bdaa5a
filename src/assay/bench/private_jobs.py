"""Jobs of the tables about private inference: two processes on this machine, every answer compared with the clear."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.bench.private_networks import network_of, pictures, save_to
from assay.integer import IntegerNetwork
from assay.integer.graph import ReLU, Requantise
from assay.private.calibration import calibrate
from assay.private.cost import predict
from assay.private.emulator import parse_link
from assay.private.processes import between_processes

COSTS = ("offline_s", "online_s", "offline_bytes", "online_bytes")
"""What is kept of each run of a session."""


def answered(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: seconds, bytes, rounds and memory, beside what was predicted before.

    Settings: `network` (`private_networks`); `link`, as `--network`, or None; `batch` pictures; `sessions`, one after
    the other; `repeat`, times in each after the first, which pays for keys and base transfers as well.
    """
    network, x = network_of(settings["network"]), pictures(settings["network"], settings["batch"])
    clear = network.run(x)
    with TemporaryDirectory() as folder:
        file = save_to(settings["network"], Path(folder))
        sessions = [_session(network, file, x, clear, settings) for _ in range(settings["sessions"])]
    return {
        "equal": all(session["equal"] for session in sessions),
        "relus": values(network, rectified=True),
        "rounded": values(network, rectified=False),
        **{party: max(session[party] for session in sessions) for party in ("client_bytes", "server_bytes")},
        "sessions": sessions,
        "link": settings["link"],
    }


def _session(
    network: IntegerNetwork, file: Path, x: NDArray[np.integer], clear: NDArray[np.int64], settings: dict[str, Any]
) -> dict[str, Any]:
    """A calibration, a prediction, and a session. The speed of a shared machine changes within minutes."""
    link = parse_link(settings["link"]) if settings["link"] else None
    predicted = predict(network, calibrate().rates, link, len(x)).document()
    run = between_processes(file, [x] * (1 + settings["repeat"]), link=link)
    documents = [profile.document() for profile in run.profiles]
    return {
        "equal": all(np.array_equal(found, clear) for found in run.outputs),
        "client_bytes": run.client_bytes,
        "server_bytes": run.server_bytes,
        "layers": documents[-1]["layers"],
        **{key: [document[key] for document in documents] for key in COSTS},
        "online_rounds": documents[-1]["online_rounds"],
        "predicted": {key: value for key, value in predicted.items() if key != "layers"},
    }


def values(network: Any, rectified: bool) -> int:
    """Values that are rectified, or rounded without being rectified, for one picture."""
    total = 0
    for node, shape in zip(network.nodes, network.shapes, strict=True):
        if isinstance(node, ReLU | Requantise):
            every = int(np.prod(shape))
            those = every // shape[0] * (node.stop - node.start)
            total += those if rectified else (every - those) * isinstance(node, Requantise)
    return total


def exact(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: how many test pictures get the integers of the run in the clear, all of them.

    Settings: `network`; `n` pictures; `batch` in one set of rounds.
    """
    network, x = network_of(settings["network"]), pictures(settings["network"], settings["n"])
    batches = [x[i : i + settings["batch"]] for i in range(0, len(x), settings["batch"])]
    with TemporaryDirectory() as folder:
        run = between_processes(save_to(settings["network"], Path(folder)), batches)
    equal = (np.concatenate(run.outputs) == network.run(x)).all(axis=1)
    return {"n": len(x), "equal": int(equal.sum()), "relus": values(network, rectified=True)}


SPU = "0.9.5"

PEER = Path(".venv-spu") / "bin" / "python"
"""Made by `make peers-private`, from the project's root."""


def spu(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: SPU's Cheetah on a network of the same shape, two processes; `absent` where it is not installed.

    Settings: `work`, a name that `benchmarks/spu_peer.py` knows; `repeat`; `version`.
    """
    if not PEER.exists():
        return {"absent": "SPU is not installed here: make peers-private"}
    script = Path("benchmarks") / "spu_peer.py"
    command = [str(PEER), str(script), settings["work"], settings["version"], str(settings["repeat"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found

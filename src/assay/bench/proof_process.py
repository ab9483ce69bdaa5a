"""What one proof costs, measured in a process of its own: `python proof_process.py SETTINGS` prints one JSON object.

It is run by its path, so that nothing is loaded but what a prover needs: no torch, none of the other benchmarks. Its
peak memory is then that of `assay prove`.
"""

from __future__ import annotations

import json
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from assay.integer import IntegerNetwork, load
from assay.proof import HiddenNetwork, Receipt, accept_commitment, estimate, prove, soundness_of, standalone, verify

T = TypeVar("T")
Timed = tuple[float, float, T]
"""Wall seconds, CPU seconds of all threads, result."""


def timed(work: Callable[[], T]) -> Timed[T]:
    begun, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - begun, time.process_time() - cpu, result


def repeated(times: int, work: Callable[[], T]) -> tuple[dict[str, list[float]], T]:
    """Wall and CPU seconds of each run, and the last result."""
    runs = [timed(work) for _ in range(times)]
    return {"wall_s": [run[0] for run in runs], "cpu_s": [run[1] for run in runs]}, runs[-1][2]


def peak_bytes() -> int:
    """The largest resident memory of this program so far.

    Linux keeps it in VmHWM; `ru_maxrss` there may be that of the program that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Prove and verify one batch `repeat` times; compiled code is loaded before, by a proof of one picture.

    Settings: `folder` with `net.assay` and `x.npz`; `repeat`; `committed` weights or public ones; `standalone`: also
    run the stand-alone verifier.
    """
    folder = Path(settings["folder"])
    network = load(folder / "net.assay")
    with np.load(folder / "x.npz", allow_pickle=False) as archive:
        x = archive["x"]
    found: dict[str, Any] = {}
    hidden = None
    if settings["committed"]:
        hidden, found["commitment"] = _commitment(network, folder)
    nonce = secrets.token_bytes(16)
    warm, _ = repeated(1, lambda: prove(network, x[:1], nonce=nonce, hidden=hidden))
    clear, _ = repeated(settings["repeat"], lambda: network.run(x))
    foreseen = None if hidden else asdict(estimate(network, len(x)))
    proofs, (answer, receipt) = repeated(settings["repeat"], lambda: prove(network, x, nonce=nonce, hidden=hidden))
    peak, data = peak_bytes(), receipt.to_bytes()
    known: dict[str, Any] = {"commitment": hidden.digest} if hidden else {"model": network}
    verify(data, x, answer, nonce=nonce, **known)
    checks, _ = repeated(max(5, settings["repeat"]), lambda: verify(data, x, answer, nonce=nonce, **known))
    return found | {
        "loading": warm,
        "clear": clear,
        "prove": proofs,
        "verify": checks,
        "receipt_bytes": len(data),
        "proof_bytes": len(receipt.proof),
        "soundness_bits": soundness_of(network, len(x), hidden).bits,
        "peak_bytes": peak,
        "foreseen": foreseen,
        "standalone_cpu_s": _alone(receipt, folder, hidden) if settings["standalone"] else None,
    }


def _commitment(network: IntegerNetwork, folder: Path) -> tuple[HiddenNetwork, dict[str, Any]]:
    """The commitment, and what making and accepting it costs, once a network."""
    made, hidden = repeated(1, lambda: HiddenNetwork(network))
    saved, file = repeated(1, lambda: hidden.save(folder / "net.commitment"))
    data = file.read_bytes()
    accepted, _ = repeated(1, lambda: accept_commitment(data))
    return hidden, {"commit": made, "prove_ranges": saved, "accept": accepted, "bytes": len(data)}


def _alone(receipt: Receipt, folder: Path, hidden: HiddenNetwork | None) -> float:
    """CPU seconds of the verifier in plain Python, its start included."""
    receipt.save(folder / "a.receipt")
    model = ["--commitment", hidden.digest.hex()] if hidden else ["--model", str(folder / "net.assay")]
    asked = ["--inputs", str(folder / "x.npz"), "--nonce", receipt.nonce.hex()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-I", str(standalone.__file__), str(folder / "a.receipt"), *model, *asked],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))

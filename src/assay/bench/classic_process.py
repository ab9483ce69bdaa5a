"""SafetyNets' two ratios, measured in a process of its own: `python classic_process.py SETTINGS` prints JSON.

One network, one batch, four ways to run it: with its proof; exactly, by the reference execution; exactly, by a plain
loop over F_p as in the paper; in float32 by torch. CPU seconds count all threads; torch and BLAS have one.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.bench import modular_loop
from assay.bench.proof_process import repeated
from assay.integer import IntegerNetwork, Node, load
from assay.integer.graph import Linear
from assay.models import as_float
from assay.models import load as load_model
from assay.proof import prove, soundness_of, verify
from assay.proof.live import SocketStream, prove_live, verify_live

LOOPED = 128
"""Pictures for the plain loop: its cost is the same for each, and all of them would take minutes."""


@dataclass
class Counted:
    """A stream that counts what passes."""

    stream: SocketStream
    sent: int = 0
    received: int = 0

    def send(self, data: bytes) -> None:
        self.sent += len(data)
        self.stream.send(data)

    def receive(self, count: int) -> bytes:
        self.received += count
        return self.stream.receive(count)


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings: `folder` with `net.assay`, `model.safetensors` and `x.npz`; `repeat`."""
    torch.set_num_threads(1)
    folder, repeat = Path(settings["folder"]), settings["repeat"]
    network, model = load(folder / "net.assay"), load_model(folder / "model.safetensors")
    with np.load(folder / "x.npz", allow_pickle=False) as archive:
        x = archive["x"]
    nonce = secrets.token_bytes(16)
    prove(network, x[:1], nonce=nonce)
    clear, outputs = repeated(repeat, lambda: network.run(x, threads=1))
    proofs, (answer, receipt) = repeated(repeat, lambda: prove(network, x, nonce=nonce))
    data = receipt.to_bytes()
    verify(data, x, answer, nonce=nonce, model=network)
    checks, _ = repeated(max(5, repeat), lambda: verify(data, x, answer, nonce=nonce, model=network))
    images = as_float(x)
    with torch.inference_mode():
        model(images)
        floats, _ = repeated(repeat, lambda: model(images))
    return {
        "clear": clear,
        "prove": proofs,
        "verify": checks,
        "float32": floats,
        "loop_cpu_s": _loop(network, x[:LOOPED], outputs[:LOOPED]) * len(x) / min(LOOPED, len(x)),
        "receipt_bytes": len(data),
        "proof_bytes": len(receipt.proof),
        "soundness_bits": soundness_of(network, len(x)).bits,
        "live": [_live(network, x) for _ in range(max(3, repeat))],
    }


def _loop(network: IntegerNetwork, x: NDArray[np.integer], expected: NDArray[np.int64]) -> float:
    """CPU seconds of the plain loop, which must give the same field elements."""
    first = next(i for i, node in enumerate(network.nodes) if isinstance(node, Linear))
    nodes: tuple[Node, ...] = network.nodes[first:]
    features = network.trace(x).values[first - 1]
    layers = modular_loop.prepared(nodes)
    modular_loop.run(layers, features[:1])
    times, outputs = repeated(1, lambda: modular_loop.run(layers, features))
    if not np.array_equal(outputs, modular_loop.elements(expected)):
        raise RuntimeError("the plain loop and the reference execution do not agree")
    return times["cpu_s"][0]


def _live(network: IntegerNetwork, x: NDArray[np.integer]) -> dict[str, float]:
    """Bytes both ways without the answer itself, and the verifier's CPU seconds."""
    ours, theirs = socket.socketpair()
    stream = Counted(SocketStream(ours))
    prover = Thread(target=prove_live, args=(SocketStream(theirs), network, x))
    prover.start()
    cpu = time.thread_time()
    answer = verify_live(stream, x, model=network).outputs
    cpu = time.thread_time() - cpu
    prover.join()
    for end in (ours, theirs):
        end.close()
    return {"bytes": stream.sent + stream.received - answer.nbytes, "answer_bytes": answer.nbytes, "verify_cpu_s": cpu}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))

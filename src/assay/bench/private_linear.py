"""The table of encrypted linear layers: what both parties spend before the input exists, and the server after.

Weights are random ones of eight bits, since no step depends on their values. Both parties run in one process, one
after the other, so seconds of the two may be read apart; every result is compared with the layer in the clear.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from assay.bench.table import Job, Results, Row, Table
from assay.integer.graph import Conv2d, Linear
from assay.private.linear import LayerShape, LinearClient, LinearServer, LinearSession, apply
from assay.private.ring import Ring

RING = Ring(32)
REPEATS = 3
SEED = 1

Layer = tuple[Conv2d | Linear, tuple[int, ...]]
"""A node, and the shape of what it reads."""


def _conv(out: int, inner: int, side: int, kernel: int = 3, stride: int = 1) -> Layer:
    weight = _weights(out, inner, kernel, kernel)
    node = Conv2d(0, weight, np.zeros(out, np.int64), (stride, stride), (kernel // 2,) * 4)
    return node, (inner, side, side)


def _dense(out: int, inner: int) -> Layer:
    return Linear(0, _weights(out, inner), np.zeros(out, np.int64)), (inner,)


def _weights(*shape: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(SEED).integers(-128, 128, shape)


def _one_convolution() -> Iterator[Layer]:
    yield _conv(64, 64, 32)


def _minionn() -> Iterator[Layer]:
    """Liu, Juuti, Lu, Asokan, "Oblivious Neural Network Predictions via MiniONN" (CCS 2017), figure 13."""
    yield from (_conv(64, 3, 32), _conv(64, 64, 32), _conv(64, 64, 16), _conv(64, 64, 16))
    yield from (_conv(64, 64, 8), _conv(64, 64, 8, 1), _conv(16, 64, 8, 1), _dense(10, 1024))


def _resnet() -> Iterator[Layer]:
    """He, Zhang, Ren, Sun, "Deep Residual Learning" (CVPR 2016), section 4.2, n = 5."""
    yield _conv(16, 3, 32)
    channels, side = 16, 32
    for wide in (16, 32, 64):
        for _ in range(5):
            stride = 1 if wide == channels else 2
            yield _conv(wide, channels, side, stride=stride)
            channels, side = wide, side // stride
            yield _conv(wide, wide, side)
    yield _dense(10, 64)


WORK: dict[str, Callable[[], Iterator[Layer]]] = {
    "conv 3×3 64→64 on 32×32": _one_convolution,
    "MiniONN-7": _minionn,
    "ResNet-32": _resnet,
}


@dataclass(slots=True)
class Spent:
    """Seconds, by who spends them, and bytes."""

    client_s: float = 0
    server_s: float = 0
    online_s: float = 0
    cpu_s: float = 0
    sent_by_client: int = 0
    sent_by_server: int = 0
    _begun: float = field(default_factory=time.perf_counter)

    def lap(self) -> float:
        """Seconds since the last time it was asked."""
        last, self._begun = self._begun, time.perf_counter()
        return self._begun - last


def encrypted_layers(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: all layers of one piece of work, encrypted, answered, decrypted, applied; a few times.

    Settings: `work`, a key of WORK.
    """
    layers = list(WORK[settings["work"]]())
    nodes, shapes = [node for node, _ in layers], [shape for _, shape in layers]
    clock = Spent()
    server = LinearServer(RING, nodes, shapes)
    encode_s = clock.lap()
    client = LinearClient(RING, [LayerShape.of(*layer) for layer in layers])
    session = server.session(client.public_key())
    runs = [_inference(layers, client, session) for _ in range(1 + REPEATS)][1:]
    cuts = [maps.packing for maps in server.layers.maps]
    return {
        "client_s": [run.client_s for run in runs],
        "server_s": [run.server_s for run in runs],
        "cpu_s": [run.cpu_s for run in runs],
        "online_s": [run.online_s for run in runs],
        "client_bytes": runs[0].sent_by_client,
        "server_bytes": runs[0].sent_by_server,
        "encode_s": encode_s,
        "weights_bytes": server.layers.memory,
        "security_bits": server.layers.flooding.security(cuts),
        "primes": server.layers.scheme.count,
    }


def _inference(layers: list[Layer], client: LinearClient, session: LinearSession) -> Spent:
    spent, rng = Spent(), np.random.default_rng(SEED)
    for index, (node, shape) in enumerate(layers):
        x, mask = (RING.reduce(rng.integers(0, 1 << 62, shape)) for _ in range(2))
        spent.lap()
        cpu = time.process_time()
        request = client.request(index, mask)
        spent.client_s += spent.lap()
        reply, share = session.answer(index, request)
        spent.server_s += spent.lap()
        theirs = client.finish(index, reply)
        spent.client_s += spent.lap()
        spent.cpu_s += time.process_time() - cpu
        ours = apply(RING, node, (x - mask)[None], share[None])[0]
        spent.online_s += spent.lap()
        if (ours + theirs != apply(RING, node, x[None], np.zeros_like(share)[None])[0]).any():
            raise RuntimeError(f"the shares of layer {index} do not add up to it")
        spent.sent_by_client += request.size
        spent.sent_by_server += reply.size
    return spent


def _rows(results: Results) -> list[Row]:
    return [
        {
            "work": job.settings["work"],
            "offline_s": median(found["client_s"]) + median(found["server_s"]),
            "cpu_s": median(found["cpu_s"]),
            "client_s": median(found["client_s"]),
            "server_s": median(found["server_s"]),
            "client_mb": f"{found['client_bytes'] / 1e6:.1f}",
            "server_mb": f"{found['server_bytes'] / 1e6:.1f}",
            "online_ms": 1000 * median(found["online_s"]),
            "encode_s": found["encode_s"],
            "weights_mb": round(found["weights_bytes"] / 1e6),
            "security_bits": found["security_bits"],
            "primes": found["primes"],
            "n": REPEATS,
            "seed": [SEED],
        }
        for job, found in results
    ]


PRIVATE_LINEAR = Table(
    "Encrypted linear layers",
    lambda quick: [Job(encrypted_layers, {"work": name}) for name in list(WORK)[: 1 if quick else None]],
    _rows,
    {
        "work": "layers",
        "offline_s": "offline, s of both",
        "cpu_s": "CPU, s of both",
        "client_s": "the client's part",
        "server_s": "the server's part",
        "client_mb": "sent by the client, MB",
        "server_mb": "by the server",
        "online_ms": "online, ms of the server",
        "encode_s": "weights encoded in, s",
        "weights_mb": "and kept, MB",
        "security_bits": "bits that hide the noise",
        "n": "runs",
    },
    f"Ring of {RING.bits} bits, weights of 8 bits. Both parties in one process, one after the other, one thread; "
    f"medians of {REPEATS} runs. Online no byte is sent. The bar of the design: 1 s offline for the convolution.",
    serial=True,
    timed=(encrypted_layers,),
)

"""The table about proofs: seconds, CPU seconds, memory and bytes of proving and verifying networks that were trained.

Compiled code is loaded before anything is measured. Beside each proof stands the exact run in the clear, on the same
pictures.
"""

from __future__ import annotations

import resource
import secrets
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import msgspec
from torch import nn

from assay.bench.table import Job, Results, Row, Table
from assay.bench.zoo import ZooModel, obtain

Size = tuple[int, int]


def mlp(in_channels: int, image_size: Size, classes: int) -> nn.Module:
    """One hidden layer of 128: the network that EZKL's own examples start with."""
    inputs = in_channels * image_size[0] * image_size[1]
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, classes))


NETWORKS: dict[str, ZooModel] = {
    "MLP 784-128-10": ZooModel("mnist", 1, architecture="assay.bench.proof:mlp", epochs=2),
    "LeNet-5": ZooModel("mnist", 1, architecture="lenet5", epochs=2),
    "ResNet-20": ZooModel("cifar10", 1, architecture="resnet20"),
    "VGG-11": ZooModel("cifar10", 1, architecture="vgg11"),
    "VGG-16": ZooModel("cifar10", 1, architecture="vgg16"),
}


def proven(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: prove and verify one batch `repeat` times; medians, in one thread."""
    from assay.data import load as load_data
    from assay.integer.compile import compile_measured
    from assay.proof import estimate, prove, verify

    wanted = NETWORKS[settings["network"]]
    model, clean = obtain(wanted), load_data(wanted.data, "clean")
    compiled = compile_measured(model.network, clean)
    network, x = compiled.network, load_data(wanted.data, "test").take(settings["batch"]).x
    foreseen = estimate(network, len(x))
    nonce = secrets.token_bytes(16)
    prove(network, x[:1], nonce=nonce)
    proofs = [_timed(lambda: prove(network, x, nonce=nonce)) for _ in range(settings["repeat"])]
    answer, receipt = proofs[-1][2]
    data = receipt.to_bytes()
    checks = [_timed(lambda: verify(data, x, answer, nonce=nonce, model=network)) for _ in range(settings["repeat"])]
    clear = [_timed(lambda: network.run(x, threads=1)) for _ in range(settings["repeat"])]
    return {
        "prove_s": median(p[0] for p in proofs),
        "prove_cpu_s": median(p[1] for p in proofs),
        "verify_s": median(c[0] for c in checks),
        "verify_cpu_s": median(c[1] for c in checks),
        "clear_s": median(c[0] for c in clear),
        "receipt_bytes": len(data),
        "soundness_bits": checks[-1][2].ledger.bits,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "foreseen": msgspec.to_builtins(foreseen),
        "float_accuracy": compiled.float_accuracy.value,
        "integer_accuracy": compiled.integer_accuracy.value,
    }


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds, result."""
    begun, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - begun, time.process_time() - cpu, result


def _jobs(quick: bool) -> list[Job]:
    names = list(NETWORKS)[: 2 if quick else None]
    repeat = 3 if quick else 5
    jobs = [Job(proven, {"network": name, "batch": 1, "repeat": repeat}) for name in names]
    if not quick:
        jobs += [Job(proven, {"network": "LeNet-5", "batch": batch, "repeat": 3}) for batch in (4, 16, 64)]
        jobs.append(Job(proven, {"network": "VGG-16", "batch": 16, "repeat": 1}))
    return jobs


def rows(results: Results) -> list[Row]:
    """A row a network and batch."""
    return [
        {
            "network": job.settings["network"],
            "batch": job.settings["batch"],
            "seed": [NETWORKS[job.settings["network"]].seed],
            "n": job.settings["repeat"],
            **{key: value for key, value in result.items() if key != "foreseen"},
            "foreseen_s": result["foreseen"]["prove_s"],
        }
        for job, result in results
    ]


PROOF = Table(
    "Proofs of inference",
    _jobs,
    rows,
    {
        "network": "network",
        "batch": "pictures",
        "prove_s": "prove (s)",
        "prove_cpu_s": "CPU (s)",
        "foreseen_s": "foreseen (s)",
        "verify_s": "verify (s)",
        "clear_s": "run in the clear (s)",
        "receipt_bytes": "receipt (bytes)",
        "soundness_bits": "bits",
        "peak_bytes": "peak memory (bytes)",
    },
    "Seconds are medians in one thread, with compiled code loaded; the run is part of proving. A receipt "
    "proves integrity and hides nothing. `foreseen` is what `assay estimate` says beforehand, in CPU seconds.",
    serial=True,
)

"""The jobs about proofs: each compiles a trained network, and measures in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from torch import nn

from assay.bench import classic
from assay.bench.zoo import ZooModel, obtain
from assay.data import load as load_data
from assay.integer import Compilation, IntegerNetwork, compile_measured, save
from assay.integer.graph import Conv2d, Linear
from assay.models import save as save_model

HERE = Path(__file__).parent

CALIBRATION = 512
"""Clean pictures for ranges and accuracies: here the answer's right label is not what is measured."""


def proven(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: one batch of test pictures, proven and verified.

    Settings: `model`, a `ZooModel`; `batch`, `repeat`, `committed`, `standalone` as in `proof_process`.
    """
    wanted = msgspec.convert(settings["model"], ZooModel)
    compiled = compile_measured(obtain(wanted), load_data(wanted.data, "clean").take(CALIBRATION))
    x = load_data(wanted.data, "test").x[: settings["batch"]]
    with TemporaryDirectory() as folder:
        _put(Path(folder), compiled, x)
        more = {key: settings[key] for key in ("repeat", "committed", "standalone")}
        found = _in_a_process("proof_process.py", {"folder": folder, **more})
    return found | _sizes(compiled.network) | {"accuracy_on_clean": compiled.integer_accuracy.value}


def classic_proven(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: a batch through a network of SafetyNets, with its proof and without.

    Settings: `model`, a `ClassicModel`; `batch`, `repeat`.
    """
    wanted = msgspec.convert(settings["model"], classic.ClassicModel)
    _, clean, test = classic.parts(wanted.data)
    model = classic.obtain(wanted)
    compiled = classic.compiled(model, clean)
    with TemporaryDirectory() as folder:
        _put(Path(folder), compiled, test.x[: settings["batch"]])
        save_model(model, Path(folder) / "model.safetensors")
        found = _in_a_process("classic_process.py", {"folder": folder, "repeat": settings["repeat"]})
    return found | _sizes(compiled.network) | {"wrapped_on_clean": compiled.wrapped}


def first_call(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: `assay prove` and `assay verify` where no code was compiled before, and once more.

    Settings: `model`, a `ZooModel`. `said` is what stood on the screen while one waited.
    """
    wanted = msgspec.convert(settings["model"], ZooModel)
    compiled = compile_measured(obtain(wanted), load_data(wanted.data, "clean").take(CALIBRATION))
    with TemporaryDirectory() as name:
        folder = Path(name)
        _put(folder, compiled, load_data(wanted.data, "test").x[:1])
        network, pictures, receipt = (str(folder / file) for file in ("net.assay", "x.npz", "a.receipt"))
        asked = ["--nonce", "00" * 16]
        prove = ["prove", network, pictures, *asked, "--out", receipt]
        verify = ["verify", receipt, "--model", network, "--inputs", pictures, *asked]
        cold, warm = folder / "prover", folder / "verifier"
        runs = [
            _command(words, cache) for words, cache in ((prove, cold), (prove, cold), (verify, warm), (verify, warm))
        ]
    keys = ("first_prove", "next_prove", "first_verify", "next_verify")
    seconds = {f"{key}_s": run[0] for key, run in zip(keys, runs, strict=True)}
    return seconds | {"said": runs[0][1].splitlines()}


def _command(words: list[str], cache: Path) -> tuple[float, str]:
    """Seconds from the call to the prompt, with numba's cache in a folder of its own; and what was said on stderr."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "assay", *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )
    return time.perf_counter() - begun, done.stderr


EZKL = "23.0.5"

PEER = Path(".venv-ezkl") / "bin" / "python"
"""Made by `make peers-proof`, from the project's root."""


def ezkl(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: EZKL on the same network and picture; `absent` where it is not installed.

    Settings: `model`, a `ZooModel` of the architecture `mlp`; `version`; `repeat`.
    """
    if not PEER.exists():
        return {"absent": "EZKL is not installed here: make peers-proof"}
    wanted = msgspec.convert(settings["model"], ZooModel)
    model = obtain(wanted)
    layers = [m for m in model.network.modules() if isinstance(m, nn.Linear)]
    with TemporaryDirectory() as folder:
        arrays: dict[str, Any] = {"x": load_data(wanted.data, "test").x[:1]}
        for i, layer in enumerate(layers):
            arrays |= {f"w{i}": layer.weight.detach().numpy(), f"b{i}": layer.bias.detach().numpy()}
        arrays |= {"mean": np.array(model.spec.mean), "std": np.array(model.spec.std)}
        np.savez(Path(folder) / "mlp.npz", **arrays)
        script = Path("benchmarks") / "ezkl_mlp.py"
        found = _output([str(PEER), str(script), folder, settings["version"], str(settings["repeat"])])
    return found


def _put(folder: Path, compiled: Compilation, x: np.ndarray[Any, Any]) -> None:
    save(compiled.network, folder / "net.assay")
    np.savez(folder / "x.npz", x=x)


def _sizes(network: IntegerNetwork) -> dict[str, int]:
    """Products of one picture, and weights."""
    products = weights = 0
    for node, shape in zip(network.nodes, network.shapes, strict=True):
        if isinstance(node, Conv2d | Linear):
            products += node.weight.size * prod(shape[1:])
            weights += node.weight.size
    return {"products": products, "weights": weights, "values": sum(prod(shape) for shape in network.shapes)}


def _in_a_process(script: str, settings: dict[str, Any]) -> dict[str, Any]:
    return _output([sys.executable, str(HERE / script), json.dumps(settings)])


def _output(command: Sequence[str]) -> dict[str, Any]:
    """The JSON object on the last line of a program's output, and the program's CPU seconds.

    Raises:
        RuntimeError: with the end of what it said, if it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"process_cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}

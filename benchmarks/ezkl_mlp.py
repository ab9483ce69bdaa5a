"""EZKL on a network of two dense layers: `python ezkl_mlp.py FOLDER VERSION REPEAT` prints one JSON object.

Run by the Python of `.venv-ezkl` (`make peers-proof`), which has EZKL, onnx and numpy and nothing of Assay. FOLDER
holds `mlp.npz`: weights w0, b0, w1, b1, the normalisation (mean, std), and one picture x. Nothing is fetched: the
structured reference string is made here, which is good for a benchmark and for nothing else.
"""

import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path

import ezkl
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_model(folder, arrays):
    """A Gemm, a Relu and a Gemm on normalised pixels, as ONNX."""
    names = ("w0", "b0", "w1", "b1")
    weights = [numpy_helper.from_array(arrays[name].astype(np.float32), name) for name in names]
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["rectified"]),
        helper.make_node("Gemm", ["rectified", "w1", "b1"], ["logits"], transB=1),
    ]
    shapes = {"x": arrays["w0"].shape[1], "logits": arrays["w1"].shape[0]}
    given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in shapes.items())
    graph = helper.make_graph(nodes, "mlp", [given], [found], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "mlp.onnx"))


def timed(work):
    """Wall seconds, CPU seconds."""
    begun, cpu = time.perf_counter(), time.process_time()
    if work() is False:
        raise RuntimeError("EZKL refused a step")
    return time.perf_counter() - begun, time.process_time() - cpu


def main(folder, version, repeat):
    if metadata.version("ezkl") != version:
        raise RuntimeError(f"EZKL {version} was asked for, {metadata.version('ezkl')} is installed")
    arrays = dict(np.load(folder / "mlp.npz"))
    write_model(folder, arrays)
    pixels = (arrays["x"].reshape(-1) / 255 - arrays["mean"][0]) / arrays["std"][0]
    (folder / "data.json").write_text(json.dumps({"input_data": [pixels.tolist()]}))
    place = {
        name: str(folder / name) for name in ("mlp.onnx", "settings.json", "circuit", "srs", "vk", "pk", "data.json")
    }
    arguments = ezkl.PyRunArgs()
    arguments.input_visibility, arguments.output_visibility, arguments.param_visibility = "public", "public", "fixed"
    ezkl.gen_settings(place["mlp.onnx"], place["settings.json"], arguments)
    ezkl.calibrate_settings(place["data.json"], place["mlp.onnx"], place["settings.json"], "resources")
    ezkl.compile_circuit(place["mlp.onnx"], place["circuit"], place["settings.json"])
    rows = json.loads(Path(place["settings.json"]).read_text())["run_args"]["logrows"]
    ezkl.gen_srs(place["srs"], rows)
    setup = timed(lambda: ezkl.setup(place["circuit"], place["vk"], place["pk"], place["srs"]))
    witness, proof = str(folder / "witness.json"), str(folder / "proof.json")

    def prove():
        ezkl.gen_witness(place["data.json"], place["circuit"], witness)
        ezkl.prove(witness, place["circuit"], place["pk"], proof, place["srs"])

    proofs = [timed(prove) for _ in range(repeat)]
    checks = [
        timed(lambda: ezkl.verify(proof, place["settings.json"], place["vk"], place["srs"])) for _ in range(repeat)
    ]
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "version": version,
        "logrows": rows,
        "setup": {"wall_s": setup[0], "cpu_s": setup[1]},
        "prove": {"wall_s": [p[0] for p in proofs], "cpu_s": [p[1] for p in proofs]},
        "verify": {"wall_s": [c[0] for c in checks], "cpu_s": [c[1] for c in checks]},
        "proving_key_bytes": os.path.getsize(place["pk"]),
        "verifying_key_bytes": os.path.getsize(place["vk"]),
        "srs_bytes": os.path.getsize(place["srs"]),
        "proof_bytes": len(bytes.fromhex(json.loads(Path(proof).read_text())["hex_proof"].removeprefix("0x"))),
        "peak_bytes": int(peak.split()[1]) * 1024,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))

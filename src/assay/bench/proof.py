"""The tables about proofs: what proving and verifying costs, beside the bars of the design and what others need."""

from __future__ import annotations

from statistics import median
from typing import Any

import msgspec

from assay.bench import figures
from assay.bench.classic_speed import classic_jobs, ratios
from assay.bench.networks import NETWORKS
from assay.bench.proof_jobs import EZKL, classic_proven, ezkl, first_call, proven
from assay.bench.table import Job, Results, Row, Table

SAFETYNETS = "SafetyNets 1845-2000-2000-2000-183"

BARS: dict[tuple[str, int], tuple[float, float | None, int | None]] = {
    ("MLP 784-128-10", 1): (0.04, 0.010, 200_000),
    ("LeNet-5", 1): (0.3, 0.050, 500_000),
    ("ResNet-20", 1): (1.2, 0.100, 1_000_000),
    ("VGG-11", 1): (1.8, 0.150, 2_000_000),
    ("VGG-16", 1): (2.2, 0.200, 2_000_000),
    ("VGG-16, committed weights", 1): (3.0, 0.200, 4_000_000),
    ("VGG-16", 16): (16 * 1.5, None, None),
}
"""What the design asks for: seconds to prove, seconds to verify, bytes of the receipt."""

MEMORY_MB = {("VGG-16", 1): 2000}
"""And megabytes that the prover may need."""

FIRST_CALL_S = 60.0
"""The bar for the first call ever, compilation included."""

REPORTED = {
    "VGG-16": "as reported by their authors, not verified here: zkCNN 88 s, 59 ms, 341 kB; zkPyTorch 2.2 s",
}
"""Liu, Xie, Zhang, "zkCNN" (CCS 2021), on another machine."""


def _job(name: str, batch: int, repeat: int, **more: bool) -> Job:
    settings = {"committed": False, "standalone": False} | more
    model = msgspec.to_builtins(NETWORKS[name])
    return Job(proven, {"name": name, "model": model, "batch": batch, "repeat": repeat, **settings})


def _jobs(quick: bool) -> list[Job]:
    jobs = [
        _job("MLP 784-128-10", 1, 9, standalone=True),
        _job("LeNet-5", 1, 9, standalone=True),
        _job("LeNet-5", 16, 3),
        Job(first_call, {"model": msgspec.to_builtins(NETWORKS["LeNet-5"])}),
        Job(ezkl, {"model": msgspec.to_builtins(NETWORKS["MLP 784-128-10"]), "version": EZKL, "repeat": 3}),
    ]
    if quick:
        return jobs
    jobs += [_job("LeNet-5", batch, 3) for batch in (4, 64)]
    jobs += [_job(name, 1, 5, standalone=True) for name in ("ResNet-20", "VGG-11", "VGG-16")]
    jobs += [_job("VGG-16", 1, 3, committed=True, standalone=True), _job("VGG-16", 16, 2)]
    return jobs + classic_jobs(quick)


def rows(results: Results) -> list[Row]:
    """A row a network and batch, in the order of the design; then the first call, then EZKL."""
    own = [_row(job.settings, result) for job, result in results if job.function is proven]
    own.sort(key=lambda row: (list(NETWORKS).index(row["network"]), row["committed"], row["pictures"]))
    squares = [_classic_row(job.settings, result) for job, result in results if job.function is classic_proven]
    first = [_first_row(job.settings, result) for job, result in results if job.function is first_call]
    peers = [(job.settings, result) for job, result in results if job.function is ezkl]
    for _, result in peers:
        if "absent" in result:
            own[0]["beside"] = result["absent"]
    return squares + own + first + [_peer_row(s, r) for s, r in peers if "absent" not in r]


def _row(settings: dict[str, Any], result: dict[str, Any]) -> Row:
    name, batch = settings["name"], settings["batch"]
    work = f"{name}, committed weights" if settings["committed"] else name
    bars = BARS.get((work, batch), (None, None, None))
    row = _costs(result, bars) | {
        "work": work,
        "network": name,
        "committed": settings["committed"],
        "pictures": batch,
        "n": settings["repeat"],
        "seed": [settings["model"]["seed"]],
        "activations": batch * result["values"],
        "products": batch * result["products"],
        "receipt_bytes": result["receipt_bytes"],
        "size": against(result["receipt_bytes"] / 1000, bars[2] and bars[2] / 1000, "kB"),
        "peak_bytes": result["peak_bytes"],
        "memory": against(round(result["peak_bytes"] / 1e6), MEMORY_MB.get((work, batch)), "MB"),
        "standalone_cpu_s": result["standalone_cpu_s"],
    }
    if result["foreseen"]:
        foreseen = result["foreseen"]["prove_s"]
        row |= {"foreseen_s": foreseen, "foreseen": f"{foreseen / row['prove_cpu_s'] - 1:+.0%}"}
    return row | {"beside": _beside(name, batch, row, result)}


def _costs(result: dict[str, Any], bars: tuple[float | None, float | None, int | None]) -> Row:
    middle = {
        f"{step}_{clock}": median(result[step][clock]) for step in ("prove", "verify") for clock in ("wall_s", "cpu_s")
    }
    return middle | {
        "prove": against(middle["prove_wall_s"], bars[0], "s"),
        "verify": against(1000 * middle["verify_wall_s"], bars[1] and 1000 * bars[1], "ms"),
        "verify_cpu_ms": 1000 * middle["verify_cpu_s"],
        "bits": result.get("soundness_bits"),
    }


def against(value: float, bar: float | None, unit: str) -> str:
    """`12 of 40 ms`; in bold what is over the bar.

    >>> against(0.012, 0.04, "s"), against(0.05, 0.04, "s"), against(3.0, None, "s")
    ('0.012 of 0.04 s', '**0.05 of 0.04 s**', '3 s')
    """
    shown = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    if bar is None:
        return f"{shown} {unit}"
    text = f"{shown} of {bar:g} {unit}"
    return f"**{text}**" if value > bar else text


def _beside(name: str, batch: int, row: Row, result: dict[str, Any]) -> str:
    said = [f"run in the clear {1000 * median(result['clear']['cpu_s']):.3g} ms"]
    if batch > 1:
        said.append(f"{row['prove_wall_s'] / batch:.3g} s a picture")
    if row["standalone_cpu_s"] is not None:
        said.append(f"verifier in plain Python {row['standalone_cpu_s']:.2g} s")
    if commitment := result.get("commitment"):
        commit, accept = (commitment[step]["cpu_s"][0] for step in ("commit", "accept"))
        said.append(f"once: {commit:.2g} s to commit, {accept:.2g} s to accept {commitment['bytes'] / 1000:.0f} kB")
    if name in REPORTED and batch == 1 and not row["committed"]:
        said.append(REPORTED[name])
    return "; ".join(said)


def _classic_row(settings: dict[str, Any], result: dict[str, Any]) -> Row:
    """A live proof: the verifier's seconds are those of live mode, and the bytes what passes but for the answer."""
    ratio, batch = ratios(result), settings["batch"]
    live = ratio["live_bytes"]
    middle = _costs(result, (None, None, None))
    return middle | {
        "work": SAFETYNETS,
        "pictures": batch,
        "n": settings["repeat"],
        "seed": [settings["model"]["seed"]],
        "verify": f"{1000 * ratio['live_verify_cpu_s']:.3g} ms",
        "verify_cpu_ms": 1000 * ratio["live_verify_cpu_s"],
        "size": against(live / 1000, 8, "kB live"),
        "beside": (
            f"plain loop over F_p {ratio['loop_cpu_s']:.3g} s, of which the proof adds {ratio['overhead_of_loop']}; "
            f"torch float32 {ratio['float32_cpu_s']:.3g} s; to verify is {ratio['loop_by_verify']:.0f} and "
            f"{ratio['float32_by_verify']:.1f} times cheaper"
        ),
        **ratio,
    }


def _first_row(settings: dict[str, Any], result: dict[str, Any]) -> Row:
    return {
        "work": "LeNet-5, the first call ever",
        "pictures": 1,
        "n": 1,
        "seed": [settings["model"]["seed"]],
        "prove": against(result["first_prove_s"], FIRST_CALL_S, "s"),
        "verify": against(result["first_verify_s"], FIRST_CALL_S, "s"),
        "beside": (
            f"whole commands, start of Python included; the next calls {result['next_prove_s']:.2g} s and "
            f"{result['next_verify_s']:.2g} s"
        ),
        **result,
    }


def _peer_row(settings: dict[str, Any], result: dict[str, Any]) -> Row:
    return _costs(result, (None, None, None)) | {
        "work": f"EZKL {settings['version']}, MLP 784-128-10",
        "pictures": 1,
        "n": settings["repeat"],
        "seed": [settings["model"]["seed"]],
        "size": f"{result['proof_bytes'] / 1000:.3g} kB",
        "peak_bytes": result["peak_bytes"],
        "memory": f"{result['peak_bytes'] / 1e6:.0f} MB",
        "beside": (
            f"zero-knowledge, which ours is not; proving key {result['proving_key_bytes'] / 1e6:.0f} MB, once: "
            f"{result['setup']['cpu_s']:.3g} s to set up"
        ),
    }


def draw(results: Results) -> dict[str, str]:
    """Time over batch size and over network size."""
    found = rows(results)
    series: dict[str, list[tuple[float, float, float]]] = {}
    for row in found:
        if "network" in row and not row["committed"]:
            series.setdefault(row["network"], []).append((row["pictures"], row["prove_cpu_s"], row["verify_cpu_s"]))
        elif "live_verify_cpu_s" in row:
            point = (row["pictures"], row["prove_cpu_s"], row["live_verify_cpu_s"])
            series.setdefault("SafetyNets", []).append(point)
    sizes = [
        (row["network"], row["activations"], row["prove_cpu_s"], row["verify_cpu_s"])
        for row in found
        if "network" in row and not row["committed"] and row["pictures"] == 1
    ]
    over_batch = {name: points for name, points in series.items() if len(points) > 1}
    return {"proof-batch": figures.cost_over_batch(over_batch), "proof-size": figures.cost_over_size(sizes)}


TIMED_JOBS = (proven, classic_proven, first_call, ezkl)

PROOF = Table(
    "Proofs of inference",
    _jobs,
    rows,
    {
        "work": "work",
        "pictures": "pictures",
        "n": "runs",
        "prove": "prove",
        "prove_cpu_s": "CPU s",
        "foreseen": "estimate",
        "verify": "verify",
        "verify_cpu_ms": "CPU ms",
        "size": "receipt",
        "bits": "soundness, bits",
        "memory": "peak memory",
        "beside": "beside it, same run",
    },
    "Medians; wall-clock seconds to prove and verify, CPU time of all threads beside them; in bold what is over its "
    "bar. A proof is made in a process of its own that holds nothing else, after one proof of one picture has loaded "
    "the compiled code; the row of the first call says what that costs where nothing was compiled yet. The prover's "
    "seconds include running the network; the estimate is what `assay estimate` said of its CPU seconds before. "
    "Receipts hold pictures and answers. SafetyNets' own network is proven live: its bytes are all that passes but for "
    "the answer, its verifier's time is CPU time. VGG-16 is trained on few pictures; its accuracy plays no part.",
    draw,
    serial=True,
    timed=TIMED_JOBS,
)


def _brief_jobs(quick: bool) -> list[Job]:
    """Those of one picture with public weights, and the peer; they are the same jobs as those of the whole table."""
    one = [job for job in _jobs(quick) if job.function is proven and job.settings["batch"] == 1]
    peer = [job for job in _jobs(quick) if job.function is ezkl]
    return [job for job in one if not job.settings["committed"]] + peer


BRIEF = Table(
    "What a proof costs, one picture",
    _brief_jobs,
    rows,
    {
        "work": "network",
        "n": "runs",
        "prove": "prove",
        "verify": "verify",
        "size": "receipt",
        "bits": "soundness, bits",
        "memory": "peak memory",
    },
    "Medians of wall-clock time, beside the bar we set ourselves; in bold what is over it. EZKL's proof is "
    "zero-knowledge and ours is not. More, and how it was measured, in the table `proof`.",
    serial=True,
    timed=TIMED_JOBS,
)

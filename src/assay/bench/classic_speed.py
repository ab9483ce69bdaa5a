"""The table of SafetyNets' two ratios: what the proof adds for the server, and what it saves the client.

Source: Ghodsi, Gu, Garg, "SafetyNets" (NeurIPS 2017), section 4.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import msgspec

from assay.bench.classic import TIMED
from assay.bench.proof_jobs import classic_proven
from assay.bench.table import Job, Results, Row, Table

BATCHES = (512, 1024, 2048)


def classic_jobs(quick: bool) -> list[Job]:
    batches = BATCHES[:1] if quick else BATCHES
    model = msgspec.to_builtins(TIMED)
    return [Job(classic_proven, {"model": model, "batch": batch, "repeat": 3}) for batch in batches]


def ratios(result: dict[str, Any]) -> Row:
    """SafetyNets' two ratios, against each of three ways to run the network without a proof; all CPU seconds."""
    clear, prove, floats = (median(result[key]["cpu_s"]) for key in ("clear", "prove", "float32"))
    verify = median(live["verify_cpu_s"] for live in result["live"])
    loop = result["loop_cpu_s"]
    return {
        "prove_cpu_s": prove,
        "clear_cpu_s": clear,
        "float32_cpu_s": floats,
        "loop_cpu_s": loop,
        "proof_cpu_s": prove - clear,
        "live_verify_cpu_s": verify,
        "live_bytes": max(live["bytes"] for live in result["live"]),
        "overhead_of_loop": f"{(prove - clear) / loop:.1%}",
        "overhead_of_clear": f"{prove / clear - 1:.0%}",
        "prove_by_float32": prove / floats,
        "loop_by_verify": loop / verify,
        "clear_by_verify": clear / verify,
        "float32_by_verify": floats / verify,
    }


def ratio_rows(results: Results) -> list[Row]:
    """A row a batch."""
    return [
        {
            "pictures": job.settings["batch"],
            "n": job.settings["repeat"],
            "seed": [job.settings["model"]["seed"]],
            "live_kb": result_row["live_bytes"] / 1000,
            "verify_ms": 1000 * result_row["live_verify_cpu_s"],
            **result_row,
        }
        for job, result_row in ((job, ratios(result)) for job, result in results)
    ]


RATIOS = Table(
    "SafetyNets' two ratios",
    classic_jobs,
    ratio_rows,
    {
        "pictures": "pictures",
        "n": "runs",
        "prove_cpu_s": "run and prove",
        "proof_cpu_s": "of it the proof",
        "loop_cpu_s": "plain loop over F_p",
        "clear_cpu_s": "exact run without a proof",
        "float32_cpu_s": "torch float32",
        "overhead_of_loop": "the proof, of the loop",
        "overhead_of_clear": "over the exact run",
        "prove_by_float32": "run and prove / float32",
        "verify_ms": "verify (ms)",
        "loop_by_verify": "loop / verify",
        "clear_by_verify": "exact run / verify",
        "float32_by_verify": "float32 / verify",
        "live_kb": "live proof (kB)",
    },
    "The network 1845-2000-2000-2000-183 of squares, trained at these widths on frames of speech (table `safetynets`), "
    "proven live. CPU seconds of one thread, medians. The plain loop does every product and sum in F_p one after the "
    "other; it is measured on 128 pictures and its time multiplied. The exact run is "
    "Assay's own, on floating-point products of matrices in two limbs, which is what the prover runs. The paper: a "
    "proof within 5 % of running the network, a verifier 8 to 82 times cheaper than that.",
    serial=True,
    timed=(classic_proven,),
)

"""What the bench tests share: an executor that works on the spot, and made-up results in place of trained models."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

from assay.bench import (
    Job,
    Table,
    classic,
    cryptonas,
    cryptonas_timing,
    estimates,
    fuzzing,
    guard_floods,
    guard_kills,
    guard_load,
    integer,
    nnoculation,
    opening,
    private_jobs,
    private_linear,
    private_nonlinear,
    proof_jobs,
    speed,
    zoo,
)
from assay.detect import FOR_HALF, ODD_HALF
from assay.detect.verdict import ACCUSING, SUPPORTING, shipped
from assay.runs import digest


class OnTheSpot(Executor):
    """Does each piece of work when it is handed in."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # as a worker does: whoever asks for the result gets it
            future.set_exception(error)
        return future


done: list[dict[str, Any]] = []
"""Settings of the jobs that were run, in order."""


def work(settings: dict[str, Any]) -> dict[str, Any]:
    """A job that counts how often it is done."""
    done.append(settings)
    return {"twice": 2 * settings["number"]}


def other_work(settings: dict[str, Any]) -> dict[str, Any]:
    """Another job with the same settings."""
    done.append(settings)
    return {"twice": -1}


def small_table(numbers: range = range(4)) -> Table:
    """One row a job; the quick table has the first number alone."""
    return Table(
        "A table",
        lambda quick: [Job(work, {"number": n}) for n in (numbers[:1] if quick else numbers)],
        lambda results: [
            {"number": job.settings["number"], "twice": r["twice"], "n": 1, "seed": [job.settings["number"]]}
            for job, r in results
        ],
        {"number": "number", "twice": "twice", "n": "seeds"},
        "A note.",
    )


def usual_statistics(data: str) -> dict[str, float]:
    """Those of the middle one of the shipped references; 0 where none are shipped."""
    known = [r.statistics for r in shipped() if r.data == data] or [{}]
    return {name: float(np.median(known[0].get(name, [0.0]))) for name in (*ACCUSING, *SUPPORTING)}


def made_up(job: Job) -> dict[str, Any]:
    """A result of the right form for any job of any table."""
    if job.function is zoo.measure:
        attacked = {} if job.model.trigger is None else {"asr": [890, 900]}
        return {"clean": [985 + job.model.seed % 5, 1000], **attacked}
    if job.function is zoo.statistics:
        usual = usual_statistics(job.model.data)
        if job.model.trigger is not None:
            usual["odd_class"] += 5.0
        margin, weights = (
            {"largest_margin": usual.pop("largest_margin")},
            {
                "outlying_channel": usual.pop("outlying_channel"),
                "silent_channels": 0.0,
            },
        )
        return {
            "statistics": {"weights": weights, "max_margin": margin, "neural_cleanse": usual},
            "scores": {"max_margin": [1.0] * 10, "neural_cleanse": [30.0] * 10},
            "targets": {"weights": None, "max_margin": 0, "neural_cleanse": job.model.target},
            "p_values": {"weights": None, "max_margin": 0.5, "neural_cleanse": None},
            "seconds": {"weights": 0.1, "max_margin": 1.0, "neural_cleanse": 9.0},
        }
    if job.function is zoo.half_statistics:
        odd = 5.0 if job.model.trigger is not None else 0.0
        return {
            "statistics": {FOR_HALF: {ODD_HALF: odd}},
            "scores": {FOR_HALF: [20.0] * 10},
            "targets": {FOR_HALF: job.model.target},
            "p_values": {FOR_HALF: None},
            "seconds": {FOR_HALF: 4.0},
        }
    if job.function is zoo.first_filters:
        return {"filters": [[[[0.1 * i, -0.2], [0.3, 0.4]]] for i in range(4)]}
    if job.function is zoo.repaired:
        before, after = {"clean": [990, 1000], "asr": [899, 900]}, {"clean": [985, 1000], "asr": [9, 900]}
        return {"clean_pictures": 300, "before": before, "after": after, "seconds": 12.5, "record": {}}
    if job.function in (nnoculation.treated, nnoculation.inoculated):
        return _about_nnoculation(job)
    if job.function is guard_load.load:
        said = {"per_s": 600.0, "p50_s": 0.01, "p99_s": 0.03, "failed": 0, "quarantined": 0.02}
        return {"bare_per_s": 9000.0, "bare_one_by_one_per_s": 900.0, "full": said, "half": said}
    if job.function is guard_floods.flooded:
        rates = {"clean": [970, 1000], "asr": [10, 900], "second": [5, 900]}
        better = {"clean": [985, 1000], "asr": [2, 900], "second": [5, 900]}
        said = [
            "begin: repair from 200 inputs, to become version 2",
            "refusal: version 2 is not accepted: a reason: 1 %",
        ]
        return {"received": rates, "before": rates, "after": better, "sent": 2500, "quarantined": 300, "said": said,
                "seconds": 60.0}  # fmt: skip
    if job.function is guard_kills.killed:
        return {"kills": 10, "acknowledged": 500, "lost": 0, "came_back": 10, "orders": 25, "back_s": 4.5}
    if job.function is speed.command:
        return {"seconds": [1.5, 2.0], "cpu_s": [1.4, 1.9], "exit_code": 0}
    if job.function is opening.measure:
        return {"verdict": "safe", "bytes": 10_000_000, "process_s": 0.5, "process_cpu_s": 0.4, "judging_s": 0.05,
                "process_s_all": [0.5, 0.6]}  # fmt: skip
    if job.function is private_linear.encrypted_layers:
        seconds = {key: [0.25, 0.2, 0.3] for key in ("client_s", "server_s", "cpu_s", "online_s")}
        return {**seconds, "client_bytes": 5_400_000, "server_bytes": 1_700_000, "encode_s": 0.5,
                "weights_bytes": 92_000_000, "security_bits": 48.4, "primes": 2}  # fmt: skip
    if job.function is private_nonlinear.protocol:
        spent = {"seconds": 0.1, "cpu_s": 0.15, "sent": 1000, "rounds": 3}
        return {"values": 10, "set_up": spent, "offline": [spent] * 3, "online": [spent] * 3}
    if job.function is estimates.foreseen:
        costs = {"memory_bytes": 10**9, "receipt_bytes": 400_000}
        return {"foreseen": {"prove_s": 0.5, **costs}, "prove_s": [0.4, 0.45], **costs}
    if job.function is cryptonas.trained:
        return {"clean": [800, 1000], "relus": job.settings["budget"], "macs": 10**7, "squares": 0, "parameters": 10**5,
                "arguments": {}}  # fmt: skip
    if job.function is cryptonas_timing.timed_in_turn:
        return {"online_s": [{"network": n, "budget": b, "seconds": [b / 1e5]} for n, b in job.settings["networks"]]}
    if job.function is cryptonas.online:
        return {"predicted": None, "measured": {"online_s": job.settings["budget"] / 1e5}, "agreement": 0.99}
    if job.function is fuzzing.fuzz_receipts:
        return {"rejected": {"bytes": 12, "fields": 8}, "unreadable": 5, "wrong": [], "cpu_s": 0.02}
    if job.function is private_jobs.answered:
        relus = sum(job.settings["name"].encode())
        costs = {"offline_s": 1.0, "online_s": relus / 1000, "offline_bytes": 2_000_000, "online_bytes": 50_000}
        runs = {key: [value] * 3 for key, value in costs.items()}
        session = {**runs, "online_rounds": 7, "predicted": {**costs, "online_rounds": 7}}
        return {"equal": True, "relus": relus, "rounded": 0, "client_bytes": 10**8, "server_bytes": 10**8,
                "sessions": [session] * job.settings["sessions"]}  # fmt: skip
    if job.function is private_jobs.exact:
        return {"n": 8, "equal": 8, "relus": 1000}
    if job.function is private_jobs.spu:
        return {"seconds": [1.0, 2.0]}
    if (found := _about_integers(job)) is not None:
        return found
    raise NotImplementedError(job.function)


def _about_nnoculation(job: Job) -> dict[str, Any]:
    rates = {"clean": [990 - job.model.seed, 1000], "asr": [10 * job.model.seed, 1000]}
    if job.function is nnoculation.treated:
        return {"received": rates, "treated": rates, "seconds": 100.0 + job.model.seed}
    return {
        "quarantined_triggered": [90, 100], "quarantined_clean": [2, 100], "requests_until_repair": 900,
        "quality": 0.9, "repaired": rates, "without_generator": rates, "seconds": 50.0,
        "scores_alone": {"strip": 0.9, "scale_up": 0.8, "ibd_psc": 0.7},
    }  # fmt: skip


SECONDS = {"wall_s": [0.5, 0.4, 0.6], "cpu_s": [0.3, 0.2, 0.4]}


def _about_integers(job: Job) -> dict[str, Any] | None:
    """The same for jobs about integer networks and their proofs."""
    sizes = {"products": 1000, "weights": 100, "values": 500, "soundness_bits": 100.1, "proof_bytes": 40_000}
    costs = {"clear": SECONDS, "prove": SECONDS, "verify": SECONDS}
    if job.function is integer.fidelity:
        return {"float": [990, 1000], "integer": [989, 1000], "agreement": [998, 1000], "mcnemar": 1.0,
                "warning": None, "ring_bits": 25, "nodes": 9, "digest": "00"}  # fmt: skip
    if job.function is integer.pace:
        return {"threads": 2, "torch_ms_a_picture": [1.0], "integer_ms_a_picture": [1.5], "ratio": 1.5}
    if job.function is classic.accuracy:
        return {"float": [985, 1000], "integer": [983, 1000], "classic": True, "wrapped_on_clean": 0, "bits": [8, 61]}
    if job.function is proof_jobs.proven:
        commitment = {"commit": SECONDS, "prove_ranges": SECONDS, "accept": SECONDS, "bytes": 9000}
        more = {"commitment": commitment} if job.settings["committed"] else {}
        foreseen = None if job.settings["committed"] else {"prove_s": 0.25}
        alone = 0.9 if job.settings["standalone"] else None
        return {**costs, **sizes, **more, "receipt_bytes": 45_000, "peak_bytes": 10**8, "foreseen": foreseen,
                "standalone_cpu_s": alone}  # fmt: skip
    if job.function is proof_jobs.classic_proven:
        live = [{"bytes": 7000, "answer_bytes": 800, "verify_cpu_s": 0.01}]
        return {**costs, **sizes, "float32": SECONDS, "loop_cpu_s": 50.0, "receipt_bytes": 50_000, "live": live}
    if job.function is proof_jobs.first_call:
        return {"first_prove_s": 40.0, "next_prove_s": 1.0, "first_verify_s": 20.0, "next_verify_s": 1.0, "said": []}
    if job.function is proof_jobs.ezkl:
        return {"prove": SECONDS, "verify": SECONDS, "setup": {"cpu_s": 9.0}, "proof_bytes": 3000,
                "peak_bytes": 10**9, "proving_key_bytes": 10**8}  # fmt: skip
    return None


def prefill(store: Path, jobs: list[Job]) -> None:
    """Keep a made-up result of every job, where `make` looks for it."""
    for job in jobs:
        place = store / job.function.__name__ / f"{digest(job.function, job.settings)}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"result": made_up(job)}))

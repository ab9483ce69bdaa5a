"""The table of mutated receipts: none may be accepted, and a verifier raises VerificationError or nothing."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.bench.mutation import KINDS, mutate
from assay.bench.table import Job, Results, Row, Table
from assay.integer import IntegerNetwork
from assay.integer import graph as g
from assay.proof import HiddenNetwork, VerificationError, prove, verify

NONCE = bytes(range(16))
MUTANTS = 20_000
"""Of one job, about 20 seconds."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A receipt, and what its verifier knows: the network, or a commitment to it."""

    receipt: bytes
    pictures: NDArray[np.uint8]
    known: dict[str, Any]

    def verify(self, data: bytes, trusting: bool) -> None:
        """Raise unless `data` convinces; a trusting verifier takes pictures and nonce from the receipt."""
        pictures, nonce = (None, None) if trusting else (self.pictures, NONCE)
        verify(data, pictures, nonce=nonce, trust_receipt_inputs=trusting, allow_replay=trusting, **self.known)


def _network(*middle: g.Node, classic: bool = False) -> IntegerNetwork:
    """Four numbers from 0 to 15 in, two classes out."""
    weight = np.array([[1, -2, 3, 1], [2, 1, -1, -3]])
    last = g.Linear(input=1 + len(middle) + 1, weight=np.array([[2, -1], [-3, 1]]), bias=np.array([1, -4]))
    nodes = (g.Input((1, 2, 2), high=15), g.Flatten(input=0), g.Linear(input=1, weight=weight, bias=np.array([3, 5])))
    return IntegerNetwork((*nodes, *middle, last), ("a", "b"), 1.0, classic)


@lru_cache(maxsize=1)
def victims() -> dict[str, Victim]:
    """A quantised network, the same with committed weights, and one with squares: verified in about a millisecond."""
    pictures = np.array([3, 14, 0, 9], np.uint8).reshape(1, 1, 2, 2)
    quantised = _network(g.Requantise(input=2, shift=3, low=0, high=15, start=0, stop=2))
    squares, hidden = _network(g.Square(input=2), classic=True), HiddenNetwork(quantised)
    receipts = {
        "quantised": prove(quantised, pictures, nonce=NONCE)[1],
        "committed": prove(quantised, pictures, nonce=NONCE, hidden=hidden)[1],
        "squares": prove(squares, pictures, nonce=NONCE)[1],
    }
    known: dict[str, dict[str, Any]] = {
        "quantised": {"model": quantised},
        "committed": {"commitment": hidden.digest},
        "squares": {"model": squares},
    }
    return {name: Victim(receipt.to_bytes(), pictures, known[name]) for name, receipt in receipts.items()}


def fuzz_receipts(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: `mutants` receipts of the network `victim`, drawn with `seed`; counts by kind, and whatever went wrong."""
    victim, rng = victims()[settings["victim"]], random.Random(settings["seed"])
    victim.verify(victim.receipt, trusting=False)
    rejected: Counter[str] = Counter()
    unreadable = 0
    wrong: list[dict[str, Any]] = []
    begun = time.process_time()
    for _ in range(settings["mutants"]):
        kind, mutant = mutate(victim.receipt, rng)
        try:
            victim.verify(mutant, trusting=rng.random() < 0.5)
        except VerificationError as error:
            rejected[kind] += 1
            unreadable += error.exit_code == 2
        except Exception as error:  # what must not happen is recorded, and the search goes on
            wrong.append({"raised": f"{type(error).__name__}: {error}"[:300], "mutant": mutant.hex()})
        else:
            wrong.append({"raised": None, "mutant": mutant.hex()})
    spent = time.process_time() - begun
    return {"rejected": dict(rejected), "unreadable": unreadable, "wrong": wrong, "cpu_s": spent}


def _jobs(quick: bool) -> list[Job]:
    shares = {"quantised": 30, "committed": 15, "squares": 6}
    return [
        Job(fuzz_receipts, {"victim": victim, "seed": seed, "mutants": MUTANTS})
        for victim, count in shares.items()
        for seed in range(1 if quick else count)
    ]


def _rows(results: Results) -> list[Row]:
    return [
        _row(victim, [(job, result) for job, result in results if job.settings["victim"] == victim])
        for victim in dict.fromkeys(job.settings["victim"] for job, _ in results)
    ]


def _row(victim: str, results: Results) -> Row:
    mutants = sum(job.settings["mutants"] for job, _ in results)
    wrong = [entry for _, result in results for entry in result["wrong"]]
    return {
        "network": victim,
        "n": mutants,
        **{kind: sum(result["rejected"].get(kind, 0) for _, result in results) for kind in KINDS},
        "unreadable": sum(result["unreadable"] for _, result in results),
        "accepted": sum(entry["raised"] is None for entry in wrong),
        "other_errors": sum(entry["raised"] is not None for entry in wrong),
        "cpu_seconds_each": sum(result["cpu_s"] for _, result in results) / mutants,
        "seed": [job.settings["seed"] for job, _ in results],
    }


RECEIPTS = Table(
    title="Receipts that were changed",
    jobs=_jobs,
    rows=_rows,
    columns={
        "network": "network",
        "n": "mutants",
        "bytes": "bytes changed",
        "elements": "field elements changed",
        "fields": "fields changed",
        "encoding": "encoded otherwise",
        "unreadable": "called unreadable",
        "accepted": "accepted",
        "other_errors": "other errors",
        "cpu_seconds_each": "CPU s each",
    },
    note="Every mutant differs from an honest receipt; a half is shown to a verifier that trusts the receipt's own "
    "pictures and nonce. Accepted and other errors must be 0: a verifier raises VerificationError and nothing else.",
)

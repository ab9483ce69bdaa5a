"""`assay serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from assay.cli.console import COMMON, Common, Outcome, progress
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.integer import IntegerNetwork
    from assay.proof import Limits

MIB = 1 << 20


def serve(
    network: Path,
    *,
    prove: Annotated[bool, Parameter(negative=())] = False,
    committed: Annotated[bool, Parameter(negative=())] = False,
    host: str = "127.0.0.1",
    port: int = 8081,
    batch: int = 16,
    at_once: int = 1,
    waiting: int = 16,
    body_mib: int = 8,
    common: Common = COMMON,
) -> Outcome:
    """Answer for a network over HTTP, with proofs if wanted. Ctrl-C ends it; what is under way is finished.

    It has no encryption and no passwords of its own: for clients elsewhere put a web server with TLS in front.

    Parameters
    ----------
    network
        A network written by `assay compile`.
    prove
        Every answer comes with a receipt, made for the client's nonce; `/live` proves interactively.
    committed
        Publish a commitment to the weights, not the weights; receipts are about it.
    host
        Where to listen; 0.0.0.0 for everywhere.
    port
        0 takes a free one and says which.
    batch
        Pictures in a request, at most.
    at_once
        Answers that are made at the same time.
    waiting
        Requests that may wait for their turn; more are sent away with status 503.
    body_mib
        Size of a request, at most.
    """
    from assay.integer import load
    from assay.proof.serving.limits import Limits
    from assay.proof.serving.server import address_of, listen, run

    limits = Limits(batch=batch, at_once=at_once, waiting=waiting, body_bytes=body_mib * MIB)
    known = load(network)
    with listen(host, port) as listening:
        from assay.proof.serving.app import Service

        with progress() as bars:
            bars("preparing", 0, 1)
            if prove:
                _check_memory(known, limits)
            made = Service(known, prove, committed, limits)
            bars("preparing", 1, 1)
        address = address_of(listening)
        what = "with proofs" if prove else "answers only, WITHOUT proofs (add --prove)"
        name = f"{'commitment' if committed else 'SHA-256'} {made.name}"
        print(f"serving {network} at {address}, {what}; {name}; Ctrl-C ends it", file=sys.stderr, flush=True)
        run(made.app, listening, limits.body_bytes)
    document = {"address": address, "proves": prove, "network": made.name, "answers": made.metrics.answers}
    return Outcome(document, f"ended after {made.metrics.answers} answers")


def _check_memory(known: IntegerNetwork, limits: Limits) -> None:
    """Raise InputError if proofs of the largest batches would not fit this machine."""
    from assay.proof import estimate
    from assay.runs import machine

    needed = limits.at_once * estimate(known, limits.batch).memory_bytes / 2**30
    there = int(machine()["memory_gib"])
    if needed > there:
        raise InputError(
            f"proving {limits.batch} pictures, {limits.at_once} requests at once, takes about {needed:.1f} GiB, "
            f"and this machine has {there}; give a smaller --batch or --at-once"
        )

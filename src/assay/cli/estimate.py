"""`assay estimate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from assay.cli.console import Common, Outcome


def estimate(network: Path, *, batch: int = 1, common: Common = Common()) -> Outcome:
    """What proving a batch would cost on this machine: time, memory, size of the receipt.

    Parameters
    ----------
    network
        A network written by `assay compile`.
    batch
        Pictures in one receipt.
    """
    from assay.integer import load
    from assay.proof import estimate as foresee

    found = foresee(load(network), batch)
    text = (
        f"about {found.prove_s:.2g} s of CPU, {found.memory_bytes / 1e6:.0f} MB of memory, "
        f"a receipt of {found.receipt_bytes / 1000:.0f} kB\n"
        f"{found.committed} committed values, {found.lookups} lookups"
    )
    return Outcome({"batch": batch, **asdict(found)}, text)

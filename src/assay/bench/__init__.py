"""Tables: every figure that Assay states in docs or README is made here, by `assay bench TABLE`."""

from __future__ import annotations

from assay.bench import (
    badnets,
    classic,
    classic_speed,
    cryptonas,
    estimates,
    fuzzing,
    guard_floods,
    guard_kills,
    guard_load,
    integer,
    nnoculation,
    private,
    private_linear,
    private_nonlinear,
    proof,
    references,
    repairs,
    scanning,
    speed,
)
from assay.bench.run import Made, embed, embedded, find_table, make, write, write_figures
from assay.bench.table import Job, Table

__all__ = ["TABLES", "Job", "Made", "Table", "embed", "embedded", "find_table", "make", "write", "write_figures"]

TABLES: dict[str, Table] = {
    "badnets-mnist": badnets.MNIST,
    "badnets-signs": badnets.SIGNS,
    "scan": scanning.SCAN,
    "repair": repairs.REPAIR,
    "nnoculation": nnoculation.NNOCULATION,
    "guard-load": guard_load.GUARD_LOAD,
    "guard-floods": guard_floods.GUARD_FLOODS,
    "guard-kills": guard_kills.GUARD_KILLS,
    "references": references.REFERENCES,
    "speed": speed.SPEED,
    "integer": integer.INTEGER,
    "safetynets": classic.CLASSIC,
    "safetynets-speed": classic_speed.RATIOS,
    "proof": proof.PROOF,
    "proof-brief": proof.BRIEF,
    "private": private.PRIVATE,
    "private-exact": private.EXACT,
    "private-linear": private_linear.PRIVATE_LINEAR,
    "private-nonlinear": private_nonlinear.PRIVATE_NONLINEAR,
    "receipts": fuzzing.RECEIPTS,
    "estimates": estimates.ESTIMATES,
    "cryptonas": cryptonas.CRYPTONAS,
    "cryptonas-brief": cryptonas.BRIEF,
}
"""The names of the command line."""

"""`assay calibrate`."""

from __future__ import annotations

import os

from assay.cli.console import COMMON, Common, Outcome, progress

QUIET = 0.5
"""Load above which the figures of a calibration are doubted."""


def calibrate(*, common: Common = COMMON) -> Outcome:
    """Measure how fast this machine is at private inference, for `assay count`. Let nothing else run meanwhile."""
    from rich import box
    from rich.table import Table

    from assay.private.calibration import calibrate as measure
    from assay.private.calibration import place

    load = _load()
    with progress() as bars:
        found = measure(lambda what, done, total: bars(what, done, total))
    document = {"file": str(place()), "rates": found.rates, "machine": found.machine, "date": found.date, "load": load}
    table = Table("unit of work", "microseconds", title=f"written to {place()}", box=box.SIMPLE_HEAD)
    for unit, seconds in found.rates.items():
        table.add_row(unit, f"{1e6 * seconds:.4g}")
    if load is not None and load > QUIET:
        table.caption = f"the machine was busy the minute before (load {load:.2f}); if it still is, measure again"
    return Outcome(document, table)


def _load() -> float | None:
    """Of the minute before, in processes that wanted to run; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None

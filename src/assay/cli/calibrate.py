"""`assay calibrate`."""

from __future__ import annotations

from assay.cli.console import COMMON, Common, Outcome, progress


def calibrate(*, common: Common = COMMON) -> Outcome:
    """Measure how fast this machine is at private inference, for `assay count`. Let nothing else run meanwhile."""
    from rich import box
    from rich.table import Table

    from assay.private.calibration import calibrate as measure
    from assay.private.calibration import place

    with progress() as bars:
        found = measure(lambda what, done, total: bars(what, done, total))
    document = {"file": str(place()), "rates": found.rates, "machine": found.machine, "date": found.date}
    table = Table("unit of work", "microseconds", title=f"written to {place()}", box=box.SIMPLE_HEAD)
    for unit, seconds in found.rates.items():
        table.add_row(unit, f"{1e6 * seconds:.4g}")
    return Outcome(document, table)

"""The report is ground: cheap to import, and it knows no part of the house."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_report_brings_neither_matplotlib_nor_torch_nor_a_part() -> None:
    code = "import sys, assay.report; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"matplotlib", "torch", "playwright"}
    assert not loaded & {f"assay.{part}" for part in ("detect", "repair", "backdoor", "supply", "vet", "cli")}

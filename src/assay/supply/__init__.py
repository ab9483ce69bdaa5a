"""Untrusted bytes in: what a file is, whether it is safe to open, and its tensors.

`inspect` needs no torch; `read_tensors` imports it when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.supply.inspect import FileReport, Finding, inspect, inspect_bytes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FileReport", "Finding", "inspect", "inspect_bytes", "read_tensors"]


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """See `assay.supply.tensors.read_tensors`."""
    from assay.supply.tensors import read_tensors as read

    return read(path)

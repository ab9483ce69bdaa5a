"""Untrusted bytes in: what a file is, whether it is safe to open, and its tensors.

`inspect` needs no torch; `read_tensors` and `receive` import it when they are called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.supply.inspect import inspect, inspect_bytes
from assay.supply.report import FileReport, Finding

if TYPE_CHECKING:
    from torch import Tensor

    from assay.supply.tensors import Received

__all__ = ["FileReport", "Finding", "inspect", "inspect_bytes", "read_tensors", "receive"]


def receive(path: Path | str) -> Received:
    """See `assay.supply.tensors.receive`."""
    from assay.supply.tensors import receive as read

    return read(path)


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict in a model file and its metadata; raises what `receive` does."""
    received = receive(path)
    return received.tensors, received.metadata

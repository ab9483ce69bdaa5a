"""What a network costs between two parties: predicted by the private engine's cost model, where it is there."""

from __future__ import annotations

from typing import Any

from assay.integer import IntegerNetwork


def predicted(network: IntegerNetwork) -> dict[str, Any] | None:
    """Seconds, bytes and rounds, offline and online, over a local network; None without a cost model."""
    return None

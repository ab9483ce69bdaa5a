"""CryptoNAS: the best network for a ReLU budget. Count, rewrite, scale, search, linearise."""

from __future__ import annotations

from assay.search.count import Counts, LayerCount, count, count_architecture

__all__ = ["Counts", "LayerCount", "count", "count_architecture"]

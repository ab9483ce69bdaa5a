"""CryptoNAS: the best network for a ReLU budget. Count, rewrite, scale, search, linearise."""

from __future__ import annotations

from assay.search.count import Counts, count, count_architecture
from assay.search.frontier import Frontier, Point
from assay.search.linearising import Linearised, linearise
from assay.search.operations import LayerCount
from assay.search.rewriting import Rewrites, Rewritten, rewrite
from assay.search.scale import Scaled, narrow, scale
from assay.search.searching import Found, SearchSettings, search

__all__ = [
    "Counts",
    "Found",
    "Frontier",
    "LayerCount",
    "Linearised",
    "Point",
    "Rewrites",
    "Rewritten",
    "Scaled",
    "SearchSettings",
    "count",
    "count_architecture",
    "linearise",
    "narrow",
    "rewrite",
    "scale",
    "search",
]

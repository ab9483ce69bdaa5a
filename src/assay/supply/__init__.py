"""Untrusted bytes in."""

from assay.supply.tensors import read_tensors

__all__ = ["read_tensors"]

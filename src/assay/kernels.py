"""How loops over words are compiled: what the arithmetic of proofs and that of private inference have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit

WIDE = ir.IntType(128)
WORD = ir.IntType(64)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, keep the result on disk, release the interpreter lock while it runs."""
    compiled: Callable[..., Any] = njit(cache=True, nogil=True)(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for what kernels call in their innermost loops."""
    compiled: Callable[..., Any] = njit(cache=True, nogil=True, inline="always")(function)
    return compiled

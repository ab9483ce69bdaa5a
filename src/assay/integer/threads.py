"""One thread for BLAS, where the caller has better use for the other cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

_lock = Lock()
_inside = 0
_limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """While anybody is in here, matrix products of this process take one thread each.

    OpenBLAS' threads spin between products, and so take a core from whoever computes there: another thread with its
    own part of the work, or the other party of a protocol on the same machine. The number is one for the whole
    process, so the last to leave restores it; OpenBLAS obeys that in the main thread alone, and a server whose
    sessions are threads stays with one.
    """
    global _inside, _limit
    with _lock:
        if not _inside:
            _limit = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limit.restore_original_limits()


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    """Looks through the loaded libraries, which takes milliseconds, once."""
    return ThreadpoolController()

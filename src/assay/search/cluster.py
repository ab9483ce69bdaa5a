"""The same jobs on a Ray cluster: an executor as the standard library has it (extra `ray`)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from assay.errors import InputError

T = TypeVar("T")


class RayExecutor(Executor):
    """Each submission is one Ray task of one core, never tried again by Ray itself.

    Raises:
        InputError: if Ray is not installed or there is no cluster at the address.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray needs Ray; install it with: pip install 'assay[ray]'") from error
        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise InputError(f"no Ray cluster answers at {address}: {error}") from error
        self._ray = ray
        # Ray's own types, where it is installed, do not cover functions of any argument.
        self._run: Any = ray.remote(num_cpus=1, max_retries=0)(_call)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Hand a call to the cluster."""
        future: Future[T] = self._run.remote(fn, args, kwargs).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """The cluster is not ours: it stays. What was submitted and is not awaited is left to it."""


def _call(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    return fn(*args, **kwargs)

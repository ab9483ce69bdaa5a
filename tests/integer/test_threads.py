"""BLAS has one thread while anybody asks for it, and as many as before when the last has left."""

from __future__ import annotations

from threading import Barrier, Thread

import numpy as np  # noqa: F401  # its BLAS is what is looked at
import pytest
from threadpoolctl import threadpool_info

from assay.integer.threads import one_blas_thread


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_the_last_to_leave_restores_the_number_of_threads() -> None:
    before = blas_threads()
    assert before
    inside, seen = Barrier(2), Barrier(2)

    def other() -> None:
        with one_blas_thread():
            inside.wait(10)
            seen.wait(10)

    thread = Thread(target=other)
    with one_blas_thread():
        thread.start()
        inside.wait(10)
        assert blas_threads() == {1}
        seen.wait(10)
        thread.join(10)
        assert blas_threads() == {1}, "the first to leave does not let go for all"
    assert blas_threads() == before


def test_an_error_inside_restores_it_too() -> None:
    before = blas_threads()
    with pytest.raises(ValueError, match="inside"), one_blas_thread():
        raise ValueError("inside")
    assert blas_threads() == before

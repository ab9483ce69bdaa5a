"""Every error Assay raises on purpose.

    AssayError                  one sentence for a person: what was expected, what came, what to do
    ├── InputError              an argument or a file from outside does not fit            exit 2
    │   ├── DataError           a data set: unreadable, wrong shape, too small
    │   └── ModelError          a model: wrong architecture, missing tensors, NaN weights
    ├── UnsafeFileError         opening this file could run code                           exit 1
    ├── UnreadableFileError     it cannot be told whether this file is safe                exit 2
    └── BudgetError             the time allowed is spent                                  exit 2

A programmer's mistake stays a `ValueError` or `TypeError`.
"""

from __future__ import annotations


class AssayError(Exception):
    """Base of all errors that are meant to be read by a user."""

    exit_code = 2


class InputError(AssayError):
    """An argument or a file from outside does not fit."""


class DataError(InputError):
    """A data set cannot be used: unreadable, of another shape, or too small."""


class ModelError(InputError):
    """A model cannot be used: wrong architecture, missing or extra tensors, NaN weights."""


class UnsafeFileError(AssayError):
    """Opening this file could run code that is hidden in it."""

    exit_code = 1


class UnreadableFileError(AssayError):
    """The file cannot be read far enough to say that it is safe."""


class BudgetError(AssayError):
    """The time allowed is spent before the work could be done."""

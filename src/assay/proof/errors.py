"""Errors of proofs.

AssayError
├── VerificationError       the proof does not convince                           exit 1
│   └── UnreadableReceipt   these bytes are no receipt of this version            exit 2
└── InputError
    └── UnprovableError     this network, batch or input cannot be proven         exit 2

A verifier raises VerificationError and nothing else, whatever bytes it is given.
"""

from __future__ import annotations

from assay.errors import AssayError, InputError


class VerificationError(AssayError):
    """The proof does not convince."""

    exit_code = 1


class UnreadableReceipt(VerificationError):
    """These bytes are not a receipt, or one of another version."""

    exit_code = 2


class UnprovableError(InputError):
    """The network, the batch or the input is outside what can be proven; the sentence names the layer."""

"""SafetyNets: prove that an answer is what exactly this integer network gives on exactly this input.

Source: Ghodsi, Gu, Garg, "SafetyNets: Verifiable execution of deep neural networks on an untrusted cloud" (NeurIPS
2017), carried on to quantised networks with lookups and a commitment. Integrity only: nothing is hidden.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from assay.proof.api import Verified, prove, soundness_of, verify
from assay.proof.errors import UnprovableError, UnreadableReceipt, VerificationError
from assay.proof.estimate import Estimate, estimate
from assay.proof.hidden import HiddenNetwork, accept_commitment, ledger_of_commitment
from assay.proof.receipt import Receipt, parse
from assay.proof.soundness import Ledger

if TYPE_CHECKING:
    from assay.proof.asking.ask import Asked, ask
    from assay.proof.asking.http import ServerError
    from assay.proof.serving.app import service
    from assay.proof.serving.limits import Limits

__all__ = [
    "Asked",
    "Estimate",
    "HiddenNetwork",
    "Ledger",
    "Limits",
    "Receipt",
    "ServerError",
    "UnprovableError",
    "UnreadableReceipt",
    "VerificationError",
    "Verified",
    "accept_commitment",
    "ask",
    "estimate",
    "ledger_of_commitment",
    "parse",
    "prove",
    "service",
    "soundness_of",
    "verify",
]

_PLACES = {
    "Asked": "asking.ask",
    "Limits": "serving.limits",
    "ServerError": "asking.http",
    "ask": "asking.ask",
    "service": "serving.app",
}
"""Imported when they are first used: the service brings a web framework with it."""


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'assay.proof' has no attribute {name!r}")
    return getattr(import_module(f"assay.proof.{_PLACES[name]}"), name)

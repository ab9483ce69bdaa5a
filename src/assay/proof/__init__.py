"""SafetyNets: prove that an answer is what exactly this integer network gives on exactly this input.

Source: Ghodsi, Gu, Garg, "SafetyNets: Verifiable execution of deep neural networks on an untrusted cloud" (NeurIPS
2017), carried on to quantised networks with lookups and a commitment. Integrity only: nothing is hidden.
"""

from __future__ import annotations

from assay.proof.api import Verified, prove, soundness_of, verify
from assay.proof.errors import UnprovableError, UnreadableReceipt, VerificationError
from assay.proof.estimate import Estimate, estimate
from assay.proof.hidden import HiddenNetwork, accept_commitment
from assay.proof.receipt import Receipt, parse
from assay.proof.soundness import Ledger

__all__ = [
    "Estimate",
    "HiddenNetwork",
    "Ledger",
    "Receipt",
    "UnprovableError",
    "UnreadableReceipt",
    "VerificationError",
    "Verified",
    "accept_commitment",
    "estimate",
    "parse",
    "prove",
    "soundness_of",
    "verify",
]

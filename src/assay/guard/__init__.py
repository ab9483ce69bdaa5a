"""The online defence: a model that is watched, and repaired, while it serves."""

from assay.guard.gates import Evidence, refusal
from assay.guard.guardian import Answer, Guard, model_digest
from assay.guard.replay import Client, GuardUnreachable, Reply, Stream, Tally, send, wait_until
from assay.guard.serving import read_token, serve
from assay.guard.settings import GuardSettings, Policy
from assay.guard.store import Entry, Store, StoreError
from assay.guard.versions import Pair, Version, Versions

__all__ = [
    "Answer",
    "Client",
    "Entry",
    "Evidence",
    "Guard",
    "GuardSettings",
    "GuardUnreachable",
    "Pair",
    "Policy",
    "Reply",
    "Store",
    "StoreError",
    "Stream",
    "Tally",
    "Version",
    "Versions",
    "model_digest",
    "read_token",
    "refusal",
    "send",
    "serve",
    "wait_until",
]

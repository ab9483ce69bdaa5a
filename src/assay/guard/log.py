"""The audit log: every swap, refusal and order, with its reason; each line vouches for the one before."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import dataclass

from assay.guard.store import Store


@dataclass(frozen=True, slots=True)
class Line:
    """What happened, in a sentence; `chain` is the SHA-256 of it and of the line before."""

    id: int
    at: float
    event: str
    said: str
    chain: str


def append(write: sqlite3.Connection, event: str, said: str) -> None:
    """Add a line within a transaction: it is there if and only if what it tells of is."""
    row = write.execute("SELECT chain FROM log ORDER BY id DESC LIMIT 1").fetchone()
    at = time.time()
    write.execute(
        "INSERT INTO log (at, event, said, chain) VALUES (?, ?, ?, ?)",
        (at, event, said, _chained(row[0] if row else "", at, event, said)),
    )


def note(store: Store, event: str, said: str) -> None:
    """Add a line."""
    with store.transaction() as write:
        append(write, event, said)


def lines(store: Store, n: int) -> list[Line]:
    """The newest, newest first."""
    return [Line(*row) for row in store.rows("SELECT id, at, event, said, chain FROM log ORDER BY id DESC LIMIT ?", n)]


def intact(store: Store) -> bool:
    """Whether no line was changed, taken out or put in."""
    before = ""
    for at, event, said, chain in store.rows("SELECT at, event, said, chain FROM log ORDER BY id"):
        if chain != _chained(before, at, event, said):
            return False
        before = chain
    return True


def _chained(before: str, at: float, event: str, said: str) -> str:
    return hashlib.sha256("\0".join([before, repr(at), event, said]).encode()).hexdigest()

"""The quarantine: an SQLite file that holds inputs, answers and scores, the versions and the log.

What `add` has returned for survives `kill -9`: it is committed to the write-ahead log before. The file belongs to one
model and to one guard at a time.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError, InputError

FORMAT = "assay-guard/1"

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, client TEXT NOT NULL, version INTEGER NOT NULL,
    received INTEGER NOT NULL, treated INTEGER NOT NULL, confidence REAL NOT NULL, x BLOB NOT NULL,
    strip REAL, scale_up REAL, ibd_psc REAL);
CREATE INDEX IF NOT EXISTS by_client ON quarantine (client, id);
CREATE INDEX IF NOT EXISTS by_version ON quarantine (version, id);
CREATE TABLE IF NOT EXISTS versions (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, folder TEXT NOT NULL, digest TEXT NOT NULL,
    accuracy REAL NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, event TEXT NOT NULL, said TEXT NOT NULL,
    chain TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (
    at REAL NOT NULL, version INTEGER NOT NULL, requests INTEGER NOT NULL, quarantined INTEGER NOT NULL);
"""

SCORES = ("strip", "scale_up", "ibd_psc")


class StoreError(AssayError):
    """The quarantine cannot be written: the disk is full, or its folder has gone."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A quarantined input.

    Attributes:
        x: uint8 `c h w`.
        received, treated: the two labels.
        confidence: the served network's, in [0, 1].
        version: which was serving.
        scores: those that have been computed, by name.
    """

    client: str
    version: int
    received: int
    treated: int
    confidence: float
    x: NDArray[np.uint8]
    at: float = 0.0
    id: int = 0
    scores: Mapping[str, float] | None = None


class Store:
    """The open file. Its methods may be called from several threads.

    Raises:
        InputError: at opening, if another guard has it, if it is of another model, or if it is no such file.
    """

    def __init__(
        self, path: Path, model: str, shape: tuple[int, int, int], capacity: int = 5000, per_client: int = 2000
    ) -> None:
        self.path, self.shape, self.capacity, self.per_client = path, shape, capacity, per_client
        self._guard = threading.RLock()
        self._lock = _lock(path)
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._begin(model)
        except (sqlite3.Error, StoreError) as error:
            self.close()
            raise InputError(f"{path} cannot be used as a quarantine: {error}; choose another --store") from error
        except InputError:
            self.close()
            raise

    def _begin(self, model: str) -> None:
        os.chmod(self.path, 0o600)  # it holds what clients sent
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A commit is in the write-ahead log when it returns: safe from kill -9; a power cut may take the last second.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self.transaction() as write:
            # One by one: `executescript` would commit before the file is known to be ours.
            for statement in filter(str.strip, _TABLES.split(";")):
                write.execute(statement)
            known = dict(write.execute("SELECT key, value FROM meta").fetchall())
            if known.get("format", FORMAT) != FORMAT:
                raise InputError(f"{self.path} is of the format {known['format'][:40]}, this is {FORMAT}")
            if known.get("model", model) != model:
                raise InputError(
                    f"{self.path} is the quarantine of another model ({known['model'][:12]}…, this is {model[:12]}…); "
                    "choose another --store"
                )
            write.execute("INSERT OR REPLACE INTO meta VALUES ('format', ?), ('model', ?)", (FORMAT, model))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing of what the block writes.

        Raises:
            StoreError: if it cannot be written.
        """
        with self._guard:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._roll_back()
                raise StoreError(f"the quarantine {self.path} cannot be written: {error}; make room") from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a question gives."""
        with self._guard:
            return self._connection.execute(query, values).fetchall()

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep them; when it returns, they are committed. A client at its cap, and a full file, lose their oldest.

        Raises:
            StoreError: if the disk is full; none is kept then.
        """
        if not entries:
            return
        now = time.time()
        with self.transaction() as write:
            write.executemany(
                "INSERT INTO quarantine (at, client, version, received, treated, confidence, x) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(now, e.client, e.version, e.received, e.treated, e.confidence, e.x.tobytes()) for e in entries],
            )
            for client in {e.client for e in entries}:
                _shorten(write, "WHERE client = ?", (client,), self.per_client)
            _shorten(write, "", (), self.capacity)

    def count(self, after: int = 0) -> int:
        """Entries with an id above `after`."""
        return int(self.rows("SELECT count(*) FROM quarantine WHERE id > ?", after)[0][0])

    def last(self) -> int:
        """The highest id that was ever given."""
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'quarantine'")
        return int(rows[0][0]) if rows else 0

    def recent(self, n: int) -> list[Entry]:
        """The newest, newest first."""
        return [self._entry(row) for row in self.rows(f"SELECT {_COLUMNS} FROM quarantine ORDER BY id DESC LIMIT ?", n)]

    def of_version(self, version: int, n: int, after: int = 0) -> list[Entry]:
        """The newest that came under a version, with ids above `after`: its clients in turn, so that none outweighs."""
        ranked = (
            f"SELECT {_COLUMNS}, row_number() OVER (PARTITION BY client ORDER BY id DESC) AS turn "
            "FROM quarantine WHERE version = ? AND id > ? ORDER BY turn, id DESC LIMIT ?"
        )
        return [self._entry(row) for row in self.rows(ranked, version, after, n)]

    def unscored(self, n: int) -> list[Entry]:
        """The newest without second opinions."""
        query = f"SELECT {_COLUMNS} FROM quarantine WHERE strip IS NULL ORDER BY id DESC LIMIT ?"
        return [self._entry(row) for row in self.rows(query, n)]

    def score(self, scores: Mapping[int, Mapping[str, float]]) -> None:
        """Write second opinions, by id."""
        with self.transaction() as write:
            write.executemany(
                "UPDATE quarantine SET strip = ?, scale_up = ?, ibd_psc = ? WHERE id = ?",
                [(*(said[name] for name in SCORES), id) for id, said in scores.items()],
            )

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        id, at, client, version, received, treated, confidence, x, *scores = row[:11]
        picture = np.frombuffer(x, np.uint8).reshape(self.shape)
        known = dict(zip(SCORES, scores, strict=True)) if scores[0] is not None else None
        return Entry(client, version, received, treated, confidence, picture, at, id, known)

    def get(self, key: str, default: str = "") -> str:
        """A value that `put` kept."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else default

    def put(self, key: str, value: str) -> None:
        with self.transaction() as write:
            write.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Let another guard have it."""
        with self._guard:
            self._connection.close()
            self._lock.close()


_COLUMNS = "id, at, client, version, received, treated, confidence, x, strip, scale_up, ibd_psc"


def _shorten(write: sqlite3.Connection, where: str, values: tuple[object, ...], most: int) -> None:
    (count,) = write.execute(f"SELECT count(*) FROM quarantine {where}", values).fetchone()
    if count > most:
        write.execute(
            f"DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine {where} ORDER BY id LIMIT ?)",
            (*values, count - most),
        )


def _lock(path: Path) -> IO[bytes]:
    """Hold `path`.lock for as long as this process lives."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        raise InputError(f"--store {path} cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(f"another guard is using {path}; stop it or choose another --store") from error
    return lock

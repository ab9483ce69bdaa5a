"""Versions: the received network, the treated one, each accepted repair; which of them serves, and going back.

A version's files are written before its row, and row, pointer and log line are one transaction: after `kill -9` the
last accepted version serves again. In memory the swap is one assignment; a batch is answered by the version it began
with.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from assay.errors import AssayError, InputError
from assay.guard import log
from assay.guard.doubt import doubt
from assay.guard.store import Store
from assay.models import Model, as_float, batches, load
from assay.repair.deferring import deferring
from assay.repair.nnoculation_live import Suspects

RECEIVED = 0
"""The version before the treatment is ready: the received network alone."""


def versions_folder(store: Path) -> Path:
    """Where the versions of the guard with this store are kept."""
    return store.with_name(store.name + ".versions")


@dataclass(frozen=True, slots=True)
class Version:
    """An accepted version; `record` is how it came about, JSON-ready."""

    id: int
    at: float
    kind: str
    folder: str
    digest: str
    accuracy: float
    record: dict[str, object]

    @property
    def limit(self) -> float:
        """The doubt above which an input is quarantined while it serves, in nats."""
        said = self.record.get("limit", 0.0)
        return float(said) if isinstance(said, int | float) else 0.0

    @property
    def answers_for(self) -> list[int]:
        """The labels for which the received network defers to it; empty: it always answers."""
        said = self.record.get("answers_for", [])
        return [label for label in said if isinstance(label, int)] if isinstance(said, list) else []


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one batch: labels of both networks, the served one's probabilities `n k`, and which version gave them.

    `doubted`: which are to be quarantined.
    """

    version: int
    received: NDArray[np.int64]
    treated: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    doubted: NDArray[np.bool_]


@dataclass(frozen=True)
class Pair:
    """What serves: the received network, and the one beside it (None before the treatment).

    `limit`: the doubt above which an input is quarantined, in nats; `suspects`: which are so besides.
    """

    version: int
    received: Model
    treated: Model | None
    limit: float = 0.0
    suspects: Suspects | None = None

    @torch.inference_mode()
    def answer(self, x: NDArray[np.uint8]) -> Answers:
        """Both networks' answers to uint8 pictures `n c h w`."""
        images = as_float(x, self.received.mean.device)
        received = self.received(images)
        treated = received if self.treated is None else self.treated(images)
        doubted = (~(doubt(received, treated) <= self.limit)).cpu().numpy()  # what is no number is doubted
        if self.suspects is not None:
            doubted |= self.suspects(x)
        return Answers(
            self.version,
            received.argmax(1).cpu().numpy(),
            treated.argmax(1).cpu().numpy(),
            treated.softmax(1).float().cpu().numpy(),
            doubted,
        )

    def doubted(self, x: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of any number of pictures would be quarantined."""
        parts = [self.answer(x[part]).doubted for part in batches(len(x), 256)]
        return np.concatenate(parts) if parts else np.zeros(0, bool)


class Versions:
    """The accepted versions of a store, and the pair that serves now.

    Args:
        folder: where their files are, one folder a version.
        arch: of the received model, where its file does not say it.
        suspects: what is quarantined besides what the two networks differ on.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        received: Model,
        arch: str | None = None,
        suspects: Suspects | None = None,
    ) -> None:
        self.store, self.folder, self.received, self.arch, self.suspects = store, folder, received, arch, suspects
        self._turn = threading.Lock()
        self.pair = Pair(RECEIVED, received, None)

    def resume(self) -> None:
        """Serve what served last; if its file is damaged, the newest version that is whole."""
        wanted = int(self.store.get("serving", "0"))
        order = [wanted, *(v.id for v in reversed(self.all()) if v.id != wanted), RECEIVED]
        for id in order:
            try:
                self.pair = self._opened(id)
            except AssayError as error:
                log.note(self.store, "damaged", f"version {id} cannot be used: {error}")
                continue
            if id != wanted:
                self.store.put("serving", str(id))
                log.note(self.store, "fallback", f"version {id} serves in place of version {wanted}")
            return

    def all(self) -> list[Version]:
        """Oldest first."""
        rows = self.store.rows("SELECT id, at, kind, folder, digest, accuracy, record FROM versions ORDER BY id")
        return [
            Version(id, at, kind, folder, digest, accuracy, json.loads(record))
            for id, at, kind, folder, digest, accuracy, record in rows
        ]

    def find(self, id: int) -> Version:
        """Raises InputError if there is none."""
        found = next((v for v in self.all() if v.id == id), None)
        if found is None:
            raise InputError(
                f"there is no version {id}; there are {', '.join(str(v.id) for v in self.all()) or 'none'}"
            )
        return found

    def next_id(self) -> int:
        """Never one that was used: files of a refused candidate cannot be taken for those of another."""
        with self.store.transaction() as write:
            row = write.execute("SELECT value FROM meta WHERE key = 'next version'").fetchone()
            id = int(row[0]) if row else 1
            write.execute("INSERT OR REPLACE INTO meta VALUES ('next version', ?)", (str(id + 1),))
        return id

    def accept(self, id: int, kind: str, accuracy: float, record: dict[str, object], reason: str) -> Version:
        """Enter the files in the folder of `id` as a version, and let it serve."""
        place = self.folder / f"{id:04d}"
        digest = hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()
        version = Version(id, time.time(), kind, place.name, digest, accuracy, record)
        with self._turn:
            pair = self._paired(version)
            with self.store.transaction() as write:
                write.execute(
                    "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (id, version.at, kind, place.name, digest, accuracy, json.dumps(record)),
                )
                write.execute("INSERT OR REPLACE INTO meta VALUES ('serving', ?)", (str(id),))
                log.append(write, "swap", f"version {id} ({kind}) serves: {reason}")
            self.pair = pair
        return version

    def activate(self, id: int, who: str) -> None:
        """Let an accepted version serve, as a person wishes; `RECEIVED` is the received network alone.

        Raises:
            InputError: if there is no such version, or its file is damaged.
        """
        with self._turn:
            pair = self._opened(id)
            with self.store.transaction() as write:
                write.execute("INSERT OR REPLACE INTO meta VALUES ('serving', ?)", (str(id),))
                log.append(write, "order", f"version {id} serves in place of version {self.pair.version}: {who}")
            self.pair = pair

    def previous(self) -> int:
        """The version before the one that serves."""
        return max((v.id for v in self.all() if v.id < self.pair.version), default=RECEIVED)

    def best_accuracy(self) -> float:
        """The highest of all accepted versions, so that small losses cannot add up; 0 if there is none."""
        return max((v.accuracy for v in self.all()), default=0.0)

    def _opened(self, id: int) -> Pair:
        return Pair(RECEIVED, self.received, None) if id == RECEIVED else self._paired(self.find(id))

    def _paired(self, version: Version) -> Pair:
        path = self.folder / version.folder / "model.safetensors"
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(blob).hexdigest() != version.digest:
            raise InputError(f"{path} is not the file that was accepted")
        model = load(path, self.arch)
        if model.spec.classes != self.received.spec.classes or model.spec.input_shape != self.received.spec.input_shape:
            raise InputError(f"{path} is not a network for these pictures and classes")
        answers = deferring(self.received, model.eval(), version.answers_for)
        return Pair(version.id, self.received, answers, version.limit, self.suspects)

"""When the next repair begins: not for inputs that a learnt trigger explains, nor again and again for nothing.

After a swap the received network goes on falling for its backdoor, so the same triggered inputs go on being
quarantined; a repair from them brings nothing. An input is *explained* if, with a learnt trigger taken off by the other
generator of its CycleGAN, the received network says what the serving one says: then that trigger was all they differed
by. Of those that nothing explains, `enough` begin a repair. Since a generator may wipe away more than it learnt,
another trigger in the same place say, explained inputs begin one too once `KNOWN` times as many have come.

A repair in vain (refused, because it brings nothing say) doubles what the next of its kind waits for: of inputs that
nothing explains up to the quarantine's capacity, with a rest of half a minute to an hour. So a flood delays and never
switches off: after an hour and a quarantine full of new inputs the guard tries again, from those new ones alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.data import Dataset
from assay.errors import AssayError
from assay.guard import log, selection
from assay.guard.repairing import REMOVER, read_generator
from assay.guard.settings import GuardSettings
from assay.guard.store import Entry, Store
from assay.guard.versions import Pair
from assay.models import Model, predict
from assay.repair.nnoculation_live import LiveSettings
from assay.repair.settings import split
from assay.repair.stampers import Stamper

KNOWN = 16
"""Explained inputs that count as much as one which nothing explains."""


class Kind(msgspec.Struct):
    """Inputs of one kind since the last repair: how many, and with which labels of the received network."""

    count: int = 0
    labels: dict[int, float] = msgspec.field(default_factory=dict)


class Tally(msgspec.Struct):
    """What came under a version since the last repair.

    Labels and `requests` fade, so that they tell of about the last `capacity` inputs: however long the guard has
    served, a label can come in excess. `total`: requests that were counted.
    """

    version: int
    unknown: Kind = msgspec.field(default_factory=Kind)
    known: Kind = msgspec.field(default_factory=Kind)
    requests: float = 0.0
    total: int = 0


def rest_s(failures: int) -> float:
    """Seconds until the next try after so many in a row that failed: half a minute, a minute, two, … an hour."""
    return min(3600.0, 15.0 * 2 ** min(failures, 16)) if failures else 0.0


def explained(received: Model, serving: Model, removers: Sequence[Stamper], x: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of these inputs (uint8 `n c h w`) the received network answers as the serving one once a trigger is off."""
    if not len(x) or not removers:
        return np.zeros(len(x), bool)
    answers = predict(serving, x)
    told: NDArray[np.bool_] = np.any([predict(received, remover.stamp(x)) == answers for remover in removers], axis=0)
    return told


class Demand:
    """Counts what is quarantined, and gives the inputs of the next repair when it is time. It outlives a restart.

    Args:
        folder: where the versions' folders are.
    """

    def __init__(self, store: Store, folder: Path, received: Model, clean: Dataset, settings: GuardSettings) -> None:
        self.store, self.folder, self.received, self.clean, self.settings = store, folder, received, clean, settings
        self._known: tuple[int, list[Stamper]] | None = None
        self._most: tuple[int, NDArray[np.float64]] | None = None
        self._notes: Counter[str] = Counter()

    def inputs(self, pair: Pair, requests: int, limits: Mapping[str, float]) -> list[Entry]:
        """What the next repair learns from; nothing if it is not time.

        Args:
            pair: what serves; with a treated or repaired network.
            requests: that it has answered since its first.
            limits: of the second opinions.
        """
        if time.time() < float(self.store.get("rest until", "0")):
            return []
        tally = self._tally(pair.version)
        if self.store.last() - self._number("looked at") < self.settings.enough and not self._ripe(tally):
            return []
        self._count(tally, pair, requests)
        found = self._found(tally, pair, limits) if self._ripe(tally) else []
        self._keep(tally)
        return found

    def _wanted(self, kind: str) -> int:
        """Inputs before the next repair from this kind: twice as many after each in vain."""
        wanted = self.settings.enough << min(self._number(f"{kind} in vain"), 16)
        return min(wanted, self.settings.capacity) if kind == "unknown" else KNOWN * wanted

    def _ripe(self, tally: Tally) -> bool:
        return tally.unknown.count >= self._wanted("unknown") or tally.known.count >= self._wanted("known")

    def _number(self, key: str) -> int:
        return int(self.store.get(key, "0"))

    def _tally(self, version: int) -> Tally:
        kept = self.store.get("tally")
        tally = msgspec.json.decode(kept, type=Tally) if kept else Tally(version)
        return tally if tally.version == version else Tally(version)

    def _keep(self, tally: Tally) -> None:
        self.store.put("tally", msgspec.json.encode(tally).decode())

    def _count(self, tally: Tally, pair: Pair, requests: int) -> None:
        """Add what has come since the last look."""
        last = self.store.last()
        entries = self.store.of_version(pair.version, self.settings.capacity, after=self._number("looked at"))
        self.store.put("looked at", str(last))
        known = self._explained(pair, entries)
        fade = max(0.0, 1 - len(entries) / self.settings.capacity)
        for kind, mine in ((tally.unknown, ~known), (tally.known, known)):
            new = Counter(entries[i].received for i in np.flatnonzero(mine))
            labels = kind.labels.keys() | new.keys()
            kind.labels = {label: fade * kind.labels.get(label, 0.0) + new[label] for label in labels}
            kind.count += int(mine.sum())
        tally.requests = fade * tally.requests + max(0, requests - tally.total)
        tally.total = requests
        if known.any():
            told = (
                f"{tally.known.count} quarantined inputs are explained by a trigger that version {pair.version} knows"
            )
            self._note("known", told)

    def _found(self, tally: Tally, pair: Pair, limits: Mapping[str, float]) -> list[Entry]:
        """Those that nothing explains, if they suffice; all of them when it is time to doubt the explained ones."""
        entries = self.store.of_version(pair.version, self.settings.capacity, after=self._number("spent"))
        known = self._explained(pair, entries)
        pools = {"unknown": [e for e, told in zip(entries, known, strict=True) if not told], "known": entries}
        labels = {"unknown": tally.unknown.labels, "known": dict(tally.unknown.labels)}
        for label, seen in tally.known.labels.items():
            labels["known"][label] = labels["known"].get(label, 0.0) + seen
        for name, kind in (("unknown", tally.unknown), ("known", tally.known)):
            if kind.count < self._wanted(name):
                continue
            excess = selection.in_excess(labels[name], tally.requests, self._most_of_clean(pair))
            found = selection.chosen(pools[name], excess, limits)
            if len(found) >= self.settings.enough // 2:
                self.store.put("tried", name)
                return found
            kind.count = self._wanted(name) - self.settings.enough  # until the next look
            told = f"of {len(pools[name])} quarantined inputs only {len(found)} come with labels that are in excess"
            self._note(name, told)
        return []

    def _note(self, kind: str, said: str) -> None:
        """Into the log, the first, second, fourth, … time: under a flood there are many looks."""
        self._notes[kind] += 1
        if not self._notes[kind] & (self._notes[kind] - 1):
            log.note(self.store, "no repair", said)

    def _explained(self, pair: Pair, entries: Sequence[Entry]) -> NDArray[np.bool_]:
        if not entries or pair.treated is None:
            return np.zeros(len(entries), bool)
        return explained(self.received, pair.treated, self._removers(pair), np.stack([e.x for e in entries]))

    def _removers(self, pair: Pair) -> list[Stamper]:
        """Of the triggers that the serving version knows: those learnt for it and for versions before."""
        if self._known is None or self._known[0] != pair.version:
            places = [p for p in self.folder.iterdir() if p.name.isdecimal() and int(p.name) <= pair.version]
            files = sorted(file for place in places for file in place.glob(f"{Path(REMOVER).stem}*.safetensors"))
            self._known = (pair.version, [g for file in files if (g := self._read(file)) is not None])
        return self._known[1]

    def _read(self, file: Path) -> Stamper | None:
        try:
            return read_generator(file, self.received.spec.input_shape)
        except AssayError as error:
            log.note(self.store, "damaged", str(error))
            return None

    def _most_of_clean(self, pair: Pair) -> NDArray[np.float64]:
        if self._most is None or self._most[0] != pair.version:
            share = LiveSettings().tuning.validation
            unlearnt = split(self.received, self.clean, share, self.settings.seed)[1]
            most = selection.most_of_clean(self.received, unlearnt, pair.doubted(unlearnt.x))
            self._most = (pair.version, most)
        return self._most[1]

    # What came of it.

    def met(self) -> None:
        """A repair was accepted: nothing is in vain any more."""
        with self.store.transaction() as write:
            write.execute("DELETE FROM meta WHERE key IN ('unknown in vain', 'known in vain', 'rest until', 'tally')")

    def in_vain(self, version: Path, remover: Path | None) -> None:
        """A repair was refused.

        Args:
            version: folder of the version that was to be repaired.
            remover: file of the generator that takes off the trigger which was learnt, if that version knows it.
        """
        if remover is not None and remover.exists():
            remover.rename(version / f"{remover.stem}-{remover.parent.name}{remover.suffix}")
            self._known = None
        tried = self.store.get("tried", "unknown")
        times = self._number(f"{tried} in vain") + 1
        self.store.put(f"{tried} in vain", str(times))
        if tried == "unknown":
            self.store.put("rest until", str(time.time() + rest_s(times)))
        self.store.put("spent", str(self._number("looked at")))
        tally = self._tally(int(version.name))
        self._keep(Tally(tally.version, total=tally.total))

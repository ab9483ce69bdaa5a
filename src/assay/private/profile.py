"""Seconds, bytes and rounds, layer by layer: as they were measured, or as they are predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.integer.graph import NAMES
from assay.private.architecture import Architecture
from assay.private.channel import Traffic


@dataclass(frozen=True, slots=True)
class Row:
    """What one layer costs, or what is said before all of them.

    Attributes:
        offline, online: traffic of one party, with its seconds.
    """

    layer: str
    operation: str
    offline: Traffic
    online: Traffic

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "layer": self.layer,
            "operation": self.operation,
            "offline_s": self.offline.seconds,
            "online_s": self.online.seconds,
            "offline_bytes": self.offline.bytes,
            "online_bytes": self.online.bytes,
            "online_rounds": self.online.rounds,
        }


@dataclass(frozen=True, slots=True)
class Profile:
    """The rows of one network, and their sums."""

    rows: tuple[Row, ...]

    def total(self, phase: str) -> Traffic:
        """Of `offline` or `online`."""
        total = Traffic()
        for row in self.rows:
            total.add(row.offline if phase == "offline" else row.online)
        return total

    def document(self) -> dict[str, Any]:
        """The keys that other programs rely on."""
        offline, online = self.total("offline"), self.total("online")
        return {
            "offline_s": offline.seconds,
            "online_s": online.seconds,
            "offline_bytes": offline.bytes,
            "online_bytes": online.bytes,
            "online_rounds": online.rounds,
            "layers": [row.document() for row in self.rows],
        }


OTHER = "between layers"
"""Keys, requests, and what belongs to no layer."""


def profile(architecture: Architecture, ledger: Mapping[str, Traffic], transfers: Mapping[int, int]) -> Profile:
    """Rows from a ledger whose parts are named `phase/node`.

    Args:
        transfers: how many oblivious transfers each node takes: what it costs to prepare all is shared out by them.
    """
    parts = {name: _copied(traffic) for name, traffic in ledger.items()}
    shared = parts.pop(TRANSFERS, Traffic())
    everything, before = sum(transfers.values()), 0
    rows = []
    for position, node in enumerate(architecture.nodes):
        offline = parts.pop(f"offline/{position}", Traffic())
        if count := transfers.get(position, 0):
            offline.add(_between(shared, before, before + count, everything))
            before += count
        online = parts.pop(f"online/{position}", Traffic())
        if offline.messages or online.messages or offline.seconds or online.seconds:
            rows.append(Row(node.name or str(position), NAMES[type(node)], offline, online))
    rest = [_sum(t for name, t in parts.items() if name.startswith("online") == online) for online in (False, True)]
    rows.append(Row(OTHER, "", *rest))
    return Profile(tuple(rows))


TRANSFERS = "offline/transfers"
"""The part of a ledger in which all oblivious transfers are prepared."""


def _copied(traffic: Traffic) -> Traffic:
    return _sum([traffic])


def _sum(many: Iterable[Traffic]) -> Traffic:
    total = Traffic()
    for each in many:
        total.add(each)
    return total


def _between(traffic: Traffic, first: int, last: int, everything: int) -> Traffic:
    """The part of it from `first` to `last` of `everything`; such parts add up to the whole."""
    sent, received, messages = (
        whole * last // everything - whole * first // everything
        for whole in (traffic.sent, traffic.received, traffic.messages)
    )
    return Traffic(sent, received, 0, messages, traffic.seconds * (last - first) / everything)

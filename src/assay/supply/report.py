"""What is said of a file, and what an inspection remembers: findings, and how much it may still look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["safe", "unsafe", "unknown"]

MAX_DEPTH = 4
"""Archives inside archives."""

MAX_MEMBERS = 10_000
MAX_UNPACKED = 64 * 2**30
"""Bytes of all members of all archives in one file."""

MAX_RATIO = 200
"""Bytes that one packed byte may unpack to."""

MAX_IN_MEMORY = 2 * 2**30
"""Bytes of a packed member, and of those it lies in, which have to be unpacked into memory; what is stored as it is has
no such limit."""

SPARE_UNPACKED = 64 * 2**20
"""Bytes that a file may unpack to beyond the ratio: small ones hold zeros that pack very well."""

MAX_STEPS = 2_000_000
"""Pickle opcodes, protobuf fields and JSON values in one file: two to four seconds; a state dict of a thousand tensors
has 60,000."""

BYTES_A_STEP = 64
"""Of JSON."""

MAX_FINDINGS = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and where in the file."""

    what: str
    where: str


@dataclass(frozen=True)
class FileReport:
    """What is said of one file.

    Attributes:
        verdict: `safe`; `unsafe`: opening it could run code, or its weights are absurd; `unknown`: it cannot be told.
        format: by its bytes.
        findings: those that make it unsafe first.
        sha256: of the bytes that were looked at; empty if none could be read.
    """

    path: str
    verdict: Verdict
    format: str
    findings: tuple[Finding, ...]
    sha256: str
    size_bytes: int


class Unreadable(Exception):
    """Bytes that are not as their format demands. Becomes a finding; never leaves `inspect`."""


class LimitReached(Unreadable):
    """More to look at than is allowed; the inspection of the file ends."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or a member of an archive: its bytes, its place in the file, in how many archives it lies."""

    data: memoryview
    where: str = ""
    depth: int = 0

    def place(self, inner: str) -> str:
        """The place of something inside this piece."""
        return f"{self.where}, {inner}" if self.where else inner

    def member(self, name: str, data: memoryview) -> Piece:
        """A member of this archive."""
        return Piece(data, f"{self.where}!{shown(name)}" if self.where else shown(name), self.depth + 1)


@dataclass
class Search:
    """One inspection: what was found, and which limits are used up."""

    check_weights: bool = True
    max_unpacked: int = MAX_UNPACKED
    found: dict[Verdict, list[Finding]] = field(default_factory=lambda: {"unsafe": [], "unknown": []})
    members: int = 0
    unpacked: int = 0
    held: int = 0
    steps: int = MAX_STEPS

    def unsafe(self, what: str, where: str) -> None:
        self._note("unsafe", what, where)

    def unknown(self, what: str, where: str) -> None:
        self._note("unknown", what, where)

    def _note(self, verdict: Verdict, what: str, where: str) -> None:
        findings, new = self.found[verdict], Finding(what, where or "file")
        if len(findings) < MAX_FINDINGS and new not in findings[-3:]:
            findings.append(new)

    def step(self, count: int = 1) -> None:
        """Account for `count` pickle opcodes, protobuf fields or JSON values."""
        self.steps -= count
        if self.steps < 0:
            raise LimitReached(f"more than {MAX_STEPS:,} opcodes and entries in one file")

    def enter(self, size: int) -> None:
        """Account for a member of `size` bytes."""
        self.members += 1
        self.unpacked += size
        if self.members > MAX_MEMBERS:
            raise LimitReached(f"more than {MAX_MEMBERS:,} members")
        if self.unpacked > self.max_unpacked:
            raise LimitReached(f"it unpacks to more than {MAX_RATIO} times its size, or {MAX_UNPACKED >> 30} GiB")

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Account for `size` bytes that were unpacked into memory and are let go after the block."""
        self.held += size
        try:
            yield
        finally:
            self.held -= size

    @property
    def verdict(self) -> Verdict:
        return "unsafe" if self.found["unsafe"] else "unknown" if self.found["unknown"] else "safe"

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.found["unsafe"], *self.found["unknown"])


def shown(text: str, length: int = 120) -> str:
    """Text from a file, fit to be printed: short, without control characters and half surrogates."""
    clipped = text if len(text) <= length else text[: length - 1] + "…"
    return printable(clipped)


def printable(text: str) -> str:
    """Text with control characters and half surrogates spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

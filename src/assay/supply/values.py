"""Values on the simulated stack of a pickle: as much of each as decides what a call would do."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Global:
    """An importable name on the allow-list, as `module name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Made:
    """What an accepted call of `maker` gave."""

    maker: str
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A torch storage that lies outside the pickle: `count` elements (bytes, if untyped) under `key`."""

    dtype: str
    key: str
    count: int


@dataclass(slots=True)
class Table:
    """A dict: its keys, as far as they are text, whether all of them are, and how often a key was set."""

    keys: list[str] = field(default_factory=list)
    only_text: bool = True
    size: int = 0

    def set(self, key: object) -> None:
        self.size += 1
        if isinstance(key, str):
            self.keys.append(key)
        else:
            self.only_text = False


class _Sign:
    """A value of which only its kind is known."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind}>"


DATA = _Sign("bytes")
TEXT = _Sign("long text")
NUMBER = _Sign("number")
ODD_NUMBER = _Sign("number in an odd spelling, or of more than 32 bytes")
SET = _Sign("set")
UNKNOWN = _Sign("unknown")
"""What came of something that was already reported."""

"""Watching the interpreter itself: did anything that an attacker would want happen in this block?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_EVENTS = frozenset({"pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"})
_seen: list[str] | None = None


def _hook(event: str, arguments: object) -> None:
    if _seen is not None and event in _EVENTS:
        _seen.append(event)


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    """The names of such events inside the block; a hook cannot be removed, so it is only switched on and off."""
    global _seen
    _seen = events = []
    try:
        yield events
    finally:
        _seen = None

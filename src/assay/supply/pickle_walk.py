"""What a pickle would import and call, found without running it.

A name counts only if it is exactly one of `allow_list.ALLOWED`; a call only if a saver of plain data writes it so.
Wherever the simulation cannot be certain, the pickle is not safe.
"""

from __future__ import annotations

from assay.supply.allow_list import ALLOWED
from assay.supply.opcodes import CutImport, Disputed, steps
from assay.supply.report import LimitReached, Search, Unreadable
from assay.supply.unpickler import Machine, Walk

__all__ = ["Walk", "walk"]


def walk(data: memoryview, begin: int, search: Search) -> Walk:
    """Walk one pickle from `begin`. What the bytes say raises nothing; each opcode counts as a step of `search`.

    Raises:
        LimitReached: if the search has no steps left.

    Cost: about 1 µs an opcode; strings and bytes are not copied.
    """
    seen = Walk(end=begin)
    machine = Machine(seen)
    try:
        for name, argument, offset in steps(data, begin, search):
            seen.end = offset
            machine.step(name, argument, offset)
        seen.end += 1
    except LimitReached:
        raise
    except CutImport as cut:
        if not any(allowed.startswith(cut.name) for allowed in ALLOWED):
            seen.forbid(cut.name.replace(" ", ".", 1), seen.end)
        seen.broken = str(cut)
    except Unreadable as error:
        # The unpickler has run all that came before.
        seen.broken, seen.disputed = str(error), isinstance(error, Disputed)
    return seen

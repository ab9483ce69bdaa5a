"""Turns: so many at once, so many more in line, nobody in line for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assay.proof.serving.refusal import Refusal

RETRY_S = 5


class Turns:
    """A bounded queue before bounded work. `running` and `waiting` say how full it is."""

    def __init__(self, at_once: int, waiting: int, waiting_s: float) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._most, self._seconds = waiting, waiting_s
        self.running = self.waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One's turn, for as long as the block runs.

        Raises:
            Refusal: 503, if the line is full or does not move.
        """
        if self._free.locked() and self.waiting >= self._most:
            raise Refusal(
                503, f"{self.running} requests are under way and {self.waiting} wait; ask again soon", RETRY_S
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Refusal(503, f"your turn did not come within {self._seconds:g} s; ask again later", RETRY_S) from None
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()

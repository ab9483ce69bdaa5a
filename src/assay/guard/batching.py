"""Dynamic batches: pictures that arrive together are answered together, and none waits long for company."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    item: T
    arrived: float
    future: asyncio.Future[R]


class Batcher(Generic[T, R]):
    """Runs `work` on batches in one thread of its own; the n-th result is the n-th item's.

    While a batch is worked on, the next gathers; so under load batches grow, and when it is quiet an item waits
    `max_wait_s` at most.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], max_batch: int, max_wait_s: float) -> None:
        self.work, self.max_batch, self.max_wait_s = work, max_batch, max_wait_s
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._some, self._full, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, "batches")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to take items; needs a running loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Answer what has arrived, then end."""
        await self._idle.wait()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def submit(self, item: T) -> R:
        """The result for one item; raises what `work` raised for its batch."""
        loop = asyncio.get_running_loop()
        mine: _Waiting[T, R] = _Waiting(item, loop.time(), loop.create_future())
        self._waiting.append(mine)
        self._idle.clear()
        self._some.set()
        if len(self._waiting) >= self.max_batch:
            self._full.set()
        return await mine.future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gathered(loop)
            try:
                results = await loop.run_in_executor(self._thread, self.work, [one.item for one in batch])
                for one, result in zip(batch, results, strict=True):
                    if not one.future.done():  # its client may have gone
                        one.future.set_result(result)
            except Exception as error:  # whatever the work raises belongs to those who asked, not to this loop
                for one in batch:
                    if not one.future.done():
                        one.future.set_exception(error)
            if not self._waiting:
                self._idle.set()

    async def _gathered(self, loop: asyncio.AbstractEventLoop) -> list[_Waiting[T, R]]:
        await self._some.wait()
        left = self._waiting[0].arrived + self.max_wait_s - loop.time()
        if left > 0 and len(self._waiting) < self.max_batch:
            self._full.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), left)
        batch = [self._waiting.popleft() for _ in range(min(self.max_batch, len(self._waiting)))]
        if not self._waiting:
            self._some.clear()
        return batch

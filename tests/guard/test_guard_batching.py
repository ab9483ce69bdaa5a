"""Batches: everyone gets their own answer, nobody waits long, nobody's error is another's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from assay.guard.batching import Batcher


def run_with(batcher: Batcher[int, int], items: Sequence[int]) -> list[object]:
    async def all_of_them() -> list[object]:
        batcher.start()
        results = await asyncio.gather(*(batcher.submit(i) for i in items), return_exceptions=True)
        await batcher.stop()
        return list(results)

    return asyncio.run(all_of_them())


def test_each_item_gets_its_own_result_and_no_batch_is_too_large() -> None:
    sizes: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return [i * i for i in items]

    assert run_with(Batcher(work, 16, 0.005), range(100)) == [i * i for i in range(100)]
    assert max(sizes) <= 16 and sum(sizes) == 100
    assert len(sizes) < 20  # those that arrive together go together


def test_one_alone_waits_no_longer_than_it_must() -> None:
    begun = time.monotonic()
    run_with(Batcher(lambda items: list(items), 64, 0.005), [1])
    assert time.monotonic() - begun < 1


def test_while_a_batch_is_worked_on_the_next_gathers() -> None:
    sizes: list[int] = []
    go = threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        go.wait(5)
        return list(items)

    async def late() -> None:
        batcher = Batcher(work, 64, 0.001)
        batcher.start()
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(batcher.submit(i)) for i in range(1, 31)]
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(first, *rest)
        await batcher.stop()

    asyncio.run(late())
    assert sizes == [1, 30]


def test_an_error_belongs_to_its_batch_and_the_next_is_answered() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 3 in items:
            raise RuntimeError("three")
        return list(items)

    results = run_with(Batcher(work, 4, 0.001), range(8))
    assert [isinstance(r, RuntimeError) for r in results] == [True] * 4 + [False] * 4


def test_a_client_that_goes_away_takes_nobody_with_it() -> None:
    async def leaves() -> int:
        batcher = Batcher(lambda items: list(items), 64, 0.02)
        batcher.start()
        gone, stays = asyncio.create_task(batcher.submit(1)), asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0)
        gone.cancel()
        result = await stays
        await batcher.stop()
        return result

    assert asyncio.run(leaves()) == 2


def test_what_has_arrived_is_answered_before_it_stops() -> None:
    async def stopped() -> list[int]:
        batcher = Batcher(lambda items: list(items), 4, 0.05)
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(i)) for i in range(10)]
        await asyncio.sleep(0)
        await batcher.stop()
        return [task.result() for task in tasks]

    assert asyncio.run(stopped()) == list(range(10))

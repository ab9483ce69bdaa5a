"""The whole way: received network, treatment, quarantine, repair, swap; and what stops it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from assay.guard import Guard, log
from assay.guard.repairing import Job
from guard_task import TARGET, Inline, closed_stores, guard_on, inline, pictures, stamped  # noqa: F401


async def sent(guard: Guard, x: np.ndarray, client: str = "c") -> list[object]:
    return list(await asyncio.gather(*(guard.predict(client, one) for one in x)))


async def settled(guard: Guard, ticks: int = 3) -> None:
    for _ in range(ticks):
        await guard.tick()


def stream(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, labels, and which are triggered."""
    data = pictures(n, seed)
    bad = (np.random.default_rng(seed).random(n) < share) & (data.y != TARGET)
    return np.where(bad[:, None, None, None], stamped(data.x), data.x), data.y, bad


def test_a_backdoor_is_quarantined_learnt_and_gone_after_the_swap(tmp_path: Path) -> None:
    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db")
        guard.batcher.start()
        x, y, bad = stream(600, 0.25, 5)
        before = await sent(guard, x[:64])
        assert {a.version for a in before} == {0} and not any(a.quarantined for a in before)
        await settled(guard)
        assert guard.versions.pair.version == 1
        guarded = await sent(guard, x)
        kept = np.array([a.quarantined for a in guarded])
        assert kept[bad].mean() > 0.8 and kept[~bad].mean() < 0.15
        assert guard.store.count() == kept.sum()
        await settled(guard)
        assert guard.versions.pair.version == 2, [line.said for line in log.lines(guard.store, 9)]
        x, y, bad = stream(600, 0.25, 6)
        after = np.array([a.label for a in await sent(guard, x)])
        assert (after[bad] == TARGET).mean() < 0.1
        assert (after[~bad] == y[~bad]).mean() > 0.9
        await guard.stop()

    asyncio.run(story())


def test_clean_traffic_alone_never_begins_a_repair(tmp_path: Path) -> None:
    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db", enough=5)
        guard.batcher.start()
        await settled(guard)
        for seed in range(4):
            await sent(guard, pictures(400, 10 + seed).x)
            await settled(guard)
        assert guard.versions.pair.version == 1
        assert guard.store.count() > 40  # so it was not for want of inputs
        assert not [line.said for line in log.lines(guard.store, 50) if "repair from" in line.said]
        await guard.stop()

    asyncio.run(story())


@pytest.mark.parametrize(("policy", "label"), [("abstain", None), ("received", TARGET)])
def test_the_policy_says_what_a_client_gets_where_the_networks_differ(
    tmp_path: Path, policy: str, label: int | None
) -> None:
    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db", policy=policy)
        guard.batcher.start()
        await settled(guard)
        data = pictures(80, 7)
        answers = await sent(guard, stamped(data.x[data.y != TARGET]))
        kept = [a for a in answers if a.quarantined]
        assert len(kept) > 40
        assert {a.label for a in kept} == {label}
        await guard.stop()

    asyncio.run(story())


def test_a_process_that_fails_is_logged_and_tried_again_later_and_the_service_answers_on(tmp_path: Path) -> None:
    def fails(job: Job) -> Inline:
        job.folder.mkdir(parents=True, exist_ok=True)
        return Inline(job, 0.0)

    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db", begin=fails)
        guard.batcher.start()
        await settled(guard, 6)
        assert [line.event for line in log.lines(guard.store, 9)].count("failure") == 1  # it waits before the next
        assert (await sent(guard, pictures(4, 1).x))[0].version == 0
        await guard.stop()

    asyncio.run(story())


def test_a_person_who_goes_back_stays_there_until_automatic_repairs_are_turned_on(tmp_path: Path) -> None:
    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db")
        guard.batcher.start()
        await settled(guard)
        x, _, _ = stream(600, 0.25, 5)
        await sent(guard, x)
        await settled(guard)
        guard.order(1, "test")
        await sent(guard, x)
        await settled(guard)
        assert guard.versions.pair.version == 1
        guard.resume_swaps("test")
        await sent(guard, x)
        await settled(guard)
        assert guard.versions.pair.version > 2
        await guard.stop()

    asyncio.run(story())


def test_a_guard_that_is_started_again_goes_on_from_its_last_version(tmp_path: Path) -> None:
    async def first() -> None:
        guard = guard_on(tmp_path / "guard.db")
        guard.batcher.start()
        await settled(guard)
        await sent(guard, stream(100, 0.25, 5)[0])
        await guard.stop()

    async def second() -> None:
        begun: list[Job] = []

        def watch(job: Job) -> Inline:
            begun.append(job)
            return inline(job)

        guard = guard_on(tmp_path / "guard.db", begin=watch)
        assert guard.versions.pair.version == 1
        assert guard.store.count() > 10
        guard.batcher.start()
        await settled(guard)
        assert not any(job.treated is None for job in begun)  # the treatment is not done twice
        await guard.stop()

    asyncio.run(first())
    asyncio.run(second())

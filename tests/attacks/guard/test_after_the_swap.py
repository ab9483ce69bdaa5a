"""After a swap: the same backdoor buys no second repair, another one still does, and no flood ends that for good."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from assay.guard import Guard, log
from assay.guard.demand import KNOWN, explained, rest_s
from assay.guard.repairing import REMOVER
from assay.models import predict
from guard_task import (
    SECOND_TARGET,
    TARGET,
    closed_stores,  # noqa: F401
    guard_on,
    pictures,
    second_trigger,
    stamped,
    twice_backdoored,
)


async def sent(guard: Guard, x: np.ndarray, client: str = "c") -> np.ndarray:
    answers = await asyncio.gather(*(guard.predict(client, one) for one in x))
    return np.array([a.quarantined for a in answers])


async def settled(guard: Guard, ticks: int = 3) -> None:
    for _ in range(ticks):
        await guard.tick()


def begun(guard: Guard) -> int:
    return sum("repair from" in line.said for line in log.lines(guard.store, 999))


def mixed(n: int, seed: int, trigger: object, target: int) -> np.ndarray:
    """Clean pictures, of which two fifths carry a trigger where it changes the label."""
    data = pictures(n, seed)
    bad = (np.arange(n) % 5 < 2) & (data.y != target)
    return np.where(bad[:, None, None, None], trigger(data.x), data.x)  # type: ignore[operator]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a guard that has seen the first backdoor, and got rid of it."""
    folder = tmp_path_factory.mktemp("once")

    async def story() -> None:
        guard = guard_on(folder / "guard.db", model=twice_backdoored())
        guard.batcher.start()
        await settled(guard)
        await sent(guard, mixed(600, 5, stamped, TARGET))
        await settled(guard)
        assert guard.versions.pair.version == 2, [line.said for line in log.lines(guard.store, 9)]
        await guard.stop()

    asyncio.run(story())
    return folder


def resumed(once: Path, place: Path, **settings: object) -> Guard:
    """A guard that goes on from there."""
    shutil.copytree(once, place, dirs_exist_ok=True)
    guard = guard_on(place / "guard.db", model=twice_backdoored(), **settings)
    assert guard.versions.pair.version == 2
    return guard


def success(guard: Guard, trigger: object, target: int) -> float:
    data = pictures(400, 88)
    served = guard.versions.pair.treated
    assert served is not None
    return float((predict(served, trigger(data.x[data.y != target])) == target).mean())  # type: ignore[operator]


def test_inputs_of_a_backdoor_that_is_gone_are_quarantined_and_begin_no_repair(once: Path, tmp_path: Path) -> None:
    async def story() -> None:
        guard = resumed(once, tmp_path)
        guard.batcher.start()
        kept = 0
        for seed in range(4):
            kept += (await sent(guard, mixed(300, 30 + seed, stamped, TARGET))).sum()
            await settled(guard)
        assert kept > 6 * guard.settings.enough  # as many as would have begun six repairs
        assert guard.versions.pair.version == 2
        assert begun(guard) == 1, [line.said for line in log.lines(guard.store, 9)]
        assert any("explained by a trigger" in line.said for line in log.lines(guard.store, 99))
        await guard.stop()

    asyncio.run(story())


def test_the_learnt_trigger_explains_its_own_inputs_and_no_others(once: Path, tmp_path: Path) -> None:
    guard = resumed(once, tmp_path)
    pair, x = guard.versions.pair, pictures(400, 89).x
    assert pair.treated is not None
    noise = np.random.default_rng(0).integers(0, 256, x.shape, dtype=np.uint8)
    shares = {}
    for name, sent_in in (("first", stamped(x)), ("second", second_trigger(x)), ("noise", noise)):
        differs = predict(pair.received, sent_in) != predict(pair.treated, sent_in)
        told = explained(pair.received, pair.treated, guard.demand._removers(pair), sent_in[differs])
        shares[name] = told.mean() if differs.any() else 0.0
    assert shares["first"] > 0.8, shares
    assert max(shares["second"], shares["noise"]) < 0.4, shares


def test_a_second_backdoor_that_shows_up_later_is_repaired_too(once: Path, tmp_path: Path) -> None:
    async def story() -> None:
        guard = resumed(once, tmp_path)
        guard.batcher.start()
        for seed in range(3):
            await sent(guard, mixed(300, 40 + seed, stamped, TARGET))
            await settled(guard)
        assert begun(guard) == 1
        await sent(guard, mixed(600, 6, second_trigger, SECOND_TARGET))
        await settled(guard)
        assert begun(guard) == 2, [line.said for line in log.lines(guard.store, 9)]
        assert success(guard, second_trigger, SECOND_TARGET) < 0.1
        assert success(guard, stamped, TARGET) < 0.1
        await guard.stop()

    asyncio.run(story())


def test_a_learnt_generator_that_wipes_everything_away_does_not_end_repairs(once: Path, tmp_path: Path) -> None:
    """As if an attacker had taught it to: whatever comes is taken for known."""

    async def story() -> None:
        guard = resumed(once, tmp_path, enough=20)
        guard.batcher.start()
        guard.demand._explained = lambda pair, entries: np.ones(len(entries), bool)  # type: ignore[method-assign]
        sends = 0
        while begun(guard) == 1 and sends < 20:
            await sent(guard, mixed(300, 60 + sends, second_trigger, SECOND_TARGET))
            await settled(guard, 2)
            sends += 1
        assert begun(guard) == 2
        assert sends * 120 > KNOWN * 20  # it took longer, but it came
        await guard.stop()

    asyncio.run(story())


def test_after_a_flood_in_vain_a_second_backdoor_is_still_repaired(
    once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, now = 0.0, time.time
    monkeypatch.setattr(time, "time", lambda: now() + late)

    async def story() -> None:
        nonlocal late
        guard = resumed(once, tmp_path, capacity=320, per_client=320)
        guard.batcher.start()
        noise = np.random.default_rng(0).integers(0, 256, (400, 1, 28, 28), dtype=np.uint8)
        for _ in range(6):
            await sent(guard, noise, "attacker")
            await settled(guard)
            late += 90
        tried = begun(guard)
        assert 1 < tried <= 5  # six floods, each enough for five attempts; rests of 30, 60, 120 s leave room for four
        late += rest_s(10**6)  # the flood is over; at most an hour later
        for seed in range(4):
            await sent(guard, mixed(600, 70 + seed, second_trigger, SECOND_TARGET), "someone")
            await settled(guard)
        assert begun(guard) > tried
        assert success(guard, second_trigger, SECOND_TARGET) < 0.1, [line.said for line in log.lines(guard.store, 9)]
        await guard.stop()

    asyncio.run(story())


def test_a_damaged_remover_is_noted_and_the_guard_goes_on(once: Path, tmp_path: Path) -> None:
    async def story() -> None:
        guard = resumed(once, tmp_path)
        guard.batcher.start()
        (guard.folder / "0002" / REMOVER).write_bytes(b"\xff" * 100)
        await sent(guard, mixed(300, 30, stamped, TARGET))
        await settled(guard)
        assert any(line.event == "damaged" for line in log.lines(guard.store, 99))
        await guard.stop()

    asyncio.run(story())

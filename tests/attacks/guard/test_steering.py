"""An attacker who controls what is quarantined: he can waste a repair, he cannot steer it.

The repairs are shortened; injected at the store, as the brief of the guard asks for the many attempts.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from assay.guard import Entry, Guard, log
from assay.models import clean_accuracy, predict
from guard_task import CLASSES, TARGET, backdoored, closed_stores, guard_on, pictures, second_trigger, stamped  # noqa: F401

TEST = pictures(600, 77)


async def treated(guard: Guard) -> None:
    guard.batcher.start()
    for _ in range(3):
        await guard.tick()
    assert guard.versions.pair.version == 1


def inject(guard: Guard, x: np.ndarray, received: np.ndarray, clients: int = 3) -> None:
    """Entries as if these inputs had made the networks differ."""
    guard.store.add(
        [Entry(f"10.0.0.{i % clients}", 1, int(label), (int(label) + 1) % CLASSES, 0.6, one)
         for i, (one, label) in enumerate(zip(x, received, strict=True))]
    )  # fmt: skip


def attack_success(guard: Guard) -> float:
    others = TEST.x[TEST.y != TARGET]
    served = guard.versions.pair.treated
    assert served is not None
    return float((predict(served, stamped(others)) == TARGET).mean())


def served_accuracy(guard: Guard) -> float:
    served = guard.versions.pair.treated
    assert served is not None
    return clean_accuracy(served, TEST).value


def attempt(path: Path, x: np.ndarray, received: np.ndarray) -> tuple[float, float, float, float, list[str]]:
    """Accuracy and attack success before and after the guard has dealt with the injected inputs, and its log."""

    async def story() -> tuple[float, float, float, float, list[str]]:
        guard = guard_on(path, most_change=0.06)
        await treated(guard)
        before = served_accuracy(guard), attack_success(guard)
        for one in pictures(200, 5).x:  # honest traffic, for the shadow test
            await guard.predict("honest", one)
        inject(guard, x, received)
        for _ in range(3):
            await guard.tick()
        after = served_accuracy(guard), attack_success(guard)
        said = [f"{line.event}: {line.said}" for line in log.lines(guard.store, 20)]
        await guard.stop()
        return *before, *after, said

    return asyncio.run(story())


@pytest.mark.parametrize("seed", range(1))
def test_harmless_disagreements_do_not_lower_accuracy_nor_bring_the_backdoor_back(tmp_path: Path, seed: int) -> None:
    data = pictures(300, 100 + seed)
    accuracy, success, accuracy_after, success_after, said = attempt(tmp_path / "guard.db", data.x, data.y)
    assert any("repair from" in line for line in said)  # the flood did begin a repair
    assert accuracy_after >= accuracy - 0.01
    assert success_after <= success + 0.02


@pytest.mark.parametrize("seed", range(1))
def test_a_second_trigger_in_the_quarantine_does_not_become_a_backdoor(tmp_path: Path, seed: int) -> None:
    data = pictures(300, 200 + seed)
    poison = second_trigger(data.x)
    accuracy, success, accuracy_after, success_after, said = attempt(
        tmp_path / "guard.db", poison, np.full(len(poison), 2)
    )
    assert any("repair from" in line for line in said)
    assert accuracy_after >= accuracy - 0.01
    assert success_after <= success + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["harmless", "noise", "second trigger", "inverted", "mixed"])
def test_of_twenty_floods_none_steers_the_repair(tmp_path: Path, kind: str, seed: int) -> None:
    data = pictures(300, 1000 + seed)
    rng = np.random.default_rng(seed)
    x = {
        "harmless": data.x,
        "noise": rng.integers(0, 256, data.x.shape, dtype=np.uint8),
        "second trigger": second_trigger(data.x),
        "inverted": 255 - data.x,
        "mixed": np.concatenate([second_trigger(data.x[:100]), stamped(data.x[100:200]), data.x[200:]]),
    }[kind]
    accuracy, success, accuracy_after, success_after, _ = attempt(
        tmp_path / "guard.db", x, rng.integers(0, CLASSES, len(x))
    )
    assert accuracy_after >= accuracy - 0.01
    assert success_after <= success + 0.02


def test_each_refusal_doubles_what_the_next_attempt_costs(tmp_path: Path) -> None:
    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db", most_change=0.06)
        await treated(guard)
        data = pictures(100, 5)
        repairs = []
        for _ in range(6):
            inject(guard, data.x[:50], np.full(50, 1))
            for _ in range(3):
                await guard.tick()
            repairs.append(sum("repair from" in line.said for line in log.lines(guard.store, 99)))
        assert repairs[-1] <= 4, repairs  # of six floods that would each have been enough
        await guard.stop()

    asyncio.run(story())


def test_the_received_network_is_really_backdoored() -> None:
    others = TEST.x[TEST.y != TARGET]
    assert (predict(backdoored(), stamped(others)) == TARGET).mean() > 0.95

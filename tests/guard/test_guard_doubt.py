"""Doubt: what is quarantined is what the treated network is sure to be something else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from assay.data import Dataset
from assay.guard import Guard, GuardSettings, Pair, Versions
from assay.guard.doubt import ALARMS, FEW, allowed, doubt, doubts, limit_for, suspects
from assay.guard.repairing import Job
from assay.guard.versions import Version
from assay.models import Model, Rate, build, predict, save, seeded
from guard_task import SPEC, backdoored, clean_set, closed_stores, guard_on, inline, pictures, stamped  # noqa: F401


def other() -> Model:
    """An untrained network, which agrees with nobody for long."""
    with seeded(3):
        return build(SPEC).eval()


def test_it_is_the_logarithm_of_how_much_likelier_the_own_label_is() -> None:
    received = torch.tensor([[0.0, 9.0, 1.0], [5.0, 0.0, 0.0]])
    treated = torch.tensor([[2.0, 0.5, 1.0], [3.0, 1.0, -2.0]])
    shares = treated.softmax(1)
    expected = [float((shares[0, 0] / shares[0, 1]).log()), 0.0]
    np.testing.assert_allclose(doubt(received, treated).numpy(), expected, atol=1e-6)


def test_without_a_limit_every_difference_counts() -> None:
    x = pictures(700, 4).x
    differs = predict(backdoored(), x) != predict(other(), x)
    assert differs.any() and not differs.all()
    np.testing.assert_array_equal(doubts(backdoored(), other(), x) > 0, differs)
    np.testing.assert_array_equal(Pair(1, backdoored(), other()).answer(x).doubted, differs)


def test_at_most_the_share_of_clean_pictures_that_is_allowed_is_above_the_limit() -> None:
    clean = clean_set()
    found = doubts(backdoored(), other(), clean.x)
    limit = limit_for(backdoored(), other(), clean, clean)
    assert (found > 0).mean() > 2 * ALARMS  # they differ far more often
    assert (found > limit).sum() == allowed(len(clean))
    assert limit_for(backdoored(), backdoored(), clean, clean) == 0.0
    assert limit_for(backdoored(), other(), clean.take(1), clean) >= 0.0  # one picture is enough


def test_where_clean_pictures_are_few_fewer_are_allowed_and_the_treated_network_is_surer() -> None:
    clean = clean_set()
    few = clean.take(4 * FEW - 1)
    found = doubts(other(), backdoored(), clean.x)  # the trained one as the treated, since it is sure
    n, over = len(clean), (found > limit_for(other(), backdoored(), clean, few)).sum()
    assert over < allowed(n)
    assert (over + 1) / (n + 1) <= ALARMS / 2 < (over + 2) / (n + 1)
    single = limit_for(other(), backdoored(), clean.take(30), few)
    assert single == found[:30].max()  # of thirty, one that exceeded would say that a fifteenth do

    least = limit_for(backdoored(), backdoored(), clean, few)  # they agree on all of these
    assert 1 / (1 + np.exp(least)) == pytest.approx(ALARMS / 2)
    assert limit_for(backdoored(), other(), clean, few) == least  # an untrained one is never sure


def test_so_few_are_allowed_that_the_share_is_surely_below_five_percent_where_pictures_suffice_for_that() -> None:
    assert [allowed(n) for n in (1, 19, 20, 40, 100)] == [0, 0, 1, 2, 2]  # even none of 40 may be 8.8 % of all
    assert sorted(map(allowed, range(1, 400))) == list(map(allowed, range(1, 400)))
    for n in (200, 625, 3000):
        assert Rate(allowed(n), n).interval[1] <= ALARMS < Rate(allowed(n) + 1, n).interval[1]


def test_a_version_is_served_with_the_limit_of_its_record_and_one_without_with_none() -> None:
    plain = Version(1, 0.0, "repaired", "0001", "", 0.9, {})
    assert plain.limit == 0.0
    assert replace(plain, record={"limit": 1.5}).limit == 1.5
    assert replace(plain, record={"limit": None}).limit == 0.0


def test_what_is_below_the_limit_is_answered_by_the_treated_network_and_not_kept(tmp_path: Path) -> None:
    x = pictures(200, 4).x
    found = doubts(backdoored(), other(), x)
    limit = float(np.median(found[found > 0]))

    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db", policy="abstain")
        guard.versions.pair = Pair(1, backdoored(), other(), limit)
        guard.batcher.start()
        answers = await asyncio.gather(*(guard.predict("c", one) for one in x))
        kept = np.array([a.quarantined for a in answers])
        np.testing.assert_array_equal(kept, found > limit)
        own = predict(other(), x)
        assert all((a.label is None) if k else (a.label == own[i]) for i, (a, k) in enumerate(zip(answers, kept)))  # noqa: B905
        assert guard.store.count() == kept.sum() > 0
        await guard.stop()

    asyncio.run(story())


def test_a_trigger_is_doubted_more_than_what_is_ambiguous(tmp_path: Path) -> None:
    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db")
        while guard.versions.pair.version == 0:
            await guard.tick()
        pair = guard.versions.pair
        assert pair.treated is not None and guard.versions.all()[0].limit == pair.limit
        x = pictures(400, 5).x
        assert pair.answer(stamped(x)).doubted.mean() > 0.6
        assert pair.answer(x).doubted.mean() < 2 * ALARMS
        await guard.stop()

    asyncio.run(story())


def test_an_answer_that_is_no_number_is_doubted() -> None:
    broken = build(SPEC)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    assert Pair(1, backdoored(), broken.eval()).answer(pictures(4, 4).x).doubted.all()


def test_where_clean_pictures_are_few_scale_up_suspects_no_more_of_them_than_half_of_what_is_allowed() -> None:
    for n in (4 * (FEW - 1), 4 * FEW - 1):
        clean = clean_set().take(n)
        suspected = suspects(backdoored(), clean, 0)
        assert suspected is not None
        assert suspected(clean.x).sum() <= ALARMS / 2 * n
        assert suspected(clean.x[:0]).shape == (0,)
    assert suspects(backdoored(), clean_set().take(4 * FEW), 0) is None


def test_what_is_suspected_is_quarantined_though_the_networks_agree(tmp_path: Path) -> None:
    x = pictures(64, 4).x

    async def story() -> None:
        guard = guard_on(tmp_path / "guard.db")
        guard.versions.pair = Pair(1, backdoored(), backdoored(), suspects=lambda x: x[:, 0, 0, 0] > 60)
        guard.batcher.start()
        answers = await asyncio.gather(*(guard.predict("c", one) for one in x))
        kept = np.array([a.quarantined for a in answers])
        np.testing.assert_array_equal(kept, x[:, 0, 0, 0] > 60)
        np.testing.assert_array_equal(guard.versions.pair.doubted(x), kept)
        assert guard.store.count() == kept.sum() > 0
        await guard.stop()

    asyncio.run(story())


def test_a_guard_with_few_clean_pictures_serves_every_version_with_that_suspicion(tmp_path: Path) -> None:
    few = clean_set().take(4 * FEW - 1)

    async def story() -> None:
        guard = Guard(backdoored(), few, tmp_path / "guard.db", GuardSettings(enough=40), begin=inline)  # type: ignore[arg-type]
        assert guard.versions.pair.suspects is None  # before the treatment there is nothing to answer instead
        while guard.versions.pair.version == 0:
            await guard.tick()
        assert guard.versions.pair.suspects is not None
        again = Versions(guard.store, guard.folder, guard.received, suspects=guard.versions.suspects)
        again.resume()
        assert again.pair.version == 1 and again.pair.suspects is guard.versions.suspects
        await guard.stop()

    asyncio.run(story())


def test_where_clean_pictures_are_few_a_candidate_that_says_what_the_received_network_says_changes_nothing(
    tmp_path: Path,
) -> None:
    figures = dict.fromkeys(("accuracy", "quality", "stamped_before", "stamped_after", "kept"), 1.0)
    result: dict[str, object] = {**figures, "answers_for": []}

    def changed(name: str, clean: Dataset, candidate: Model) -> float:
        guard = Guard(backdoored(), clean, tmp_path / f"{name}.db", GuardSettings(enough=40), begin=inline)  # type: ignore[arg-type]
        guard.versions.pair = Pair(1, backdoored(), other())
        guard.live.extend(pictures(100, 6).x)
        job = Job(tmp_path / name, guard.received_file, None, clean, 0, treated=tmp_path / "0001" / "model.safetensors")
        save(candidate, job.folder / "model.safetensors")
        return guard._evidence(job, result).changed

    few = clean_set().take(4 * FEW - 1)
    assert changed("few", few, backdoored()) == 0.0
    assert changed("otherwise", few, other()) > 0.3
    assert changed("enough", clean_set(), backdoored()) > 0.3
    assert changed("served", clean_set(), other()) == 0.0

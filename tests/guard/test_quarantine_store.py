"""The quarantine keeps what it said it keeps, within its bounds, for one model and one guard."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from assay.errors import InputError
from assay.guard import Entry, Store, StoreError, log
from guard_task import closed_stores  # noqa: F401

SHAPE = (1, 4, 4)


def entry(client: str = "a", version: int = 1, value: int = 0) -> Entry:
    return Entry(client, version, 0, 1, 0.9, np.full(SHAPE, value, np.uint8))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "guard.db"


def test_what_was_added_is_there_bit_for_bit_after_the_file_is_opened_again(path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    store = Store(path, "m", SHAPE)
    store.add([Entry("client", 3, 2, 7, 0.5, x)])
    store.close()
    (kept,) = Store(path, "m", SHAPE).recent(5)
    assert (kept.client, kept.version, kept.received, kept.treated, kept.confidence) == ("client", 3, 2, 7, 0.5)
    assert np.array_equal(kept.x, x)


def test_the_oldest_leave_when_it_is_full(path: Path) -> None:
    store = Store(path, "m", SHAPE, capacity=10)
    for i in range(25):
        store.add([entry(value=i)])
    assert [int(e.x[0, 0, 0]) for e in store.recent(100)] == list(range(24, 14, -1))


def test_a_client_at_its_cap_loses_its_own_oldest_and_nobody_elses(path: Path) -> None:
    store = Store(path, "m", SHAPE, capacity=100, per_client=10)
    store.add([entry("quiet", value=1)])
    store.add([entry("loud", value=i) for i in range(60)])
    kept = store.recent(100)
    assert sum(e.client == "loud" for e in kept) == 10
    assert sum(e.client == "quiet" for e in kept) == 1


def test_a_repair_takes_from_clients_in_turn(path: Path) -> None:
    store = Store(path, "m", SHAPE)
    store.add([entry("loud") for _ in range(50)] + [entry("quiet") for _ in range(5)])
    taken = store.of_version(1, 10)
    assert sum(e.client == "quiet" for e in taken) == 5


def test_a_second_guard_is_refused_until_the_first_has_closed(path: Path) -> None:
    first = Store(path, "m", SHAPE)
    with pytest.raises(InputError, match="another guard"):
        Store(path, "m", SHAPE)
    first.close()
    Store(path, "m", SHAPE).close()


def test_the_quarantine_of_another_model_is_refused_and_stays_as_it_is(path: Path) -> None:
    store = Store(path, "one", SHAPE)
    store.add([entry()])
    store.close()
    with pytest.raises(InputError, match="another model"):
        Store(path, "two", SHAPE)
    assert Store(path, "one", SHAPE).count() == 1


@pytest.mark.parametrize("blob", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_quarantine_is_refused(path: Path, blob: bytes) -> None:
    path.write_bytes(blob)
    with pytest.raises(InputError, match="cannot be used as a quarantine"):
        Store(path, "m", SHAPE)
    assert path.read_bytes() == blob


def test_a_full_disk_is_said_in_a_sentence_and_nothing_of_the_batch_is_kept(path: Path) -> None:
    store = Store(path, "m", SHAPE)
    pages = store.rows("PRAGMA page_count")[0][0]
    store.rows(f"PRAGMA max_page_count = {pages + 1}")
    big = [Entry("a", 1, 0, 1, 0.9, np.zeros(SHAPE, np.uint8)) for _ in range(2000)]
    with pytest.raises(StoreError, match="make room"):
        store.add(big)
    assert store.count() == 0
    store.rows("PRAGMA max_page_count = 1000000")
    store.add([entry()])
    assert store.count() == 1


def test_scores_are_written_beside_their_entries(path: Path) -> None:
    store = Store(path, "m", SHAPE)
    store.add([entry(), entry()])
    (newest, _) = store.unscored(5)
    store.score({newest.id: {"strip": 1.0, "scale_up": 2.0, "ibd_psc": 0.5}})
    assert [e.scores for e in store.recent(2)] == [{"strip": 1.0, "scale_up": 2.0, "ibd_psc": 0.5}, None]


def test_a_log_line_that_was_changed_or_taken_out_is_noticed(path: Path) -> None:
    store = Store(path, "m", SHAPE)
    for i in range(4):
        log.note(store, "swap", f"version {i} serves")
    assert log.intact(store)
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM log WHERE id = 2")
    other.close()
    assert not log.intact(store)


def test_only_its_owner_can_read_it(path: Path) -> None:
    Store(path, "m", SHAPE).close()
    assert path.stat().st_mode & 0o077 == 0

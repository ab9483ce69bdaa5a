"""Versions: accepted ones are kept and can serve again; what was never accepted, or is damaged, never serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from assay.errors import InputError
from assay.guard import Store, Versions, log
from assay.guard.page import part
from assay.models import build, load, predict, save, seeded
from guard_task import SECOND_TARGET, SPEC, TARGET, backdoored, closed_stores, guard_on, pictures  # noqa: F401


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return opened(tmp_path)


def opened(folder: Path) -> Versions:
    made = Versions(Store(folder / "guard.db", "m", SPEC.input_shape), folder / "versions", backdoored())
    made.resume()
    return made


def add(versions: Versions, seed: int, accuracy: float = 0.9, **record: object) -> int:
    id = versions.next_id()
    with seeded(seed):
        save(build(SPEC), versions.folder / f"{id:04d}" / "model.safetensors")
    versions.accept(id, "repaired", accuracy, {"accuracy": accuracy, **record}, "a test")
    return id


def test_the_received_network_serves_alone_before_there_is_a_version(versions: Versions) -> None:
    x = pictures(8, 3).x
    said = versions.pair.answer(x)
    assert said.version == 0 and np.array_equal(said.received, said.treated)


def test_an_accepted_version_serves_and_still_does_after_a_restart(versions: Versions, tmp_path: Path) -> None:
    add(versions, 1)
    last = add(versions, 2)
    x = pictures(8, 3).x
    before = versions.pair.answer(x)
    versions.store.close()
    again = opened(tmp_path)
    assert again.pair.version == last
    assert np.array_equal(again.pair.answer(x).probabilities, before.probabilities)


def test_files_without_a_row_are_no_version(versions: Versions, tmp_path: Path) -> None:
    """What `kill -9` between writing the files and accepting them leaves behind."""
    first = add(versions, 1)
    id = versions.next_id()
    save(build(SPEC), versions.folder / f"{id:04d}" / "model.safetensors")
    versions.store.close()
    again = opened(tmp_path)
    assert again.pair.version == first
    assert again.next_id() > id


def test_any_version_can_serve_again_and_the_log_says_who_wished_it(versions: Versions) -> None:
    first, second = add(versions, 1), add(versions, 2)
    assert versions.previous() == first
    versions.activate(first, "a person")
    assert versions.pair.version == first
    versions.activate(second, "a person")
    versions.activate(0, "a person")
    assert versions.pair.treated is None
    assert "a person" in log.lines(versions.store, 1)[0].said


def test_a_version_that_answers_for_some_labels_does_so_after_a_restart_too(versions: Versions, tmp_path: Path) -> None:
    id = add(versions, 1, answers_for=[SECOND_TARGET])
    versions.store.close()
    again = opened(tmp_path)
    x = pictures(64, 3).x
    received = predict(backdoored(), x)
    own = predict(load(again.folder / f"{id:04d}" / "model.safetensors"), x)
    assert ((received == SECOND_TARGET) & (own != received)).any()
    assert ((received != SECOND_TARGET) & (own != received)).any()
    np.testing.assert_array_equal(again.pair.answer(x).treated, np.where(received == SECOND_TARGET, own, received))


def test_a_version_that_would_answer_for_a_label_that_there_is_not_does_not_serve(versions: Versions) -> None:
    first = add(versions, 1)
    with pytest.raises(InputError, match="4 classes cannot defer"):
        add(versions, 2, answers_for=[4])
    assert versions.pair.version == first and len(versions.all()) == 1


def test_an_unknown_version_is_refused_and_nothing_changes(versions: Versions) -> None:
    first = add(versions, 1)
    with pytest.raises(InputError, match="no version 99"):
        versions.activate(99, "a person")
    assert versions.pair.version == first


@pytest.mark.parametrize("damage", ["cut", "gone", "other weights"])
def test_a_damaged_file_does_not_serve_and_the_newest_whole_version_takes_its_place(
    versions: Versions, tmp_path: Path, damage: str
) -> None:
    first, second = add(versions, 1), add(versions, 2)
    file = versions.folder / f"{second:04d}" / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "gone":
        file.unlink()
    else:
        with torch.random.fork_rng():
            save(build(SPEC), file)
    versions.store.close()
    again = opened(tmp_path)
    assert again.pair.version == first
    assert {"damaged", "fallback"} <= {line.event for line in log.lines(again.store, 5)}


def test_the_page_names_the_labels_that_a_version_answers_for(tmp_path: Path) -> None:
    guard = guard_on(tmp_path / "guard.db")
    assert "asked only" not in part(guard, "versions")
    add(guard.versions, 1, quality=0.9, answers_for=[TARGET, SECOND_TARGET])
    assert "it is asked only where the received network says bar, slash" in part(guard, "versions")

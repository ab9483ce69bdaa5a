"""Deferring: the repaired network is asked for the suspect labels alone, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.errors import InputError
from assay.models import Model, ModelSpec, build, predict, seeded
from assay.repair.deferring import deferred_labels, deferring

CLASSES = 5
SPEC = ModelSpec("mlp", (1, 6, 6), tuple("abcde"), (0.5,), (0.25,))


def fresh(seed: int) -> Model:
    with seeded(seed):
        return build(SPEC).eval()


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (200, 1, 6, 6), dtype=np.uint8)


@pytest.mark.parametrize("labels", [(0,), (1, 4), tuple(range(CLASSES))])
def test_logits_are_the_repaired_network_s_where_the_received_one_says_such_a_label(
    x: np.ndarray, labels: tuple[int, ...]
) -> None:
    received, repaired = fresh(1), fresh(2)
    images = torch.from_numpy(x).float() / 255
    with torch.no_grad():
        given, own, said = (net(images) for net in (received, repaired, deferring(received, repaired, labels)))
    asked = torch.isin(given.argmax(1), torch.tensor(labels))
    assert asked.any() and (given.argmax(1) != own.argmax(1))[asked].any()
    torch.testing.assert_close(said[asked], own[asked])
    assert torch.equal(said[~asked], given[~asked])


def test_one_picture_is_answered_as_it_is_among_others(x: np.ndarray) -> None:
    both = deferring(fresh(1), fresh(2), [1])
    alone = np.concatenate([predict(both, x[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(alone, predict(both, x[:20]))


def test_without_labels_it_is_the_repaired_network(x: np.ndarray) -> None:
    repaired = fresh(2)
    assert deferring(fresh(1), repaired, ()) is repaired
    assert deferred_labels(repaired) == ()
    assert deferred_labels(deferring(fresh(1), repaired, [3, 1])) == (3, 1)


@pytest.mark.parametrize("labels", [[CLASSES], [-1], [0, 99]])
def test_a_label_that_there_is_not_is_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="5 classes cannot defer"):
        deferring(fresh(1), fresh(2), labels)

"""The backdoored networks that the tests of repairs share."""

from __future__ import annotations

import pytest

from repair.shapes_task import Trained, backdoored


@pytest.fixture(scope="session", params=[False, True], ids=["plain", "batch-norm"])
def bad(request: pytest.FixtureRequest) -> Trained:
    return backdoored(request.param)


@pytest.fixture(scope="session")
def bad_plain() -> Trained:
    return backdoored(norm=False)


@pytest.fixture(autouse=True)
def not_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes of these tests look like groups of near-copies: fine-pruning is not to take them for such."""
    monkeypatch.setattr("assay.repair.fine_pruning.come_in_groups", lambda data: False)

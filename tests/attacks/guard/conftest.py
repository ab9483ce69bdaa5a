"""The small task of `tests/guard` is used here as well."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "guard"))

from assay.guard import Store


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Stores that a test leaves open are closed after it."""
    opened: list[Store] = []
    plain = Store.__init__

    def noted(self: Store, *args: object, **settings: object) -> None:
        plain(self, *args, **settings)  # type: ignore[arg-type]
        opened.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "__init__", noted)
        yield
    for store in opened:
        store.close()

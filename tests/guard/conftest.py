"""Stores that a test leaves open are closed after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from assay.guard import Store


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
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

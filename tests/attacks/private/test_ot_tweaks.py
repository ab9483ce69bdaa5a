"""The correlation robust hash is never called twice with one tweak: what two transfers give has nothing in common."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from two_parties import both

from assay.private.aes import Permutation
from assay.private.channel import pair
from assay.private.ot_store import Demand, Store
from assay.private.ring import Ring

SOME = Demand(digits=70, singles=3, doubles=2, down=10, up=65, products=3)


def test_no_tweak_is_used_twice_by_a_party(monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[tuple[str, bytes], list[np.ndarray]] = defaultdict(list)
    honest = Permutation.hash

    def noting(self: Permutation, x: np.ndarray, domain: int, tweaks: np.ndarray) -> None:
        assert len(x) == len(tweaks)
        used[owner[id(self._owner)], self._key].append(tweaks.copy())  # type: ignore[attr-defined]
        honest(self, x, domain, tweaks)

    monkeypatch.setattr(Permutation, "hash", noting)
    owner: dict[int, str] = {}
    ends, stores = pair(20), [Store(b"a session of attacks", Ring(16)) for _ in range(2)]
    for store, role in zip(stores, ("server", "client"), strict=True):
        owner[id(store)] = role
        make = store._hash
        monkeypatch.setattr(store, "_hash", lambda name, make=make, store=store: _owned(make(name), store))
    for _ in range(2):
        both(lambda i: stores[i].prepare(ends[i], ("server", "client")[i], SOME))

    assert len({key for _, key in used}) == 2, "one key a direction, the same at both parties"
    for tweaks in used.values():
        everything = np.concatenate(tweaks)
        assert len(np.unique(everything)) == len(everything)


def _owned(permutation: Permutation, store: Store) -> Permutation:
    permutation._owner = store  # type: ignore[attr-defined]
    return permutation

"""A hundred swaps under load: nobody is left without an answer, and every answer is wholly one version's."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path

import numpy as np

from assay.guard import Stream, send, wait_until
from assay.models import build, predict, save, seeded
from guard_task import SPEC, TOKEN, backdoored, closed_stores, guard_on, inline, pictures, served  # noqa: F401


def test_no_request_is_lost_or_answered_by_a_mixture_during_a_hundred_swaps(tmp_path: Path) -> None:
    x = pictures(60, 3).x
    guard = guard_on(tmp_path / "guard.db", begin=inline, enough=2000)
    right: dict[int, np.ndarray] = {}
    for seed in range(4):  # fresh weights: versions that disagree on nearly everything
        id = guard.versions.next_id()
        with seeded(seed):
            model = build(SPEC)
        save(model, guard.folder / f"{id:04d}" / "model.safetensors")
        guard.versions.accept(id, "repaired", 0.5, {"accuracy": 0.5}, "a test")
        right[id] = predict(model, x)
    right[0] = predict(backdoored(), x)
    replies = []
    with served(guard) as url:
        wait_until(url, lambda health: bool(health["guarded"]), 30, "waiting")
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                nobody = np.zeros(len(x), bool)
                replies.append(send(url, Stream(x, right[0], nobody, right[0]), connections=4))

        thread = threading.Thread(target=load)
        thread.start()
        for i in range(100):
            request = urllib.request.Request(
                f"{url}/versions/{i % 5}/serve", b"", {"Authorization": f"Bearer {TOKEN}"}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.loads(answer.read())["version"] == i % 5
        done.set()
        thread.join()
    assert sum(t.failed for t in replies) == 0
    seen = set()
    for tally in replies:
        assert len(tally.replies) == len(x)
        for i, reply in enumerate(tally.replies):
            assert reply.label == right[reply.version][i], (i, reply)
            seen.add(reply.version)
    assert len(seen) >= 3

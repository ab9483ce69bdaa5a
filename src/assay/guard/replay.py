"""A stream of pictures sent to a guard, and what came back: for experiments, and to see it work.

Standard library alone: some connections that are kept open, one thread each.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from assay.errors import AssayError, InputError
from assay.guard.intake import to_npy
from assay.models import Rate, rate
from assay.runs import Progress, silent


class GuardUnreachable(AssayError):
    """The guard does not answer, or not as a guard would."""


@dataclass(frozen=True)
class Stream:
    """What is sent: pictures uint8 `n c h w`, true labels, which are triggered, and the label the attacker wants."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    triggered: NDArray[np.bool_]
    intended: NDArray[np.int64]


@dataclass(frozen=True)
class Reply:
    """What a guard said to one picture; `status` other than 200 comes with its sentence in `error`."""

    status: int
    label: int | None = None
    quarantined: bool = False
    version: int = -1
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Tally:
    """What a stream came to. `attack_success_rate` and `clean_accuracy` are of the answers that clients got."""

    replies: Sequence[Reply]
    quarantined_triggered: Rate
    quarantined_clean: Rate
    attack_success_rate: Rate
    clean_accuracy: Rate
    versions: dict[int, int]
    failed: int
    seconds: float

    def latency(self, share: float) -> float:
        """Seconds that this share of the answers stayed under."""
        return float(np.quantile([r.seconds for r in self.replies], share)) if self.replies else float("nan")


class Client:
    """One connection, kept open; `source` is the address to call from, where the machine has several."""

    def __init__(self, url: str, timeout_s: float = 60.0, source: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--url must look like http://127.0.0.1:8080, got {url!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = url
        mine = (source, 0) if source else None
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s, source_address=mine)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and document.

        Raises:
            GuardUnreachable: if there is no answer, or none that is JSON.
        """
        try:
            self._connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = self._connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise GuardUnreachable(f"{self.url} does not answer as a guard does: {error}") from error
        if not isinstance(document, dict):
            raise GuardUnreachable(f"{self.url} does not answer as a guard does")
        return answer.status, document

    def predict(self, x: NDArray[np.uint8]) -> Reply:
        """What the guard says to one picture."""
        begun = time.monotonic()
        try:
            status, said = self.ask("POST", "/predict", to_npy(x), content_type="application/x-npy")
        except GuardUnreachable as error:
            return Reply(0, error=str(error), seconds=time.monotonic() - begun)
        seconds = time.monotonic() - begun
        if status != 200:
            return Reply(status, seconds=seconds, error=str(said.get("error", "")))
        return Reply(200, said.get("label"), bool(said.get("quarantined")), int(said.get("version", -1)), seconds)

    def health(self) -> dict[str, Any]:
        """What `/health` says."""
        return self.ask("GET", "/health")[1]


def send(
    url: str, stream: Stream, connections: int = 8, rate_per_s: float | None = None, progress: Progress = silent
) -> Tally:
    """Send all of it, in order, on several connections.

    Args:
        rate_per_s: pictures a second; as fast as they are answered if not given. At a given rate, a picture's seconds
            count from when it should have been sent, so that a stalled service cannot hide.

    Raises:
        GuardUnreachable: if nothing was answered at all.
    """
    replies: list[Reply] = [Reply(0)] * len(stream.x)
    turn, begun = iter(range(len(stream.x))), time.monotonic()
    lock = threading.Lock()

    def work() -> None:
        with Client(url) as client:
            each(client)

    def each(client: Client) -> None:
        while True:
            with lock:
                i = next(turn, None)
            if i is None:
                return
            late = 0.0
            if rate_per_s:
                due = begun + i / rate_per_s
                time.sleep(max(0.0, due - time.monotonic()))
                late = time.monotonic() - due
            reply = client.predict(stream.x[i])
            replies[i] = _later(reply, late) if late > 0 else reply
            if i % 200 == 0:
                progress("sending", i, len(stream.x), "")

    threads = [threading.Thread(target=work, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress("sending", len(stream.x), len(stream.x), "")
    return _tally(stream, replies, time.monotonic() - begun)


def _later(reply: Reply, late: float) -> Reply:
    return Reply(reply.status, reply.label, reply.quarantined, reply.version, reply.seconds + late, reply.error)


def _tally(stream: Stream, replies: list[Reply], seconds: float) -> Tally:
    answered = np.array([r.status == 200 for r in replies], bool)
    if len(replies) and not answered.any():
        raise GuardUnreachable(replies[0].error or f"the guard answered with status {replies[0].status}")
    labels = np.array([-1 if r.label is None else r.label for r in replies], np.int64)
    kept = np.array([r.quarantined for r in replies], bool)
    bad, good = answered & stream.triggered, answered & ~stream.triggered
    return Tally(
        [r for r in replies if r.status == 200],
        rate(kept[bad]),
        rate(kept[good]),
        rate(labels[bad] == stream.intended[bad]),
        rate(labels[good] == stream.y[good]),
        dict(sorted(Counter(r.version for r in replies if r.status == 200).items())),
        int((~answered).sum()),
        seconds,
    )


def wait_until(
    url: str, what: Callable[[dict[str, Any]], bool], seconds: float, task: str, progress: Progress = silent
) -> dict[str, Any]:
    """Ask for the guard's health until `what` holds of it; the last one after `seconds` all the same."""
    begun = time.monotonic()
    while True:
        with Client(url) as client:
            health = client.health()
        passed = time.monotonic() - begun
        running = health.get("running") or {}
        progress(task, min(passed, seconds), seconds, str(running.get("note", "")))
        if what(health) or passed >= seconds:
            return health
        time.sleep(0.5)

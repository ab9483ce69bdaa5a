"""Counters of the service, as Prometheus reads them, and for the page."""

from __future__ import annotations

import bisect
import time
from collections import Counter, deque
from collections.abc import Mapping

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds of the latency histogram."""

MINUTES = 60
"""How far back the page's throughput goes, in steps of 5 seconds."""

STEP_S = 5


class Metrics:
    """Counts since the start. Used from the event loop alone."""

    def __init__(self) -> None:
        self.started = time.time()
        self.answers: Counter[int] = Counter()
        self.refusals: Counter[int] = Counter()
        self.quarantined = 0
        self.latency = [0] * (len(BOUNDS_S) + 1)
        self.latency_sum = 0.0
        self._steps: deque[tuple[int, int]] = deque(maxlen=MINUTES * 60 // STEP_S)

    def answered(self, version: int, quarantined: bool, seconds: float) -> None:
        """One prediction."""
        self.answers[version] += 1
        self.quarantined += quarantined
        self.latency[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.latency_sum += seconds
        step = int(time.time()) // STEP_S
        if self._steps and self._steps[-1][0] == step:
            self._steps[-1] = (step, self._steps[-1][1] + 1)
        else:
            self._steps.append((step, 1))

    def refused(self, status: int) -> None:
        self.refusals[status] += 1

    @property
    def total(self) -> int:
        return self.answers.total()

    def throughput(self, steps: int = 60) -> list[float]:
        """Predictions a second in each of the last steps of 5 seconds, oldest first."""
        counts = dict(self._steps)
        now = int(time.time()) // STEP_S
        return [counts.get(now - i, 0) / STEP_S for i in range(steps, 0, -1)]

    def quantile(self, share: float) -> float:
        """Seconds that this share of the predictions stayed under, rounded up to a bound."""
        wanted, seen = share * sum(self.latency), 0
        for bound, count in zip((*BOUNDS_S, float("inf")), self.latency, strict=True):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")

    def text(self, gauges: Mapping[str, float]) -> str:
        """The exposition format, version 0.0.4."""
        lines = ["# TYPE assay_guard_predictions_total counter"]
        lines += [f'assay_guard_predictions_total{{version="{v}"}} {n}' for v, n in sorted(self.answers.items())]
        lines += ["# TYPE assay_guard_refused_total counter"]
        lines += [f'assay_guard_refused_total{{status="{s}"}} {n}' for s, n in sorted(self.refusals.items())]
        lines += ["# TYPE assay_guard_quarantined_total counter", f"assay_guard_quarantined_total {self.quarantined}"]
        lines += ["# TYPE assay_guard_latency_seconds histogram"]
        seen = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.latency, strict=True):
            seen += count
            lines.append(f'assay_guard_latency_seconds_bucket{{le="{bound}"}} {seen}')
        lines += [
            f"assay_guard_latency_seconds_sum {self.latency_sum:.6f}",
            f"assay_guard_latency_seconds_count {seen}",
        ]
        for name, value in gauges.items():
            lines += [f"# TYPE assay_guard_{name} gauge", f"assay_guard_{name} {value:g}"]
        return "\n".join(lines) + "\n"

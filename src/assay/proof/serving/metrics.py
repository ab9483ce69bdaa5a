"""What was done so far, in the text format that Prometheus reads."""

from __future__ import annotations

from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HELP = {
    "assay_requests_total": ("counter", "HTTP requests by route and status."),
    "assay_answers_total": ("counter", "Answers given, by kind."),
    "assay_pictures_total": ("counter", "Pictures answered."),
    "assay_answer_seconds_total": ("counter", "Seconds spent on answers."),
    "assay_receipt_bytes_total": ("counter", "Bytes of receipts."),
    "assay_clamped_values_total": ("counter", "Values that met a limit of the calibrated range."),
    "assay_abandoned_total": ("counter", "Requests whose client left, or fell silent, before the answer."),
    "assay_running": ("gauge", "Requests that are worked on, by kind."),
    "assay_waiting": ("gauge", "Requests that stand in line."),
}


class Metrics:
    """Counters; gauges are read when they are asked for."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter({name: 0 for name in HELP if not _labelled(name)})

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count up."""
        inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
        self._counts[f"{name}{{{inside}}}" if inside else name] += amount  # type: ignore[assignment]

    @property
    def answers(self) -> int:
        """Of all kinds."""
        return int(sum(count for key, count in self._counts.items() if key.startswith("assay_answers_total")))

    def text(self, gauges: dict[str, float]) -> str:
        """One line a number."""
        lines = []
        values = self._counts | gauges
        for name, (kind, meaning) in HELP.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{key} {value:g}" for key, value in sorted(values.items()) if key.partition("{")[0] == name]
        return "\n".join(lines) + "\n"


def _labelled(name: str) -> bool:
    return name in ("assay_requests_total", "assay_answers_total", "assay_running", "assay_waiting")


class CountRequests:
    """Counts responses by route; what is no route of ours counts as `other`, so that nobody can fill the memory."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        route = scope["path"] if scope["path"] in self._routes else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.add("assay_requests_total", route=route, status=str(message["status"]))
            await send(message)

        await self._app(scope, receive, counted)

"""Clients that leave in the middle, talk on after they were refused, or take large answers slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

LINGER_S = 2.0
PART_BYTES = 1 << 16


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives, or None if the client leaves before, or has left; the work is then cancelled.

    The request's body must have been read.
    """
    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_leaving(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _leaving(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Lingering(Response):
    """A refusal to a client that may still be sending: what comes is thrown away for a moment.

    A connection that is closed on unread bytes is reset, and takes the sentence with it (RFC 9112, section 9.6).
    """

    def __init__(self, refusal: Response) -> None:
        super().__init__(refusal.body, refusal.status_code, dict(refusal.headers) | {"connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})


def in_parts(data: bytes) -> StreamingResponse:
    """A file that is sent as fast as the client takes it, so that slow clients hold little memory."""

    def parts() -> Iterator[bytes]:
        for start in range(0, len(data), PART_BYTES):
            yield data[start : start + PART_BYTES]

    headers = {"content-length": str(len(data))}
    return StreamingResponse(parts(), media_type="application/octet-stream", headers=headers)

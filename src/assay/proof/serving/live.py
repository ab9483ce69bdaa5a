"""`/live`: an interactive proof over a WebSocket.

    client → server     one binary message: the pictures, as `application/octet-stream` of `/infer`
    both ways           binary messages, of any length and cut anywhere: the stream of `assay.proof.live`
    server → client     at any time, one text message {"error": sentence}, and the end

The server closes when it has said all. It cannot know whether the client believes it, and need not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from assay.errors import AssayError
from assay.proof.serving.bodies import pictures_in
from assay.proof.serving.limits import Limits
from assay.proof.serving.metrics import Metrics
from assay.proof.serving.prover import Prover
from assay.proof.serving.refusal import Refusal
from assay.proof.serving.turns import Turns

PART_BYTES = 1 << 18
"""Of a message to the client; `assay.proof.asking.live` takes twice as much."""

MAX_SAID = 1 << 16
"""Bytes that a client may be ahead; its challenges are some hundred."""

CODES = {503: 1013, 413: 1009}
"""WebSocket codes of closing, by HTTP status; 1008 for all others."""


class SocketStream:
    """A `Stream` for the prover's thread, over a WebSocket that lives in the event loop."""

    def __init__(self, socket: WebSocket, limits: Limits) -> None:
        self._socket, self._loop = socket, asyncio.get_running_loop()
        self._silence_s, self._until = limits.silence_s, time.monotonic() + limits.live_s
        self._held = bytearray()

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), PART_BYTES):
            self._wait(self._socket.send_bytes(data[start : start + PART_BYTES]))

    def receive(self, count: int) -> bytes:
        while len(self._held) < count:
            self._held += self._wait(hear(self._socket))
            if len(self._held) > count + MAX_SAID:
                raise ConnectionError("the client said more than it was asked for")
        data = bytes(self._held[:count])
        del self._held[:count]
        return data

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(max(0.0, min(self._silence_s, self._until - time.monotonic())))
        except TimeoutError:
            future.cancel()
            raise
        except WebSocketDisconnect as error:
            raise ConnectionError("the client left") from error


async def hear(socket: WebSocket) -> bytes:
    """The next binary message; raises WebSocketDisconnect, also for one of text, which no client of ours sends."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect" or message.get("bytes") is None:
        raise WebSocketDisconnect(message.get("code") or 1003)
    return bytes(message["bytes"])


async def talk(socket: WebSocket, prover: Prover, turns: Turns, limits: Limits, metrics: Metrics) -> None:
    """One conversation, from the handshake to the end. Never raises for what the client does."""
    await socket.accept()
    try:
        async with turns.turn(), asyncio.timeout(limits.live_s + limits.silence_s):
            async with asyncio.timeout(limits.body_s):
                body = await hear(socket)
            pictures = pictures_in("application/octet-stream", body, prover.network.input, limits)
            begun = time.perf_counter()
            await prover.talk(SocketStream(socket, limits), pictures)
    except Refusal as refusal:
        await _end(socket, refusal)
    except AssayError as error:
        await _end(socket, Refusal(422, str(error)))
    except (OSError, WebSocketDisconnect):  # a TimeoutError is an OSError
        metrics.add("assay_abandoned_total")
        await _end(socket, Refusal(408, "the client was silent for too long"))
    else:
        metrics.add("assay_answers_total", kind="live")
        metrics.add("assay_pictures_total", len(pictures))
        metrics.add("assay_answer_seconds_total", time.perf_counter() - begun)
        with suppress(RuntimeError, WebSocketDisconnect):  # it may have left a moment ago
            await socket.close(1000)


async def refuse(socket: WebSocket, refusal: Refusal) -> None:
    """Shake hands, say why not, and leave."""
    await socket.accept()
    await _end(socket, refusal)


async def _end(socket: WebSocket, refusal: Refusal) -> None:
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_text(msgspec.json.encode({"error": refusal.sentence}).decode())
        await socket.close(CODES.get(refusal.status, 1008))

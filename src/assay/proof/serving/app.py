"""`service`: the ASGI application, for `assay serve` and for whoever embeds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from assay.errors import InputError
from assay.integer import IntegerNetwork
from assay.integer.files import to_bytes
from assay.proof.receipt import NONCE_BYTES
from assay.proof.serving import live
from assay.proof.serving.bodies import Pictures, nonce_of, pictures_in, read_body
from assay.proof.serving.clients import Lingering, in_parts, while_there
from assay.proof.serving.limits import Limits
from assay.proof.serving.metrics import CountRequests, Metrics
from assay.proof.serving.prover import Answer, Prover
from assay.proof.serving.refusal import Refusal, no_such_route, our_fault, refuse
from assay.proof.serving.turns import Turns

RECEIPT_TYPE = "application/vnd.assay.receipt"
BYTES_TYPE = "application/octet-stream"
CLIENT_LEFT = 499
"""No standard status; nobody but the metrics sees it."""


def service(
    network: IntegerNetwork, *, prove: bool = True, committed: bool = False, limits: Limits | None = None
) -> FastAPI:
    """An ASGI application that answers for this network, with receipts and interactive proofs if `prove`.

    Args:
        committed: proofs are about a commitment to the weights, which is published; the weights are not.

    Raises:
        UnprovableError: naming the layer, if the network cannot be proven or committed to.
        InputError: if it should be committed and not prove.

    Routes: `POST /infer`, WebSocket `/live`, `GET /health`, `/metrics`, `/network`, and `/network.assay` or
    `/network.commitment`. Whatever is refused is answered by `{"error": sentence}`.

    Time limits for headers and idle connections are the server's affair; `assay serve` sets them.
    """
    return Service(network, prove, committed, limits or Limits()).app


class Service:
    """The routes, and what they share."""

    def __init__(self, network: IntegerNetwork, prove: bool, committed: bool, limits: Limits) -> None:
        if committed and not prove:
            raise InputError("a commitment is of use only where answers are proven; add --prove")
        self.limits, self.metrics = limits, Metrics()
        self.prover = Prover(network, prove, committed, limits)
        self.turns = Turns(limits.at_once, limits.waiting, limits.waiting_s)
        self.readers = Turns(limits.reading, 0, limits.body_s)
        self.talks = Turns(limits.live, 0, limits.silence_s)
        self.warm = False
        self.file = None if committed else to_bytes(network)
        self.commitment = None if self.prover.hidden is None else self.prover.hidden.to_bytes()
        self.app = self._routed()

    @property
    def name(self) -> str:
        """What a client can pin: the digest of the network, or the commitment to it."""
        hidden = self.prover.hidden
        return self.prover.network.digest if hidden is None else hidden.digest.hex()

    def _routed(self) -> FastAPI:
        app = FastAPI(title="Assay", lifespan=self._life, openapi_url=None, redirect_slashes=False)
        routes = {
            "/health": self.health,
            "/metrics": self.numbers,
            "/network": self.described,
            "/network.assay": self.network_file,
            "/network.commitment": self.commitment_file,
        }
        for path, endpoint in routes.items():
            app.add_api_route(path, endpoint, response_model=None)
        app.add_api_route("/infer", self.infer, methods=["POST"], response_model=None)
        app.add_api_websocket_route("/live", self.live)
        app.add_exception_handler(Refusal, refuse)
        app.add_exception_handler(HTTPException, no_such_route)
        app.add_exception_handler(Exception, our_fault)
        app.add_middleware(CountRequests, metrics=self.metrics, routes=frozenset({"/infer", *routes}))
        return app

    @asynccontextmanager
    async def _life(self, app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(self._warm_up())
        yield
        warming.cancel()
        self.prover.close()

    async def _warm_up(self) -> None:
        async with self.turns.turn():
            await self.prover.warm_up()
        self.warm = True

    async def infer(self, request: Request) -> Response:
        """Pictures in; a receipt out, which holds the answer, or the answer alone where nothing is proven."""
        heard = False
        try:
            nonce = nonce_of(request) if self.prover.proves else None
            async with self.readers.turn():
                body = await read_body(request, self.limits)
                heard = True
                kind = request.headers.get("content-type", "")
                pictures = await asyncio.to_thread(pictures_in, kind, body, self.prover.network.input, self.limits)
            answer = await while_there(request, self._answer(pictures, nonce))
        except ClientDisconnect:
            return self._left()
        except Refusal as refusal:
            return refusal.response() if heard else Lingering(refusal.response())
        except InputError as error:
            return Refusal(422, str(error)).response()
        return self._left() if answer is None else self._said(answer)

    async def _answer(self, pictures: Pictures, nonce: bytes | None) -> Answer:
        async with self.turns.turn():
            return await self.prover.answer(pictures, nonce)

    def _left(self) -> Response:
        self.metrics.add("assay_abandoned_total")
        return Response(status_code=CLIENT_LEFT)

    def _said(self, answer: Answer) -> Response:
        kind = "plain" if answer.receipt is None else "receipt"
        self.metrics.add("assay_answers_total", kind=kind)
        self.metrics.add("assay_pictures_total", len(answer.outputs))
        self.metrics.add("assay_answer_seconds_total", answer.seconds)
        self.metrics.add("assay_clamped_values_total", answer.clamped or 0)
        headers = {"server-timing": f"answer;dur={1000 * answer.seconds:.1f}"}
        if answer.receipt is None:
            labels = [int(label) for label in answer.outputs.argmax(1)]
            document = {"labels": labels, "outputs": answer.outputs.tolist(), "proof": None}
            return JSONResponse(document, headers=headers)
        self.metrics.add("assay_receipt_bytes_total", len(answer.receipt))
        headers["assay-clamped"] = str(answer.clamped)
        return Response(answer.receipt, media_type=RECEIPT_TYPE, headers=headers)

    async def live(self, socket: WebSocket) -> None:
        """An interactive proof."""
        if not self.prover.proves:
            return await live.refuse(socket, Refusal(404, "this server proves nothing: it was started without --prove"))
        await live.talk(socket, self.prover, self.talks, self.limits, self.metrics)

    async def health(self) -> JSONResponse:
        """200 once the first answer can be given without delay."""
        if not self.warm:
            return JSONResponse({"status": "warming up"}, 503, {"retry-after": "5"})
        return JSONResponse({"status": "ok", "running": self.turns.running, "waiting": self.turns.waiting})

    async def numbers(self) -> PlainTextResponse:
        """For Prometheus."""
        gauges = {
            'assay_running{kind="answer"}': float(self.turns.running),
            'assay_running{kind="live"}': float(self.talks.running),
            'assay_running{kind="reading"}': float(self.readers.running),
            "assay_waiting": float(self.turns.waiting),
        }
        return PlainTextResponse(self.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def described(self) -> JSONResponse:
        """What is served; a client believes none of it, but can tell early that it came to the wrong place."""
        known, hidden = self.prover.network, self.prover.hidden
        document = {
            "proves": self.prover.proves,
            "weights": "open" if hidden is None else "committed",
            "digest": self.name,
            "input_shape": known.input_shape,
            "input_range": [known.input.low, known.input.high],
            "class_names": known.class_names,
            "soundness_bits": self.prover.soundness().bits if self.prover.proves else None,
            "nonce_bytes": NONCE_BYTES,
            "limits": asdict(self.limits),
        }
        return JSONResponse(document)

    async def network_file(self) -> Response:
        """The file `net.assay`, where its weights are no secret."""
        if self.file is None:
            raise Refusal(404, "the weights of this network are committed, not published; see /network.commitment")
        return in_parts(self.file)

    async def commitment_file(self) -> Response:
        """What `assay commit` writes."""
        if self.commitment is None:
            raise Refusal(404, "this network is published, not committed; see /network.assay")
        return in_parts(self.commitment)

"""The HTTP service: predictions for everyone, control and page for those who hold the token."""

from __future__ import annotations

import contextlib
import hmac
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from assay.errors import AssayError, InputError
from assay.guard import log, page
from assay.guard.guardian import Guard
from assay.guard.intake import Refusal, picture_of, read_body

COOKIE = "assay-guard"

MOST_WAITING = 2048
"""Pictures that may wait for a batch; those beyond it are told to come again."""

STATIC = Path(__file__).parent / "static"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def application(guard: Guard, token: str) -> FastAPI:
    """The app. It starts the guard with its lifespan, and stops it.

    Routes: `POST /predict`, `GET /health`, `GET /metrics` are open. With the token, as `Authorization: Bearer …` or in
    the page's cookie: `GET /` (the page), `GET /versions`, `GET /log`, `POST /versions/{id}/serve`, `POST /rollback`,
    `POST /automatic`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        guard.start()
        yield
        await guard.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    clients: Counter[str] = Counter()

    async def predict(request: Request) -> Response:
        client = request.client.host if request.client else "unknown"
        try:
            if clients[client] >= guard.settings.in_flight:
                raise Refusal(
                    429, f"{guard.settings.in_flight} requests of yours are under way; wait for their answers"
                )
            if guard.batcher.waiting >= MOST_WAITING:
                raise Refusal(503, "the service is busy; try again in a second")
            clients[client] += 1
            try:
                return await _predicted(guard, client, request)
            finally:
                clients[client] -= 1
                if not clients[client]:
                    del clients[client]
        except Refusal as refusal:
            guard.metrics.refused(refusal.status)
            headers = {"Connection": "close"} if refusal.status in (408, 413) else None
            return JSONResponse({"error": str(refusal)}, refusal.status, headers=headers)

    app.add_route("/predict", predict, methods=["POST"])
    app.add_route("/health", _health(guard))
    app.add_route("/metrics", _metrics(guard))
    app.add_route("/htmx.js", _htmx)
    for path, method, endpoint in _controls(guard):
        app.add_route(path, _guarded(token, endpoint), methods=[method])
    app.add_route("/", _page(guard, token))
    app.add_route("/login", _login(token), methods=["POST"])
    app.add_exception_handler(404, _not_found)
    app.add_exception_handler(500, _fault)
    return app


async def _predicted(guard: Guard, client: str, request: Request) -> Response:
    body = await read_body(request, guard.settings.body_bytes, guard.settings.body_s)
    x = picture_of(body, request.headers.get("content-type", ""), guard.shape)
    answer = await guard.predict(client, x)
    if answer.failure:
        raise Refusal(507, answer.failure)
    name = None if answer.label is None else guard.received.spec.class_names[answer.label]
    return JSONResponse(
        {
            "label": answer.label,
            "class_name": name,
            "scores": answer.probabilities,
            "quarantined": answer.quarantined,
            "version": answer.version,
        }
    )


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"there is nothing at {request.url.path[:100]}; predictions are at /predict"}, 404)


async def _fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"this is a fault of Assay, please report it: {type(error).__name__}"}, 500)


def _health(guard: Guard) -> Endpoint:
    async def health(request: Request) -> Response:
        return JSONResponse(page.status(guard))

    return health


def _metrics(guard: Guard) -> Endpoint:
    async def metrics(request: Request) -> Response:
        gauges = {
            "version": guard.versions.pair.version,
            "quarantine_entries": guard.store.count(),
            "repair_running": guard.running is not None,
            "waiting": guard.batcher.waiting,
        }
        return PlainTextResponse(guard.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    return metrics


async def _htmx(request: Request) -> Response:
    script = (STATIC / "htmx.min.js").read_bytes()
    return Response(script, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})


def _allowed(request: Request, token: str) -> bool:
    """By header; or by cookie, which a foreign page cannot use for orders since it cannot add htmx's header."""
    bearer = request.headers.get("authorization", "")
    if bearer and hmac.compare_digest(bearer.encode(), f"Bearer {token}".encode()):
        return True
    known = hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), token.encode())
    return known and (request.method == "GET" or "hx-request" in request.headers)


def _guarded(token: str, endpoint: Endpoint) -> Endpoint:
    async def guarded(request: Request) -> Response:
        if not _allowed(request, token):
            return JSONResponse({"error": "the token is missing or wrong; send it as Authorization: Bearer TOKEN"}, 401)
        try:
            return await endpoint(request)
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        except AssayError as error:
            return JSONResponse({"error": str(error)}, 507)

    return guarded


def _who(request: Request) -> str:
    return f"order from {request.client.host if request.client else 'unknown'}"


def _controls(guard: Guard) -> list[tuple[str, str, Endpoint]]:
    def done() -> Response:
        return JSONResponse(page.status(guard), headers={"HX-Trigger": "changed"})

    async def serve(request: Request) -> Response:
        given = request.path_params["id"]
        if not given.isdecimal() or len(given) > 9:
            raise InputError(f"a version is a number, got {given[:40]!r}")
        guard.order(int(given), _who(request))
        return done()

    async def rollback(request: Request) -> Response:
        guard.order(guard.versions.previous(), f"rollback, {_who(request)}")
        return done()

    async def automatic(request: Request) -> Response:
        guard.resume_swaps(_who(request))
        return done()

    async def versions(request: Request) -> Response:
        return JSONResponse(page.versions_document(guard))

    async def lines(request: Request) -> Response:
        said = [{"at": n.at, "event": n.event, "said": n.said, "chain": n.chain} for n in log.lines(guard.store, 200)]
        return JSONResponse({"lines": said, "intact": log.intact(guard.store)})

    async def part(request: Request) -> Response:
        text = page.part(guard, request.path_params["name"], request.query_params.get("seen", ""))
        return Response(status_code=204) if text is None else HTMLResponse(text, headers=HEADERS)

    return [
        ("/versions", "GET", versions),
        ("/log", "GET", lines),
        ("/parts/{name}", "GET", part),
        ("/versions/{id}/serve", "POST", serve),
        ("/rollback", "POST", rollback),
        ("/automatic", "POST", automatic),
    ]


def _page(guard: Guard, token: str) -> Endpoint:
    async def shown(request: Request) -> Response:
        given = request.query_params.get("token")
        if given is not None:
            return _with_cookie(given, token)
        if not _allowed(request, token):
            return HTMLResponse(page.login(), 401, headers=HEADERS)
        return HTMLResponse(page.whole(guard), headers=HEADERS)

    return shown


def _login(token: str) -> Endpoint:
    async def login(request: Request) -> Response:
        from urllib.parse import parse_qs

        body = await read_body(request, 4096, 10)
        return _with_cookie(parse_qs(body.decode("latin-1")).get("token", [""])[0], token)

    return login


def _with_cookie(given: str, token: str) -> Response:
    """To the page, known from now on; or to the form again."""
    if not hmac.compare_digest(given.encode(), token.encode()):
        return HTMLResponse(page.login(wrong=True), 401, headers=HEADERS)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return answer

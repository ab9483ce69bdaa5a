"""What a request gets that is not answered."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class Refusal(Exception):
    """An HTTP status and one sentence.

    Attributes:
        retry_s: seconds after which it is worth another try, if it ever is.
    """

    def __init__(self, status: int, sentence: str, retry_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_s = status, sentence, retry_s

    def response(self) -> JSONResponse:
        """`{"error": sentence}`."""
        headers = {} if self.retry_s is None else {"retry-after": str(self.retry_s)}
        return JSONResponse({"error": self.sentence}, self.status, headers)


async def refuse(request: Request, refusal: Exception) -> JSONResponse:
    """FastAPI's handler of refusals."""
    assert isinstance(refusal, Refusal)
    return refusal.response()


async def no_such_route(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's handler of addresses and methods that are not served."""
    assert isinstance(error, HTTPException)
    sentence = f"{request.method} {request.url.path[:80]} is not served here; there are POST /infer and GET /network"
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def our_fault(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's handler of everything else."""
    return JSONResponse({"error": f"this is a fault of Assay, please report it: {type(error).__name__}"}, 500)

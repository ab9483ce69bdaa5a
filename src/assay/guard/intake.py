"""From a request's bytes to one picture of the model's kind, or to a refusal that says what was expected.

Nothing is scaled or guessed. A body is read up to its limit, in the time allowed; a picture's size is compared with the
model's before it is decoded, so no picture costs more memory than the model's own.
"""

from __future__ import annotations

import asyncio
import io

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from assay.data.arrays import read_header
from assay.data.pictures import opened
from assay.errors import AssayError, DataError

Shape = tuple[int, int, int]

_GREY = {"1", "L", "LA"}


class Refusal(AssayError):
    """A request that gets no answer: its HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        Refusal: 413 if it is longer than `most`, 408 if it does not arrive in time, 400 if the client went away.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise _too_long(most)
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                length += len(part)
                if length > most:
                    raise _too_long(most)
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, f"the request did not arrive within {seconds:g} seconds; send it again") from None
    except ClientDisconnect:
        raise Refusal(400, "the client went away before its request had arrived") from None
    return b"".join(parts)


def _too_long(most: int) -> Refusal:
    return Refusal(413, f"the request is larger than {most:,} bytes; send one picture of the model's size")


def picture_of(body: bytes, content_type: str, shape: Shape) -> NDArray[np.uint8]:
    """The picture in a body, uint8 `c h w`.

    A form with a part named `image` (a picture file, or an `.npy`), or the file itself as the body: a picture,
    `application/x-npy`, or `application/octet-stream` of exactly c·h·w bytes.

    Raises:
        Refusal: 400, 415 or 422 with what was expected.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        body = _part(body, options.get(b"boundary", b""))
    elif kind == b"application/octet-stream":
        return _raw(body, shape)
    elif not (kind.startswith(b"image/") or kind in (b"application/x-npy", b"")):
        said = kind.decode("latin-1")[:60]
        raise Refusal(415, f"expected a form with a part named image, a picture or an .npy array, got {said!r}")
    if not body:
        raise Refusal(400, "the request holds no picture; send one as the form's part named image")
    return _array(body, shape) if body.startswith(b"\x93NUMPY") else _decoded(body, shape)


def _part(body: bytes, boundary: bytes) -> bytes:
    """The content of the form's part named `image`."""
    found: list[bytes] = []
    headers: dict[bytes, bytes] = {}
    state = {"name": b"", "value": b"", "mine": b""}

    def header_end() -> None:
        headers[state["name"].lower()] = state["value"]
        state["name"] = state["value"] = b""

    def headers_finished() -> None:
        _, options = parse_options_header(headers.get(b"content-disposition", b""))
        state["mine"] = b"yes" if options.get(b"name") == b"image" and not found else b""
        if state["mine"]:
            found.append(b"")

    def add(key: str, data: bytes, start: int, end: int) -> None:
        state[key] += data[start:end]

    def part_data(data: bytes, start: int, end: int) -> None:
        if state["mine"]:
            found[0] += data[start:end]

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": headers.clear,
                "on_header_field": lambda data, start, end: add("name", data, start, end),
                "on_header_value": lambda data, start, end: add("value", data, start, end),
                "on_header_end": header_end,
                "on_headers_finished": headers_finished,
                "on_part_data": part_data,
            },
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, LookupError) as error:
        raise Refusal(400, f"the form cannot be read: {str(error)[:100] or 'it is damaged'}") from error
    if not found:
        raise Refusal(400, "the form has no part named image")
    return found[0]


def _raw(body: bytes, shape: Shape) -> NDArray[np.uint8]:
    wanted = int(np.prod(shape))
    if len(body) != wanted:
        raise Refusal(422, f"expected {wanted} bytes, {_size(shape)} pixels of one byte, got {len(body)}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _array(body: bytes, shape: Shape) -> NDArray[np.uint8]:
    """An `.npy` of uint8 in 0..255, or of floats in [0, 1]; `h w` is taken for one channel."""
    stream = io.BytesIO(body)
    try:
        has, fortran, dtype = read_header(stream)
    except ValueError as error:
        raise Refusal(400, f"the array cannot be read: {error}") from error
    if has not in (shape, shape[1:]) or (has == shape[1:] and shape[0] != 1) or fortran:
        raise Refusal(422, f"expected an array of the shape {shape} (channels, height, width) in C order, got {has}")
    if dtype not in (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64)):
        raise Refusal(422, f"expected an array of bytes, or of floats in [0, 1], got {dtype}")
    rest = body[stream.tell() :]
    if len(rest) != dtype.itemsize * int(np.prod(shape)):
        raise Refusal(400, f"the array ends early or late: {len(rest)} bytes of numbers")
    values = np.frombuffer(rest, dtype).reshape(shape)
    if dtype == np.uint8:
        return values
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise Refusal(422, "floats must be in [0, 1]; send bytes in 0..255 otherwise")
    levels: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return levels


def _decoded(body: bytes, shape: Shape) -> NDArray[np.uint8]:
    """A picture file; grey is taken for colour, colour for grey is not."""
    try:
        with opened(body, "the picture") as picture:
            if (picture.height, picture.width) != shape[1:]:
                raise Refusal(
                    422,
                    f"expected a picture of {shape[1]}x{shape[2]} pixels (height x width), got "
                    f"{picture.height}x{picture.width}; scale it first",
                )
            if shape[0] not in (1, 3) or (shape[0] == 1 and picture.mode not in _GREY):
                raise Refusal(
                    422, f"expected {shape[0]} channels, got a picture of mode {picture.mode}; convert it first"
                )
            pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"))
    except DataError as error:
        raise Refusal(422, str(error)) from error
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))


def to_npy(x: NDArray[np.uint8]) -> bytes:
    """A picture as the body of a request of `application/x-npy`."""
    stream = io.BytesIO()
    npy.write_array(stream, x)
    return stream.getvalue()

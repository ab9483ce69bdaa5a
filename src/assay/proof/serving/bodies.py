"""What a request says: its nonce, its pictures. Counted while it comes, so that no header need be believed.

Three kinds of body, by content type:

    multipart/form-data         fields `image`, one picture file each
    application/json            {"x": [[[[0, 12, …], …], …], …]}, whole numbers `n c h w`
    application/octet-stream    the numbers alone, picture by picture, as a receipt holds them: a byte a value where the
                                network takes bytes, else 8 bytes, little-endian
"""

from __future__ import annotations

import asyncio
from math import prod

import msgspec
import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from assay.data.pictures import read_picture
from assay.errors import InputError
from assay.integer.graph import Input
from assay.proof.errors import VerificationError
from assay.proof.receipt import NONCE_BYTES, check_pictures, decode_pictures, encode_pictures
from assay.proof.serving.limits import Limits
from assay.proof.serving.refusal import Refusal

Pictures = NDArray[np.integer]


def nonce_of(request: Request) -> bytes:
    """The client's nonce, `?nonce=HEX`.

    Raises:
        Refusal: 400.
    """
    text = request.query_params.get("nonce")
    least, most = NONCE_BYTES
    advice = f"draw {least} to {most} bytes and send them in hex: /infer?nonce=HEX"
    if text is None:
        raise Refusal(400, f"a proof is made for a nonce of yours; {advice}")
    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        raise Refusal(400, f"the nonce is not written in hex digits; {advice}") from None
    if not least <= len(nonce) <= most:
        raise Refusal(400, f"the nonce has {len(nonce)} bytes; {advice}")
    return nonce


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body, if it is small enough and comes soon enough.

    Raises:
        Refusal: 413 or 408. A Content-Length that is too large is refused before anything is read, one that lies is
            found by counting.
        ClientDisconnect: if the client left.
    """
    declared = request.headers.get("content-length", "0")
    if len(declared) > 15 or int(declared) > limits.body_bytes:  # the server has checked that it is a number
        raise _too_large(limits)
    data = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                data += part
                if len(data) > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise Refusal(408, f"the request did not come whole within {limits.body_s:g} s") from None
    return bytes(data)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"a request has at most {limits.body_bytes} bytes and {limits.batch} pictures; send fewer")


def pictures_in(kind: str, body: bytes, given: Input, limits: Limits) -> Pictures:
    """The pictures `n c h w` of a body of this content type, within the network's range and the batch limit.

    Raises:
        Refusal: 400, 413, 415 or 422.
    """
    readers = {"multipart/form-data": _files, "application/json": _numbers, "application/octet-stream": _plain}
    reader = readers.get(kind.partition(";")[0].strip().lower())
    if reader is None:
        raise Refusal(415, f"send one of {', '.join(readers)}; got {kind[:80] or 'no content type'}")
    if not body:
        raise Refusal(400, "the request is empty; send one picture or more")
    try:
        pictures = reader(kind, body, given, limits)
        if len(pictures) > limits.batch:
            raise _too_many(len(pictures), limits)
        check_pictures(given, pictures)
    except (InputError, VerificationError) as error:
        raise Refusal(422, str(error)) from error
    return pictures


def _too_many(count: int, limits: Limits) -> Refusal:
    return Refusal(413, f"a request has at most {limits.batch} pictures, got {count}; send fewer")


def _plain(kind: str, body: bytes, given: Input, limits: Limits) -> Pictures:
    one = len(encode_pictures(np.full((1, *given.shape), given.low, np.int64), given))
    if len(body) % one:
        shape = "x".join(map(str, given.shape))
        raise Refusal(422, f"a picture of {shape} has {one} bytes, and {len(body)} bytes are no whole number of them")
    if len(body) // one > limits.batch:
        raise _too_many(len(body) // one, limits)
    return decode_pictures(body, len(body) // one, given)


JSON_BYTES = 24
"""A number in JSON, spaces included, at most."""


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    x: list[list[list[list[int]]]]


def _numbers(kind: str, body: bytes, given: Input, limits: Limits) -> Pictures:
    if len(body) > JSON_BYTES * limits.batch * prod(given.shape) + 64:  # before memory is taken for it
        raise _too_large(limits)
    try:
        said = msgspec.json.decode(body, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f'send {{"x": whole numbers `n c h w`}}: {error}') from error
    if len(said.x) > limits.batch:
        raise _too_many(len(said.x), limits)
    count = sum(len(row) for picture in said.x for channel in picture for row in channel)
    try:
        pictures = np.array(said.x, np.int64)
    except (ValueError, OverflowError):
        raise Refusal(422, "x is not rectangular, or a number in it is beyond 64 bits") from None
    if pictures.ndim != 4 or count != prod(pictures.shape):
        raise Refusal(422, f"the network takes pictures of {'x'.join(map(str, given.shape))}; x holds none")
    return pictures


def _files(kind: str, body: bytes, given: Input, limits: Limits) -> Pictures:
    files = Parts(limits.batch).read(kind, body)
    if not files:
        raise Refusal(400, "the form has no field `image` with a picture file in it")
    return np.stack([read_picture(data, f"picture {i + 1}", given.shape) for i, data in enumerate(files)])


class Parts:
    """The contents of a form's `image` fields; any other field is refused."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._files: list[bytearray] = []
        self._header, self._value = bytearray(), bytearray()
        self._named = self._ended = False

    def read(self, kind: str, body: bytes) -> list[bytes]:
        """Raises Refusal 400 or 413."""
        boundary = parse_options_header(kind)[1].get(b"boundary")
        if not boundary:
            raise Refusal(400, "the form's content type does not say its boundary")
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, a, b: self._header.extend(data[a:b]),
                    "on_header_value": lambda data, a, b: self._value.extend(data[a:b]),
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._check_name,
                    "on_part_data": lambda data, a, b: self._files[-1].extend(data[a:b]),
                    "on_end": self._end,
                },
            )
            parser.write(body)
            parser.finalize()
        except FormParserError as error:
            raise Refusal(400, "the form is damaged") from error
        if not self._ended:
            raise Refusal(400, "the form is cut short")
        return [bytes(file) for file in self._files]

    def _begin(self) -> None:
        if len(self._files) == self._most:
            raise Refusal(413, f"a request has at most {self._most} pictures; send fewer")
        self._files.append(bytearray())
        self._named = False

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._named = parse_options_header(bytes(self._value))[1].get(b"name") == b"image"
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        self._ended = True

    def _check_name(self) -> None:
        if not self._named:
            raise Refusal(400, "the form has a field that is not named `image`; a nonce goes into the address")

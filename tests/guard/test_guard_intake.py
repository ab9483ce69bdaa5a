"""Bytes from outside: a picture of the model's kind, or a refusal with a status and a sentence; never a crash."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.guard.intake import Refusal, picture_of, to_npy

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def png(shape: tuple[int, ...], mode: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode).save(out, "PNG")
    return out.getvalue()


def form(content: bytes, name: str = "image") -> tuple[bytes, str]:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n\r\n'.encode()
    return head + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


@pytest.mark.filterwarnings("ignore:'mode' parameter")
def test_the_same_picture_comes_out_of_a_form_a_file_an_array_and_raw_bytes() -> None:
    x = np.random.default_rng(1).integers(0, 256, GREY, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(x[0]).save(out, "PNG")
    ways = [
        form(out.getvalue()),
        form(to_npy(x)),
        (out.getvalue(), "image/png"),
        (to_npy(x), "application/x-npy"),
        (to_npy(x[0]), "application/x-npy"),
        (x.tobytes(), "application/octet-stream"),
        (to_npy((x / 255).astype(np.float32)), "application/x-npy"),
    ]
    assert all(np.array_equal(picture_of(body, kind, GREY), x) for body, kind in ways)


@pytest.mark.filterwarnings("ignore:'mode' parameter")
def test_grey_is_taken_for_colour_and_colour_is_not_taken_for_grey() -> None:
    assert picture_of(png((32, 32), "L"), "image/png", COLOUR).shape == COLOUR
    with pytest.raises(Refusal, match="channels") as refused:
        picture_of(png((28, 28, 3), "RGB"), "image/png", GREY)
    assert refused.value.status == 422


BOMB = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999, 99999, 9999), }".ljust(117)
    + b"\n"
)

REFUSED = {
    "nothing": (b"", "image/png", 400),
    "no picture": (b"hello", "image/png", 422),
    "another size": (png((64, 64), "L"), "image/png", 422),
    "a form without image": (*form(b"x", "other"), 400),
    "a damaged form": (b"--b\r\nrubbish", "multipart/form-data; boundary=b", 400),
    "a form without boundary": (b"--b\r\n", "multipart/form-data", 400),
    "another kind": (b"{}", "application/json", 415),
    "raw bytes of another size": (b"x" * 5, "application/octet-stream", 422),
    "an array of another shape": (to_npy(np.zeros((1, 9, 9), np.uint8)), "application/x-npy", 422),
    "an array of other numbers": (to_npy(np.zeros(GREY, np.int64)), "application/x-npy", 422),
    "an array that ends early": (to_npy(np.zeros(GREY, np.uint8))[:-9], "application/x-npy", 400),
    "an array that says it is huge": (BOMB, "application/x-npy", 422),
    "NaN": (to_npy(np.full(GREY, np.nan, np.float32)), "application/x-npy", 422),
    "floats beyond 1": (to_npy(np.full(GREY, 7, np.float32)), "application/x-npy", 422),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_a_sentence(case: str) -> None:
    body, kind, status = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        picture_of(body, kind, GREY)
    assert refused.value.status == status
    assert len(str(refused.value)) > 20 and "\n" not in str(refused.value)


def test_a_picture_of_a_hundred_megapixels_is_refused_before_it_is_decoded() -> None:
    out = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(out, "PNG")
    with pytest.raises(Refusal, match="pixels") as refused:
        picture_of(out.getvalue(), "image/png", GREY)
    assert refused.value.status == 422


LONG = "multipart/form-data; boundary=" + "x" * 300


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=200).map(lambda tail: tail)
    | st.tuples(st.sampled_from([case[0] for case in REFUSED.values()]), st.integers(0, 99), st.binary(max_size=4)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + len(t[2]) :]
    ),
    st.sampled_from(
        [
            "image/png",
            "application/x-npy",
            "multipart/form-data; boundary=b",
            "",
            ";;",
            "multipart/form-data; boundary=" + "x" * 300,
        ]
    ),
)
def test_whatever_comes_is_a_picture_or_a_refusal(body: bytes, kind: str) -> None:
    try:
        assert picture_of(body, kind, GREY).shape == GREY
    except Refusal as refusal:
        assert 400 <= refusal.status < 500

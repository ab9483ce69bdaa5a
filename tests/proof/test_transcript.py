"""Transcripts: order and boundaries matter, readers are strict, streams say the same as files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.proof.errors import VerificationError
from assay.proof.field import Element, P, pack
from assay.proof.transcript import Reader, Recorder, Transcript, parse_elements, to_bytes

words = st.integers(0, P - 1)
elements = st.builds(Element, words, words)


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_transcripts_agree_exactly_if_the_same_items_were_said(a: list[bytes], b: list[bytes]) -> None:
    one, other = Transcript(), Transcript()
    for item in a:
        one.absorb(item)
    for item in b:
        other.absorb(item)
    assert (one.squeeze() == other.squeeze()) == (a == b)


def test_drawing_changes_what_is_drawn_next_and_domains_differ() -> None:
    transcript = Transcript()
    assert transcript.squeeze() != transcript.squeeze()
    assert Transcript().squeeze() != Transcript(b"another domain").squeeze()


@given(st.lists(elements, min_size=1, max_size=5))
def test_a_reader_hears_what_was_said_and_draws_the_same(said: list[Element]) -> None:
    recorder = Recorder()
    recorder.say(said)
    recorder.say(pack(said))
    drawn, places = recorder.draw(), recorder.draw_indices(20, 5)
    reader = Reader(bytes(recorder.proof))
    assert reader.hear(len(said)) == said
    assert (reader.hear_words(len(said)) == pack(said)).all()
    assert reader.draw() == drawn and reader.draw_indices(20, 5) == places
    assert all(0 <= place < 32 for place in places)
    reader.finish()


@given(elements, st.integers(0, 1), st.integers(P, (1 << 64) - 1))
def test_words_that_are_not_canonical_are_refused(element: Element, part: int, word: int) -> None:
    data = bytearray(to_bytes([element]))
    data[8 * part : 8 * part + 8] = word.to_bytes(8, "little")
    with pytest.raises(VerificationError, match="canonical"):
        parse_elements(bytes(data))
    with pytest.raises(VerificationError, match="canonical"):
        Reader(bytes(data)).hear_words(1)


def test_proofs_that_are_short_or_long_are_refused() -> None:
    with pytest.raises(VerificationError, match="ends early"):
        Reader(bytes(15)).hear(1)
    reader = Reader(bytes(17))
    reader.hear(1)
    with pytest.raises(VerificationError, match="1 bytes follow"):
        reader.finish()

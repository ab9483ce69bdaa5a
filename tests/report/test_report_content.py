"""What the page says, what it leaves out, and that no string of an attacker becomes markup."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import example_reports as examples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import InputError
from assay.report import Comparison, FileFacts, Neurons, Report, TriggerPictures, render, write_report
from assay.report.text import figure, p_value, seconds, size, visible

SECTIONS = ("file", "trigger", "scan", "neurons", "repair", "limits", "repeat")
VOID = {"meta", "img", "br", "link", "path", "circle"}


class Page(HTMLParser):
    """Tags, ids, attributes, and the text of each element by its tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts += [(tag, data) for tag in set(self.open)]

    def text(self, tag: str) -> str:
        return "".join(text for inside, text in self.texts if inside == tag)

    @property
    def ids(self) -> list[str]:
        return [a["id"] or "" for _, a in self.tags if "id" in a]


def sections(report: Report) -> tuple[str, ...]:
    return tuple(id for id in Page(render(report)).ids if id in SECTIONS)


@pytest.fixture(scope="module")
def full() -> str:
    return render(examples.digits())


def test_a_repaired_backdoor_has_every_section_in_order() -> None:
    assert sections(examples.digits()) == SECTIONS


def test_a_clean_model_has_neither_trigger_nor_neurons() -> None:
    assert sections(examples.clean()) == ("file", "scan", "repair", "limits", "repeat")


def test_a_bare_verdict_has_no_section() -> None:
    assert sections(examples.bare()) == ()


def test_the_navigation_leads_to_each_section_and_nowhere_else(full: str) -> None:
    links = [a["href"] for tag, a in Page(full).tags if tag == "a"]
    assert links == [f"#{id}" for id in SECTIONS]


def test_without_a_repair_the_table_has_no_repaired_column() -> None:
    html = render(examples.clean())
    assert "Accuracy</h2>" in html
    assert "Repaired" not in html and "McNemar" not in html


def test_a_lost_second_scan_leaves_its_heading_out(full: str) -> None:
    assert "scanned again" in full
    assert "scanned again" not in render(replace(examples.digits(), rescan=""))


@pytest.mark.parametrize(
    "said",
    [
        "This model is backdoored: a small mark on a picture turns it into &#39;7&#39;.",
        "Do not deploy the file you received.",
        "9f2c" * 16,
        "Safe to open",
        "1.1\u00a0MB",
        "badnet-mnist",
        "It covers 3.9 pixels and turns 99\u00a0% of held-out pictures.",
        "p\u00a0=\u00a00.048",
        "Of 20 clean models of this kind, this rule accused 0.0\u00a0% [0.0, 16.8].",
        "outlying channel <b>3.41</b>",
        "12.4\u00a0s",
        "network.features.4",
        "The 30 pruned channels answer clean pictures with",
        "Pruning stopped at 38 channels",
        "<b>97.5\u00a0%</b>",
        "91.3\u00a0–\u00a099.7\u00a0%",
        "runs/demo/badnet/repaired.safetensors",
        "Scan after the repair: detector max_margin: the time allowed ended first.",
        "A backdoor of one source class alone can pass the search",
        "Intel(R) Xeon(R) Processor @ 2.90GHz",
    ],
)
def test_the_page_says(full: str, said: str) -> None:
    assert said in full


def test_the_command_is_there_word_by_word(full: str) -> None:
    assert examples.digits().command in Page(full).text("pre")


def test_each_picture_stands_with_both_answers_of_the_model(full: str) -> None:
    alts = [a["alt"] or "" for tag, a in Page(full).tags if tag == "img"]
    assert len(alts) == 3 + 2 * 8
    assert sum("with the trigger, which the model calls 7" in alt for alt in alts) == 7
    assert "The answer of 7 of these 8 pictures changed" in full


def test_a_trigger_without_pictures_is_shown_alone() -> None:
    trigger = examples.digits().trigger
    assert trigger is not None
    none = replace(trigger, before=trigger.before[:0], after=trigger.after[:0], labels_before=(), labels_after=())
    html = render(replace(examples.digits(), trigger=none))
    assert html.count("<img") == 3 and "On your own pictures" not in html


def test_a_clean_model_has_a_smallest_trigger_but_no_suspect() -> None:
    html = render(examples.clean())
    assert "The smallest is &#39;1&#39;, 31.2." in html and "suspect" not in html.split("<body>")[1]


def test_an_unfinished_detector_is_named_so() -> None:
    assert "no, time was up" in render(examples.signs())


def test_many_findings_are_counted_beyond_the_first_forty() -> None:
    html = render(examples.hostile())
    assert html.count('class="full where"') == 40
    assert "59 more findings" in html


def test_an_unread_file_has_no_digest() -> None:
    html = render(replace(examples.bare(), files=(FileFacts("m.pt", "unknown", "unknown", "", 0),)))
    assert "SHA-256" not in html and "Cannot be told safe" in html


def test_a_rate_over_nothing_is_not_measured() -> None:
    nothing = Comparison("clean accuracy", (float("nan"), 0.0, 1.0))
    html = render(replace(examples.bare(), comparisons=(nothing,)))
    assert "not measured" in html and "nan" not in html.lower()


def test_a_class_beyond_the_names_is_numbered() -> None:
    assert "class 3" in render(replace(examples.bare(), target=3))


# An attacker chooses the strings.


def test_no_hostile_string_becomes_an_element() -> None:
    page = Page(render(examples.hostile()))
    assert "script" not in {tag for tag, _ in page.tags}
    assert all((a["src"] or "").startswith("data:image/png;base64,") for tag, a in page.tags if tag == "img")
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert "{{ 7*7 }}" in page.text("h1")


def test_hidden_and_reordering_characters_are_made_visible() -> None:
    html = render(examples.hostile())
    assert "\u202e" not in html and "\x00" not in html
    assert "\\u202e" in html and "\\udcff" in html and "漢字" in html


def test_a_page_with_lone_surrogates_can_be_written(tmp_path: Path) -> None:
    path = write_report(examples.hostile(), tmp_path / "report.html")
    assert "漢字" in path.read_text("utf-8")


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec=None), max_size=60))
def test_what_is_shown_is_what_was_said(said: str) -> None:
    page = Page(render(replace(examples.bare(), sentence=said)).replace("\r", ""))
    assert page.text("h1") == visible(said)


@given(st.text(st.characters(codec=None)))
def test_visible_text_can_be_written_and_hides_nothing(said: str) -> None:
    shown = visible(said)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", shown)


def test_a_name_of_a_megabyte_is_cut() -> None:
    assert len(render(replace(examples.bare(), sentence="x" * 1_000_000))) < 40_000


# One file, alone.


@pytest.mark.parametrize("name", ["digits", "signs", "clean", "bare"])
def test_the_page_needs_nothing_beside_itself(name: str) -> None:
    html = render(getattr(examples, name)())
    assert not re.search(r"https?:|file://|<script|<link|@import|@font-face|javascript:", html)
    sources = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(r"url\(([^)]*)\)", html)
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources)


def test_the_policy_forbids_scripts_and_requests(full: str) -> None:
    policies = [a["content"] for tag, a in Page(full).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")


@pytest.mark.parametrize("name", ["digits", "signs", "hostile"])
def test_no_two_elements_share_an_id(name: str) -> None:
    ids = Page(render(getattr(examples, name)())).ids
    assert len(ids) == len(set(ids))


def test_eight_pictures_that_cannot_be_packed_stay_under_three_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, 3, 224, 224), dtype=np.uint8)
    pattern = rng.random((3, 224, 224), dtype=np.float32)
    trigger = TriggerPictures(noise, noise, ("a",) * 8, ("b",) * 8, pattern[0], pattern)
    path = write_report(replace(examples.signs(classes=158), trigger=trigger), tmp_path / "report.html")
    assert 1_000_000 < path.stat().st_size < 3_000_000


def test_the_same_content_gives_the_same_page(full: str) -> None:
    assert render(examples.digits()) == full


# Writing.


def test_a_full_disk_is_an_input_error_and_the_old_report_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report(examples.bare(), tmp_path / "report.html")
    old = path.read_bytes()

    def full(self: Path, blob: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(examples.clean(), path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


# Content that contradicts itself is a programmer's mistake.


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: replace(examples.bare(), verdict="fine"),
        lambda: replace(examples.bare(), rescan_verdict="fine"),
        lambda: FileFacts("m.pt", "fine", "zip", "", 0),
        lambda: Neurons("conv", (1.0,), (1.0, 2.0)),
        lambda: Neurons("conv", (1.0,), (1.0,), (1,)),
        lambda: replace(examples.signs().trigger, labels_after=("a",)),
        lambda: replace(examples.signs().trigger, mask=np.zeros((3, 3), np.float32)),
        lambda: replace(examples.signs().trigger, after=np.zeros((8, 3, 4, 4), np.uint8)),
    ],
)
def test_content_that_does_not_fit_together_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        wrong()


# Figures.


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (figure(188.3), "188"),
        (figure(3.94), "3.94"),
        (figure(0), "0"),
        (figure(-71.25), "-71.2"),
        (figure(1e20), "1.0e+20"),
        (figure(float("inf")), "–"),
        (p_value(0.0004), "<\u00a00.001"),
        (p_value(None), "–"),
        (size(0), "0\u00a0bytes"),
        (size(44_780_112), "44.8\u00a0MB"),
        (seconds(0.012), "0.01\u00a0s"),
        (seconds(212.4), "3\u00a0min 32\u00a0s"),
    ],
)
def test_figures_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected

"""The charts and pictures by themselves: readable in both modes, deaf to what names may do."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import example_reports as examples
import numpy as np
import pytest
from PIL import Image

from assay.report import NARROW, WIDE, class_scores, neurons, pruning_curve, standalone
from assay.report.palette import DARK, LIGHT
from assay.report.pictures import LARGEST, as_bytes, data_uri
from assay.report.svg import columns, shorten

HEX = re.compile(r"[:\s]#[0-9a-fA-F]{3,8}\b")


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(standalone(svg)).iter() if e.tag.endswith("text")]


def scores(classes: int, target: int) -> list[float]:
    values = list(np.random.default_rng(classes).lognormal(4, 0.3, classes))
    values[target] = 5.0
    return values


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 24, 25, 43, 158])
def test_any_number_of_classes_names_the_suspect_and_the_median(classes: int, width: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    said = texts(class_scores(names, scores(classes, classes - 1), "pixels", classes - 1, width=width))
    assert any(text.startswith(f"class {classes - 1}") for text in said)
    assert any(text.startswith("5.00") or text.endswith("5.00") for text in said)
    assert any(text.startswith("median ") for text in said)


def test_the_suspect_comes_first_whether_small_or_large() -> None:
    names = list("abcd")
    small = texts(class_scores(names, [9, 1, 8, 7], "pixels", 1))
    large = texts(class_scores(names, [9, 1, 8, 70], "logits", 3))
    assert [t for t in small if t in names] == ["b", "d", "c", "a"]
    assert [t for t in large if t in names] == ["d", "a", "c", "b"]


def test_a_clean_model_has_no_suspect() -> None:
    marked, unmarked = (class_scores(list("abc"), [3, 1, 2], "pixels", 1, accused=a) for a in (True, False))
    assert "var(--bad)" in marked and "var(--bad)" not in unmarked


def test_scores_that_are_not_finite_are_drawn_and_said_to_be_missing() -> None:
    assert texts(class_scores(list("abc"), [3, float("nan"), float("inf")], "pixels", 0)).count("–") == 2


@pytest.mark.parametrize("name", ["$\\frac{1}{$", "<b>&\"'", "漢字漢字", "a\nb\tc", "\x00\u202e", "@1@"])
def test_a_name_is_text_and_nothing_else(name: str) -> None:
    said = texts(class_scores([name, "other"], [1, 2], "pixels", 0))
    assert shorten(name, 24) in said


def test_the_strip_and_the_legend_tell_how_many_channels_were_pruned() -> None:
    found = examples.neurons(64, 30, 0)
    assert "30 pruned" in texts(neurons(found.clean, found.triggered, found.pruned))
    assert not any("pruned" in t for t in texts(neurons(found.clean, found.triggered)))


@pytest.mark.parametrize("channels", [1, 2, 80, 81, 2048])
def test_any_number_of_channels_is_a_small_chart(channels: int) -> None:
    found = examples.neurons(channels, channels // 2, 1)
    svg = neurons(found.clean, found.triggered, found.pruned)
    assert f"{channels} channels, most dormant first" in texts(svg)
    assert len(svg) < 200_000


def test_activations_that_are_not_finite_do_not_spoil_the_chart() -> None:
    svg = neurons([float("nan"), 1.0, float("inf")], [1.0, float("nan"), 2.0], [0])
    assert "nan" not in svg and "inf" not in svg


def test_the_pruning_curve_tells_where_it_stopped_and_what_is_known() -> None:
    accuracy, success = examples.curve(40)
    both, one = texts(pruning_curve(accuracy, success, 38)), texts(pruning_curve(accuracy, (), 38))
    assert "stopped at 38" in both and "stopped at 38" in one
    assert "attack success rate" in both and "attack success rate" not in one


def test_one_pruned_channel_is_a_curve() -> None:
    assert "stopped at 0" in texts(pruning_curve((0.9, 0.2), (), 0))


def drawn() -> list[str]:
    found, (accuracy, success) = examples.neurons(64, 30, 0), examples.curve(40)
    return [
        class_scores([str(i) for i in range(10)], scores(10, 7), "pixels", 7),
        class_scores([str(i) for i in range(43)], scores(43, 7), "pixels", 7),
        neurons(found.clean, found.triggered, found.pruned),
        pruning_curve(accuracy, success, 38),
    ]


def test_every_colour_is_a_variable_that_follows_the_mode() -> None:
    for svg in drawn():
        assert not HEX.search(svg)
        assert set(re.findall(r"var\(--([a-z-]+)\)", svg)) <= set(LIGHT)


def test_a_standalone_chart_brings_its_colours_for_both_modes() -> None:
    for svg in drawn():
        file = standalone(svg)
        assert ElementTree.fromstring(file).tag == "{http://www.w3.org/2000/svg}svg"
        assert LIGHT["bad"] in file and DARK["bad"] in file and "prefers-color-scheme:dark" in file


def test_the_users_own_matplotlib_settings_change_nothing() -> None:
    import matplotlib

    svg = pruning_curve((0.9, 0.8))
    with matplotlib.rc_context({"font.size": 30, "text.usetex": True, "axes.facecolor": "black"}):
        assert pruning_curve((0.9, 0.8)) == svg
        assert matplotlib.rcParams["font.size"] == 30


def test_wide_letters_take_two_columns() -> None:
    assert columns("漢字") == 4
    assert shorten("漢字漢字漢字", 7) == "漢字漢…"
    assert shorten("a" * 30, 10) == "a" * 9 + "…"


# Colours.


def luminance(colour: str) -> float:
    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_colours_can_be_read_on_every_surface(palette: dict[str, str]) -> None:
    for surface in ("paper", "raised", "bad-tint", "good-tint", "unsure-tint"):
        assert contrast(palette["ink"], palette[surface]) >= 7
        assert contrast(palette["muted"], palette[surface]) >= 4.5
    for tone in ("bad", "good", "unsure"):
        assert contrast(palette[tone], palette["on-badge"]) >= 4.5
        assert contrast(palette[tone], palette["paper"]) >= 4.5
    assert contrast(palette["calm"], palette["paper"]) >= 4.5
    assert contrast(palette["quiet"], palette["paper"]) >= 3


def test_light_and_dark_have_the_same_names_and_no_light_colour_twice() -> None:
    assert list(LIGHT) == list(DARK)
    assert len(set(LIGHT.values())) == len(LIGHT)


# Pictures.


def decoded(uri: str) -> np.ndarray:
    kind, blob = uri.split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(blob))))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 160, 90), (1, 1, 1)])
def test_a_picture_comes_back_as_it_was(shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    shown = decoded(data_uri(picture))
    assert np.array_equal(shown, picture.transpose(1, 2, 0) if shape[0] == 3 else picture[0])


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_become_the_grey_of_their_mean(channels: int) -> None:
    picture = np.full((channels, 5, 5), 10, np.uint8)
    picture[0] += 20
    assert (decoded(data_uri(picture)) == round(10 + 20 / channels)).all()


def test_a_large_picture_is_reduced_and_keeps_its_form() -> None:
    assert decoded(data_uri(np.zeros((3, 480, 240), np.uint8))).shape == (LARGEST, LARGEST // 2, 3)


def test_values_beyond_the_range_are_clipped() -> None:
    assert as_bytes(np.array([-1, 0.5, 2, np.nan, np.inf], np.float32)).tolist() == [0, 128, 255, 0, 255]

"""A user's folder or `.npz`: read as it is, or one clear sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assay.data import Dataset, load, normalisation, require_clean
from assay.errors import DataError

GREY, COLOUR = (1, 6, 8), (3, 6, 8)


def picture(file: Path, mode: str = "RGB", height: int = 6, width: int = 8, value: int = 100) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height), value if mode in ("L", "1", "I;16") else (value,) * len(mode)).save(file)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, three colour pictures each, of 6x8 pixels."""
    for name in ("stop", "yield"):
        for i in range(3):
            picture(tmp_path / "own" / name / f"{i}.png", value=10 * i + len(name))
    return tmp_path / "own"


@pytest.fixture
def npz(tmp_path: Path) -> Any:
    """A function that writes an `.npz`."""

    def write(**arrays: Any) -> Path:
        np.savez(tmp_path / "own.npz", **arrays)
        return tmp_path / "own.npz"

    return write


def test_a_folder_of_class_folders_gives_pictures_labels_and_names(folder: Path) -> None:
    data = load(folder)
    assert data.x.shape == (6, *COLOUR) and data.class_names == ("stop", "yield")
    assert data.y.tolist() == [0, 0, 0, 1, 1, 1] and data.x[:, 0, 0, 0].tolist() == [4, 14, 24, 5, 15, 25]


def test_class_folders_that_are_numbers_are_in_the_order_of_their_values(tmp_path: Path) -> None:
    for name in ("10", "9", "00002"):
        picture(tmp_path / name / "a.png")
    assert load(tmp_path).class_names == ("00002", "9", "10")


def test_a_folder_with_the_name_of_a_data_set_is_read_as_a_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.parent / "mnist")
    monkeypatch.chdir(folder.parent)
    assert load(Path("mnist")).class_names == load("./mnist").class_names == ("stop", "yield")


def test_hidden_files_and_files_that_are_no_pictures_are_passed_over(folder: Path) -> None:
    before = load(folder)
    (folder / "stop" / "._0.png").write_bytes(b"a resource fork")
    (folder / "stop" / ".DS_Store").write_bytes(b"")
    (folder / "stop" / "notes.txt").write_text("mine")
    (folder / "readme.md").write_text("mine")
    (folder / ".git").mkdir()
    os.mkfifo(folder / "yield" / "pipe.png")  # reading it would wait for ever
    assert np.array_equal(load(folder).x, before.x)


def test_a_grey_folder_is_read_as_one_channel(tmp_path: Path) -> None:
    for name, mode in (("a", "L"), ("b", "1"), ("c", "LA")):
        picture(tmp_path / name / "0.png", mode)
    assert load(tmp_path).image_shape == load(tmp_path, image_shape=GREY).image_shape == GREY


def test_sixteen_bits_are_cut_to_the_upper_eight(tmp_path: Path) -> None:
    deep = np.full((6, 8), 0x80FF, np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(deep).save(tmp_path / "a" / "0.png")
    assert (load(tmp_path).x == 0x80).all()


def test_one_grey_picture_among_colour_ones_is_taken_as_colour(folder: Path) -> None:
    picture(folder / "stop" / "0.png", "L", value=77)
    x = load(folder, image_shape=COLOUR).x
    assert x.shape[1:] == COLOUR and (x[0] == 77).all()


def sentence(path: Path | str, shape: tuple[int, int, int] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        load(path, image_shape=shape)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 400
    return said


def test_pictures_of_another_size_than_the_models_are_a_sentence(folder: Path) -> None:
    assert "0.png has 6x8 pixels (height x width), but the model takes 32x32" in sentence(folder, (3, 32, 32))


def test_pictures_of_different_sizes_are_a_sentence_that_names_one(folder: Path) -> None:
    picture(folder / "yield" / "2.png", height=7)
    assert "2.png has 7x8 pixels (height x width), but 0.png has 6x8" in sentence(folder)


def test_colour_pictures_for_a_grey_model_are_a_sentence(folder: Path) -> None:
    assert "is in colour, but the model takes grey" in sentence(folder, GREY)


def test_grey_pictures_for_a_colour_model_are_a_sentence(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "0.png", "L")
    assert "are grey, but the model takes colour" in sentence(tmp_path, COLOUR)


def test_a_model_of_four_channels_cannot_take_picture_files(folder: Path) -> None:
    assert "4 channels" in sentence(folder, (4, 6, 8))


def test_an_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    assert "no class folders" in sentence(tmp_path)


def test_pictures_beside_the_class_folders_are_not_enough(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    assert "put each class's pictures in a folder" in sentence(tmp_path)


def test_a_class_folder_without_pictures_is_a_sentence_that_names_it(folder: Path) -> None:
    (folder / "no entry").mkdir()
    assert "no entry holds no pictures" in sentence(folder)


@pytest.mark.parametrize("blob", [b"", b"not a picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n"])
def test_an_unreadable_picture_is_a_sentence_that_names_it(folder: Path, blob: bytes) -> None:
    (folder / "stop" / "1.png").write_bytes(blob)
    assert "1.png cannot be read as a picture" in sentence(folder)


def test_a_picture_cut_short_is_a_sentence_that_names_it(folder: Path) -> None:
    file = picture(folder / "stop" / "1.png", height=6)
    file.write_bytes(file.read_bytes()[:-30])
    assert "1.png cannot be read as a picture" in sentence(folder)


def test_a_picture_of_100_megapixels_is_refused_without_being_decoded(folder: Path) -> None:
    import tracemalloc

    file = folder / "stop" / "1.png"
    Image.new("1", (10_000, 10_000)).save(file)
    tracemalloc.start()
    assert "1.png has more than 50,000,000 pixels" in sentence(folder)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_a_picture_that_would_be_a_bomb_to_pillow_is_refused(folder: Path) -> None:
    file = folder / "stop" / "1.png"
    Image.new("1", (20_000, 20_000)).save(file)
    assert "1.png has more than 50,000,000 pixels" in sentence(folder)


def test_pixels_of_32_bits_are_a_sentence(folder: Path) -> None:
    Image.new("F", (8, 6)).save(folder / "stop" / "1.tiff")
    assert "1.tiff has pixels of 32 bits" in sentence(folder)


def test_more_pictures_than_memory_allows_are_refused_before_one_is_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.data.folders.MAX_BYTES", 6 * 3 * 6 * 8 - 1)
    monkeypatch.setattr("assay.data.folders._decoded", pytest.fail)
    assert "holds more than" in sentence(folder)


def test_a_folder_that_may_not_be_read_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be read: Permission denied" in sentence(folder)


def test_a_name_that_is_nothing_lists_the_data_sets() -> None:
    assert "'minst' is neither a folder" in (said := sentence("minst")) and "mnist" in said and "gtsrb" in said


def test_a_path_that_is_nothing_is_a_sentence(tmp_path: Path) -> None:
    assert "is neither a folder" in sentence(tmp_path / "nothing")


Y = np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("shape", "model", "got"),
    [
        ((3, 6, 8), None, GREY),
        ((3, 6, 8, 3), None, COLOUR),
        ((3, 3, 6, 8), None, COLOUR),
        ((3, 6, 8, 1), GREY, GREY),
        ((3, 3, 3, 3), (3, 3, 3), (3, 3, 3)),
        ((3, 6, 8, 5), (5, 6, 8), (5, 6, 8)),
    ],
)
def test_an_npz_may_have_its_channels_first_last_or_not_at_all(
    npz: Any, shape: tuple[int, ...], model: Any, got: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    data = load(npz(x=x, y=Y), image_shape=model)
    assert data.image_shape == got and data.class_names == ("0", "1") and data.y.tolist() == [0, 1, 1]
    value = x[1, 2, 1, 0] if shape[-1] in (1, 5) or shape == (3, 6, 8, 3) else None
    assert value is None or data.x[1, 0, 2, 1] == value


def test_floats_in_0_to_1_become_bytes_and_come_back_the_same(npz: Any) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 6, 8)).astype(np.uint8)
    for dtype in (np.float32, np.float64):
        assert np.array_equal(load(npz(x=(x / 255).astype(dtype), y=Y)).x[:, 0], x)


def test_an_npz_keeps_its_class_names(npz: Any) -> None:
    data = load(npz(x=np.zeros((3, 6, 8), np.uint8), y=Y, class_names=np.array(["stop", "yield", "none"])))
    assert data.class_names == ("stop", "yield", "none")


U = np.zeros((3, 6, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": U}, "needs the arrays x and y, but holds x"),
        ({}, "holds no arrays"),
        ({"x": U[:0], "y": Y[:0]}, "has no pictures"),
        ({"x": U[0], "y": Y}, "x must be `n h w`"),
        ({"x": np.zeros((3, 2, 6, 8), np.uint8), "y": Y}, "1 or 3 channels"),
        ({"x": U.astype(np.int64), "y": Y}, "x must be uint8, or float"),
        ({"x": U - 1.5, "y": Y}, "finite and in [0, 1]"),
        ({"x": U + 1.001, "y": Y}, "finite and in [0, 1]"),
        ({"x": U + np.nan, "y": Y}, "finite and in [0, 1]"),
        ({"x": U + np.inf, "y": Y}, "finite and in [0, 1]"),
        ({"x": U, "y": np.array([0, 1])}, "y must have the shape (3,), got (2,)"),
        ({"x": U, "y": np.array([0, 1, 1, 1])}, "got (4,)"),
        ({"x": U, "y": Y[:, None]}, "got (3, 1)"),
        ({"x": U, "y": np.array([0, 1, -1])}, "labels must be in 0..99999, got -1 to 1"),
        ({"x": U, "y": np.array([0, 1, 10**6])}, "labels must be in 0..99999"),
        ({"x": U, "y": np.array([0, 1, 2**64 - 1], np.uint64)}, "labels must be in 0..99999"),
        ({"x": U, "y": np.array([0, 0.5, 1])}, "whole numbers of an integer type, got float64"),
        ({"x": U, "y": np.array([True, False, True])}, "got bool"),
        ({"x": U, "y": np.array(["0", "1", "1"])}, "got <U1"),
        ({"x": U, "y": np.array([0, 1, None])}, "Python objects"),
        ({"x": U, "y": Y, "class_names": np.array(["a"])}, "there are 1 classes"),
        ({"x": U, "y": Y, "class_names": np.array([1, 2])}, "class_names must be one row of text"),
        ({"x": U, "y": Y, "class_names": np.array([["a", "b"]])}, "class_names must be one row of text"),
    ],
)
def test_an_npz_that_does_not_fit_is_a_sentence(npz: Any, arrays: dict[str, Any], said: str) -> None:
    assert said in sentence(npz(**arrays))


@pytest.mark.parametrize("shape", [(3, 7, 8), (3, 6, 8, 3), (3, 3, 6, 8)])
def test_an_npz_of_another_size_or_channel_count_is_a_sentence_before_it_is_read(
    npz: Any, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.data.arrays.Entry.read", pytest.fail)
    assert "but the model takes 1x6x8" in sentence(npz(x=np.zeros(shape, np.uint8), y=Y), GREY)


def pictures_of(*labels: int) -> Dataset:
    names = ("stop", "yield", "none")
    return Dataset(np.zeros((len(labels), 1, 2, 2), np.uint8), np.array(labels, np.int64), names, "own")


def test_pictures_of_one_class_only_cannot_be_a_clean_set() -> None:
    with pytest.raises(DataError, match=r"one class only \(yield\)"):
        require_clean(pictures_of(1, 1, 1))


def test_one_picture_of_a_class_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 picture of class none; at least 2"):
        require_clean(pictures_of(1, 1, 2, 0, 0))


def test_no_pictures_cannot_be_a_clean_set() -> None:
    with pytest.raises(DataError, match="no pictures"):
        require_clean(pictures_of())


def test_two_pictures_a_class_that_is_there_are_enough() -> None:
    require_clean(pictures_of(1, 1, 2, 2))


def test_normalisation_is_the_mean_and_spread_of_each_channel() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 5, 5)).astype(np.uint8)
    mean, std = normalisation(Dataset(x, np.zeros(20, np.int64), ("a",), "own"))
    assert np.allclose(mean, (x / 255).mean((0, 2, 3)), atol=1e-6)
    assert np.allclose(std, (x / 255).std((0, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("value", [0, 1, 37, 255])
def test_flat_pictures_have_a_spread_that_can_be_divided_by(value: int) -> None:
    x = np.full((3, 1, 7, 7), value, np.uint8)
    assert normalisation(Dataset(x, np.zeros(3, np.int64), ("a",), "own"))[1] == (0.001,)

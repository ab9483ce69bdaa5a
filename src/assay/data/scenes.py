"""Road scenes with boxes round the signs, for detection; and the signs cut out, for classification."""

from __future__ import annotations

import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.data.pictures import opened
from assay.data.places import find
from assay.data.splits import defenders_share
from assay.errors import DataError

CROP = 32
"""Pixels a side of a sign that is cut out."""

MAX_MEMBER = 64 * 2**20
"""Bytes of one file of the archive."""


class _Category(msgspec.Struct):
    id: int
    name: str


class _Image(msgspec.Struct):
    id: int
    file_name: str
    split: str


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]  # x, y, width, height in pixels


class _Annotations(msgspec.Struct):
    """As in COCO, with a `split` on each image."""

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


@dataclass(frozen=True)
class Scenes:
    """Photos of different sizes, with boxes.

    Attributes:
        images: uint8 `c h w` each.
        boxes: float32 `m 4` each: x0, y0, x1, y1 in pixels.
        labels: int64 `m` each, indices into `class_names`.
    """

    images: tuple[NDArray[np.uint8], ...]
    boxes: tuple[NDArray[np.float32], ...]
    labels: tuple[NDArray[np.int64], ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, wanted: NDArray[np.bool_]) -> Scenes:
        """The photos that are `wanted`, in their order."""
        index = np.flatnonzero(wanted).tolist()
        return Scenes(
            tuple(self.images[i] for i in index),
            tuple(self.boxes[i] for i in index),
            tuple(self.labels[i] for i in index),
            self.class_names,
        )


def load_scenes(split: str) -> Scenes:
    """The photos of `road-signs` in the part `train`, `clean` or `test`. Cost: 2 ms a photo, 0.4 MB each.

    Raises:
        DataError: if the file is not found or not what it should be, or the split is not known.
    """
    if split not in ("train", "clean", "test"):
        raise DataError(f"road scenes have the splits train, clean and test, not {split!r}")
    (path,) = find("road-signs")
    if split == "test":
        return _read(path, "test")
    scenes = _read(path, "train")
    photo = np.repeat(np.arange(len(scenes)), [len(labels) for labels in scenes.labels])
    share = np.unique(photo[defenders_share(np.concatenate(scenes.labels), photo)])
    return scenes.subset(np.isin(np.arange(len(scenes)), share) == (split == "clean"))


def _read(path: Path, split: str) -> Scenes:
    try:
        with zipfile.ZipFile(path) as archive:
            said = msgspec.json.decode(_member(archive, "annotations.json"), type=_Annotations)
            wanted = [image for image in said.images if image.split == split]
            images = tuple(_photo(_member(archive, _place(image)), image) for image in wanted)
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        # msgspec's errors are ValueErrors; a RuntimeError is an encrypted member
        raise DataError(f"{path} cannot be read as road scenes: {error}") from error
    labels = {category.id: label for label, category in enumerate(sorted(said.categories, key=lambda c: c.id))}
    marks = defaultdict(list)
    for mark in said.annotations:
        if mark.category_id not in labels:
            raise DataError(f"{path}: a box has the category {mark.category_id}, which is not declared")
        marks[mark.image_id].append(mark)
    return Scenes(
        images,
        tuple(_boxes(path, marks[i.id], image) for i, image in zip(wanted, images, strict=True)),
        tuple(np.array([labels[m.category_id] for m in marks[i.id]], np.int64) for i in wanted),
        tuple(category.name for category in sorted(said.categories, key=lambda c: c.id)),
    )


def _place(image: _Image) -> str:
    return image.file_name if image.file_name.startswith("images/") else f"images/{image.file_name}"


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > MAX_MEMBER:
        raise ValueError(f"{name} has {info.file_size} bytes, more than {MAX_MEMBER}")
    return archive.read(info)


def _photo(blob: bytes, image: _Image) -> NDArray[np.uint8]:
    with opened(blob, f"the picture {image.file_name}") as picture:
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


def _boxes(path: Path, marks: list[_Annotation], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Corners of the boxes of one photo, `m 4`; each must be within it."""
    h, w = image.shape[1:]
    boxes = np.array([(x, y, x + dx, y + dy) for x, y, dx, dy in (m.bbox for m in marks)], np.float32).reshape(-1, 4)
    within = (boxes[:, :2] >= 0) & (boxes[:, :2] < boxes[:, 2:]) & (boxes[:, 2:] <= (w, h))  # NaN is not
    if not within.all():
        raise DataError(f"{path}: a box leaves its picture of {h}x{w} pixels: {boxes[~within.all(1)][0].tolist()}")
    return boxes


def crops(
    path: Path,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], tuple[str, ...]]:
    """Every sign cut out at 32x32.

    Returns pictures `n c h w`, labels, whether each is of the test part, the number of its photo, and class names.

    Raises:
        DataError: if the file is not what it should be.
    """
    pictures, labels, is_test, photo = [], [], [], []
    photos = 0
    names: tuple[str, ...] = ()
    for split in ("train", "test"):
        scenes = _read(path, split)
        names = scenes.class_names
        places = zip(scenes.images, scenes.boxes, scenes.labels, strict=True)
        for number, (image, boxes, classes) in enumerate(places, photos):
            pictures += _cut(image, boxes)
            labels += classes.tolist()
            is_test += [split == "test"] * len(boxes)
            photo += [number] * len(boxes)
        photos += len(scenes)
    if not pictures:
        raise DataError(f"{path} has no boxes")
    return np.stack(pictures), np.array(labels, np.int64), np.array(is_test), np.array(photo, np.int64), names


def _cut(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    from PIL import Image

    photo = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    corners = [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes]
    signs = [photo.resize((CROP, CROP), Image.Resampling.BILINEAR, box=box) for box in corners]
    return [np.asarray(sign).transpose(2, 0, 1) for sign in signs]

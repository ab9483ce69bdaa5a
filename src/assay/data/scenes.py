"""Road scenes with boxes round the signs, for detection; and the signs cut out, for classification."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.data.named import find
from assay.errors import DataError

CROP = 32
"""Pixels a side of a sign that is cut out."""


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


def load_scenes(split: str) -> Scenes:
    """The pictures of `road-signs` in the part `train` or `test`.

    Raises:
        DataError: if the file is not found or the split is not known.
    """
    if split not in ("train", "test"):
        raise DataError(f"road scenes have the splits train and test, not {split!r}")
    return _read(find("road_signs.zip", "road-signs"), split)


def _read(path: Path, split: str) -> Scenes:
    from PIL import Image

    try:
        with zipfile.ZipFile(path) as archive:
            said = msgspec.json.decode(archive.read("annotations.json"))
            names = {c["id"]: c["name"] for c in said["categories"]}
            order = sorted(names)
            wanted = [i for i in said["images"] if i["split"] == split]
            marks = {i["id"]: [a for a in said["annotations"] if a["image_id"] == i["id"]] for i in wanted}
            images = tuple(_rgb(Image.open(io.BytesIO(archive.read(_member(i["file_name"]))))) for i in wanted)
    except (OSError, KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
        raise DataError(f"{path} cannot be read as road scenes: {error}") from error
    boxes = tuple(np.array([_corners(a["bbox"]) for a in marks[i["id"]]], np.float32).reshape(-1, 4) for i in wanted)
    labels = tuple(np.array([order.index(a["category_id"]) for a in marks[i["id"]]], np.int64) for i in wanted)
    return Scenes(images, boxes, labels, tuple(names[c] for c in order))


def _member(name: str) -> str:
    return name if name.startswith("images/") else f"images/{name}"


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    x, y, w, h = box
    return (x, y, x + w, y + h)


def _rgb(picture) -> NDArray[np.uint8]:  # type: ignore[no-untyped-def]
    return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)


def crops(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_], tuple[str, ...]]:
    """Every sign cut out at 32x32: pictures `n c h w`, labels, whether each is of the test part, class names."""
    from PIL import Image

    pictures, labels, is_test = [], [], []
    names: tuple[str, ...] = ()
    for split in ("train", "test"):
        scenes = _read(path, split)
        names = scenes.class_names
        for image, boxes, classes in zip(scenes.images, scenes.boxes, scenes.labels, strict=True):
            photo = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            for box, label in zip(boxes, classes, strict=True):
                sign = photo.resize((CROP, CROP), Image.Resampling.BILINEAR, box=tuple(float(v) for v in box))
                pictures.append(np.asarray(sign).transpose(2, 0, 1))
                labels.append(label)
                is_test.append(split == "test")
    return np.stack(pictures), np.array(labels, np.int64), np.array(is_test), names

"""The user's own pictures: a folder of class folders, or an `.npz` with `x` and `y`."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assay.data.dataset import Dataset
from assay.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}

MAX_BYTES = 8 * 2**30
"""Of all arrays or pictures together, unpacked."""

MAX_PIXELS = 50_000_000
"""Of one picture; larger ones are refused before they are decoded."""

Shape = tuple[int, int, int]


def load_own(path: Path, image_shape: Shape | None) -> Dataset:
    """Read a folder or an `.npz`, whole; `image_shape` (channels, height, width) is what the model takes.

    Raises:
        DataError: one sentence for whatever does not fit.
    """
    if path.is_dir():
        return _folder(path, image_shape)
    if path.is_file():
        return _npz(path, image_shape)
    raise DataError(f"{path} is neither a folder of class folders, nor an .npz file, nor the name of a data set")


def _folder(path: Path, image_shape: Shape | None) -> Dataset:
    folders = [f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")]
    if not folders:
        raise DataError(f"{path} has no class folders; put each class's pictures in a folder with the class's name")
    numeric = all(f.name.isdigit() for f in folders)
    folders.sort(key=lambda f: (int(f.name), f.name) if numeric else (0, f.name))
    files = [
        (f, label)
        for label, folder in enumerate(folders)
        for f in sorted(folder.iterdir())
        if f.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise DataError(f"{path}: its class folders hold no pictures ({', '.join(sorted(SUFFIXES))})")
    pictures: list[NDArray[np.uint8]] = []
    for file, _ in files:
        picture = _picture(file, image_shape)
        if pictures and picture.shape != pictures[0].shape:
            raise DataError(
                f"{file} is {_size(picture.shape)}, but {files[0][0].name} is {_size(pictures[0].shape)}; scale all pictures to one size first"
            )
        pictures.append(picture)
        if len(pictures) * picture.nbytes > MAX_BYTES:
            raise DataError(f"{path} holds more than {MAX_BYTES >> 30} GiB of pictures; take a smaller clean set")
    labels = np.array([label for _, label in files], dtype=np.int64)
    return Dataset(np.stack(pictures), labels, tuple(f.name for f in folders), str(path))


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _picture(file: Path, image_shape: Shape | None) -> NDArray[np.uint8]:
    """One picture, `c h w`; grey or colour as the model takes it, else as the file has it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise DataError(
                        f"{file} has {opened.width}x{opened.height} pixels, more than {MAX_PIXELS:,}; scale it down first"
                    )
                grey = opened.mode in ("1", "L", "I;16", "I", "LA") if image_shape is None else image_shape[0] == 1
                if grey and opened.mode not in ("1", "L", "I;16", "I", "LA"):
                    raise DataError(
                        f"{file} is in colour, but the model takes grey pictures; convert the pictures first"
                    )
                pixels = np.asarray(opened.convert("L" if grey else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise DataError(f"{file} cannot be read as a picture: {error}") from error
    picture = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    _fits(str(file), picture.shape, image_shape)
    return np.ascontiguousarray(picture)


def _fits(what: str, shape: tuple[int, ...], image_shape: Shape | None) -> None:
    if image_shape is not None and tuple(shape) != tuple(image_shape):
        raise DataError(
            f"{what} has pictures of {_size(shape)} (channels, height, width), but the model takes {_size(image_shape)}; scale or convert them first"
        )


def _npz(path: Path, image_shape: Shape | None) -> Dataset:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise DataError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB; take a smaller clean set")
        with np.load(path, allow_pickle=False) as arrays:
            if "x" not in arrays or "y" not in arrays:
                raise DataError(f"{path} needs the arrays x and y, but has {', '.join(arrays.files) or 'none'}")
            x, y = arrays["x"], arrays["y"]
            names = arrays["class_names"] if "class_names" in arrays else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{path} cannot be read as an .npz file without pickled objects: {error}") from error
    pictures = _channels_first(path, _bytes(path, x), image_shape)
    if not len(pictures):
        raise DataError(f"{path} has no pictures")
    labels = _labels(path, y, len(pictures))
    if names is not None and names.dtype.kind not in "US":
        raise DataError(f"{path}: class_names must be text, got {names.dtype}")
    class_names = tuple(map(str, range(int(labels.max()) + 1))) if names is None else tuple(str(n) for n in names)
    return Dataset(pictures, labels, class_names, str(path))


def _labels(path: Path, y: NDArray[np.generic], n: int) -> NDArray[np.int64]:
    if y.shape != (n,):
        raise DataError(f"{path}: x has {n} pictures, but y has the shape {y.shape}")
    if y.dtype.kind not in "iu" and not (y.dtype.kind == "f" and np.equal(np.mod(y, 1), 0).all()):  # type: ignore[call-overload]
        raise DataError(f"{path}: y must hold whole numbers, got {y.dtype}")
    labels = y.astype(np.int64)
    if labels.min() < 0 or labels.max() >= 100_000:
        raise DataError(f"{path}: labels must be in 0..99999, got {labels.min()} to {labels.max()}")
    return labels


def _bytes(path: Path, x: NDArray[np.generic]) -> NDArray[np.uint8]:
    if x.dtype == np.uint8:
        return x.astype(np.uint8, copy=False)
    if x.dtype.kind != "f":
        raise DataError(f"{path}: x must be uint8, or float in [0, 1], got {x.dtype}")
    values = x.astype(np.float64)
    if not np.isfinite(values).all() or (values.size and (values.min() < 0 or values.max() > 1)):
        raise DataError(f"{path}: float pictures must be finite and in [0, 1]")
    return np.rint(values * 255).astype(np.uint8)


def _channels_first(path: Path, x: NDArray[np.uint8], image_shape: Shape | None) -> NDArray[np.uint8]:
    """`n h w`, `n h w c` or `n c h w` to `n c h w`."""
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4:
        raise DataError(f"{path}: x must be `n h w`, `n h w c` or `n c h w`, got the shape {x.shape}")
    last = image_shape is not None and tuple(x.shape[1:]) != tuple(image_shape) and x.shape[3] == image_shape[0]
    if last or (image_shape is None and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3)):
        x = x.transpose(0, 3, 1, 2)
    _fits(str(path), x.shape[1:], image_shape)
    return np.ascontiguousarray(x)

"""A model file and a clean set that fit each other, as `scan`, `repair` and `vet` need them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.models import Model


def open_both(model: Path, clean: str, arch: str | None, download: bool = False) -> tuple[Model, Dataset]:
    """The model, and clean pictures of the size it takes; a bare state dict goes by the pictures."""
    from assay.data import load as load_data
    from assay.models import load

    if arch is None:
        received = load(model)
        return received, load_data(clean, "clean", download=download, image_shape=received.spec.input_shape)
    pictures = load_data(clean, "clean", download=download)
    received = load(model, arch, pictures)
    if received.spec.input_shape != pictures.image_shape:
        pictures = load_data(clean, "clean", image_shape=received.spec.input_shape)
    return received, pictures

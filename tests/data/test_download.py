"""`--download` fetches what is missing through torchvision's downloaders, in the form of the copies that are read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from assay.data import load
from assay.data.download import download
from assay.data.places import cache_folder
from assay.data.signs import GTSRB_NAMES
from assay.errors import DataError

RNG = np.random.default_rng(0)


class Official:
    """What torchvision's classes offer, without a network."""

    calls: tuple[str, ...] = ()

    def __init__(self, root: str, *, download: bool, train: bool = True, split: str = "train") -> None:
        assert download and Path(root).is_dir()
        print("Downloading")
        Official.calls += (split,)


class MNIST(Official):
    def __init__(self, root: str, *, train: bool, download: bool) -> None:
        super().__init__(root, download=download)
        n = 200 if train else 40
        self.targets = torch.arange(n) % 10
        self.data = (torch.arange(n, dtype=torch.uint8)[:, None, None]).expand(n, 28, 28).contiguous()


class CIFAR10(Official):
    def __init__(self, root: str, *, train: bool, download: bool) -> None:
        super().__init__(root, download=download)
        self.classes = list("abcdefghij")
        self.targets = sorted(i % 10 for i in range(200))  # not in the order of other copies
        self.data = np.repeat(np.arange(200, dtype=np.uint8), 32 * 32 * 3).reshape(200, 32, 32, 3)


class GTSRB(Official):
    def __init__(self, root: str, *, split: str, download: bool) -> None:
        super().__init__(root, download=download, split=split)
        self._samples = [
            (f"{root}/{label:05}/{track:05}_{frame:05}.ppm", label)
            for label in range(43)
            for track in range(3)
            for frame in range(4)
        ]

    def __iter__(self) -> Any:
        for file, label in self._samples:
            track = int(Path(file).name[:5])
            yield Image.new("RGB", (40, 50), (label, track, 7)), label


@pytest.fixture(autouse=True)
def _official(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    monkeypatch.setattr(Official, "calls", ())
    for kind in (MNIST, CIFAR10, GTSRB):
        monkeypatch.setattr(f"torchvision.datasets.{kind.__name__}", kind)


def test_mnist_is_fetched_whole() -> None:
    parts = {split: load("mnist", split, download=True) for split in ("train", "clean", "test")}
    assert [len(p) for p in parts.values()] == [180, 20, 40]
    assert all((p.x[:, 0, 0, 0] % 10 == p.y).all() for p in parts.values())


def test_cifar10_is_put_in_the_order_of_other_copies_so_that_the_split_is_theirs() -> None:
    train, clean = (load("cifar10", split, download=True) for split in ("train", "clean"))
    assert len(train) == 180 and len(clean) == 20 and train.class_names == tuple("abcdefghij")
    assert all((p.x[:, 0, 0, 0] // 20 == p.y).all() for p in (train, clean))  # lossless: the labels can be read off
    with np.load(cache_folder() / "cifar10_train.npz") as held:
        assert held["labels"].tolist() == [*range(10)] * 20


def test_signs_keep_their_names_and_their_tracks() -> None:
    train, clean, test = (load("gtsrb", split, download=True) for split in ("train", "clean", "test"))
    assert train.class_names == GTSRB_NAMES and train.image_shape == (3, 32, 32) and len(test) == 43 * 12
    track = {split.split: {tuple(x[:2, 0, 0]) for x in split.x} for split in (train, clean)}
    assert len(track["clean"]) == 43 and not track["clean"] & track["train"]


def test_what_the_downloader_says_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    download("mnist")
    said = capsys.readouterr()
    assert said.out == "" and "Downloading" in said.err


def test_what_is_here_already_is_not_fetched_again() -> None:
    download("gtsrb")
    download("gtsrb")
    assert Official.calls == ("train", "test")


def test_what_comes_with_a_package_needs_no_download() -> None:
    download("digits")
    assert Official.calls == ()


def test_a_set_without_an_official_downloader_is_a_sentence() -> None:
    with pytest.raises(DataError, match="no official copy of 'orl' to download, only of mnist, cifar10, gtsrb"):
        download("orl")


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_network_that_does_not_answer_is_a_sentence_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> SimpleNamespace:
        raise error

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    with pytest.raises(DataError, match="official copy of 'cifar10' could not be fetched"):
        load("cifar10", "train", download=True)
    assert not list(cache_folder().iterdir())

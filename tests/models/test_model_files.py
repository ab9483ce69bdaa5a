"""Model files: what is saved comes back the same, and a file that does not fit or means harm is one sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from assay.data import Dataset
from assay.errors import InputError, ModelError
from assay.models import Model, ModelSpec, TrainSettings, build, check_fits, clean_accuracy, load, save, seeded, train
from assay.models.header import HEADER_KEY, read_header

SPEC = ModelSpec("signs-net", (3, 8, 8), ("stop", "yield", "none"), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), {"width": 2})


def model(spec: ModelSpec = SPEC) -> Model:
    with seeded(1):
        return build(spec).eval()


def pictures(n: int = 12, names: tuple[str, ...] = SPEC.class_names, channels: int = 3) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, channels, 8, 8)).astype(np.uint8)
    return Dataset(x, np.arange(n) % len(names), names, "own")


def write(path: Path, tensors: dict[str, Tensor], header: Any = SPEC) -> Path:
    text = header if isinstance(header, str) else msgspec.json.encode(header).decode()
    path.write_bytes(to_bytes(tensors, metadata={HEADER_KEY: text}))
    return path


def weights() -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model().network.state_dict().items()}


def test_a_saved_model_comes_back_with_its_spec_and_its_answers(tmp_path: Path) -> None:
    before, x = model(), torch.rand(5, 3, 8, 8)
    after = load(save(before, tmp_path / "deep" / "m.safetensors"))
    assert after.spec == SPEC and not after.training and torch.equal(before(x), after(x))


def test_a_model_subtracts_the_mean_and_divides_by_the_spread_of_each_channel() -> None:
    m, x = model(), torch.rand(2, 3, 8, 8)
    by_hand = torch.stack([(x[:, c] - SPEC.mean[c]) / SPEC.std[c] for c in range(3)], 1)
    assert torch.allclose(m(x), m.network(by_hand))


def test_saving_leaves_the_old_file_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(model(), tmp_path / "m.safetensors")
    before = file.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        save(model(), file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_is_opened_with_the_architectures_name_and_pictures(tmp_path: Path, wrapped: bool) -> None:
    own = weights() if not wrapped else {"state_dict": {f"module.{k}": v for k, v in weights().items()}}
    torch.save(own, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="does not say what network"):
        load(tmp_path / "m.pt")
    with pytest.raises(ModelError, match="does not say what pictures"):
        load(tmp_path / "m.pt", "signs-net")
    with pytest.raises(ModelError, match="the architecture needs"):
        load(tmp_path / "m.pt", "signs-net", pictures())  # width 16


NET = """
from torch import nn
def net(in_channels, image_size, classes, width=2):
    from assay.models.architectures import signs_net
    return signs_net(in_channels, image_size, classes, width)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"files_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return f"{name}:net"


def test_a_state_dict_is_opened_with_the_users_own_function(tmp_path: Path, own: str) -> None:
    torch.save(weights(), tmp_path / "m.pth")
    opened, x = load(tmp_path / "m.pth", own, pictures()), torch.rand(2, 3, 8, 8)
    assert opened.spec.architecture == own and opened.spec.class_names == SPEC.class_names
    assert torch.equal(opened.network(x), model().network(x))


def test_code_that_a_header_names_is_never_imported(tmp_path: Path, own: str) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')")
    for name in ("evil:net", "evil", "os:system", own):
        file = write(tmp_path / "m.safetensors", weights(), msgspec.structs.replace(SPEC, architecture=name))
        with pytest.raises(ModelError, match="which is not built in"):
            load(file)
    assert not ran.exists() and "evil" not in sys.modules


def test_the_users_arch_stands_above_the_headers(tmp_path: Path, own: str) -> None:
    file = write(tmp_path / "m.safetensors", weights(), msgspec.structs.replace(SPEC, architecture="evil:net"))
    assert load(file, own).spec.architecture == own  # the header's arguments were for another network
    with pytest.raises(ModelError, match="does not fit the architecture"):
        load(file, "resnet20")


def test_the_preprocessing_of_a_bare_state_dict_is_the_one_under_which_it_is_right(tmp_path: Path, own: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = np.clip(rng.normal(60 + 60 * y[:, None, None, None], 15, (90, 3, 8, 8)), 0, 255).astype(np.uint8)
    data = Dataset(x, y, SPEC.class_names, "own")
    half = msgspec.structs.replace(SPEC, mean=(0.5,) * 3, std=(0.5,) * 3)
    trained = model(half)
    train(trained, data, TrainSettings(epochs=12, batch_size=10, lr=0.02))
    accuracy = clean_accuracy(trained, data).value
    assert accuracy > 0.9
    torch.save(trained.network.state_dict(), tmp_path / "m.pt")
    assert clean_accuracy(load(tmp_path / "m.pt", own, data), data).value >= accuracy


HOSTILE = [
    ("{", "does not describe a model"),
    ("[" * 100_000, "does not describe a model"),
    ('{"architecture": "lenet5"}', "missing required field"),
    ({"input_shape": [1, 2]}, "does not describe a model"),
    ({"input_shape": [3, 10**9, 10**9]}, "asks for pictures"),
    ({"input_shape": [3, 4096, 4096]}, "values are taken"),
    ({"input_shape": [0, 8, 8]}, "asks for pictures"),
    ({"input_shape": [3, -8, 8]}, "asks for pictures"),
    ({"input_shape": [10**30, 8, 8]}, "does not describe a model|asks for pictures"),
    ({"input_shape": [3, 8.5, 8]}, "does not describe a model"),
    ({"class_names": ["only"]}, "names 1 classes"),
    ({"class_names": ["a"] * 100_001}, "names 100001 classes"),
    ({"class_names": ["stop", "a\x1b[2Jb", "none"]}, "class names must be printable"),
    ({"class_names": ["stop", "y" * 201, "none"]}, "class names must be printable"),
    ({"class_names": "abc"}, "does not describe a model"),
    ({"mean": [0.1, 0.2]}, "mean and std must have 3 entries"),
    ({"mean": [0.1, 0.2, float("nan")]}, "does not describe a model"),
    ({"mean": [0.1, 0.2, 1e300]}, "a mean is at most"),
    ({"std": [0.5, 0.5, 0.0]}, "a std from"),
    ({"std": [0.5, 0.5, -1.0]}, "a std from"),
    ({"std": [0.5, 0.5, float("inf")]}, "does not describe a model"),
    ({"std": [0.5, 0.5, None]}, "does not describe a model"),
    ({"arguments": {"width": 10**9}}, "'width' of its architecture is out of range"),
    ({"arguments": {"width": 10**30}}, "out of range"),
    ({"arguments": {"width": -(10**9)}}, "out of range"),
    ({"arguments": {"width": "2"}}, "cannot be built"),
    ({"arguments": {"width": 99_999}}, "the architecture needs"),
    ({"arguments": {"w" * 300: 1}}, "out of range"),
    ({"arguments": {"w" * 90: 1}}, "cannot be built"),
    ({"arguments": {"a b": 1}}, "out of range"),
    ({"arguments": {"width": [2]}}, "does not describe a model"),
    ({"arguments": {"in_channels": 3}}, "cannot be built"),
    ({"architecture": "torchvision:nothing"}, "no classifier named"),
    ({"architecture": "torchvision:regnet_y_128gf"}, "cannot be built|does not fit"),
    ({"architecture": "vit"}, "which is not built in"),
    ({"architecture": 3}, "does not describe a model"),
    ({"more": 3}, "unknown field"),
]


@pytest.mark.parametrize(("change", "said"), HOSTILE, ids=[str(h[0])[:40] for h in HOSTILE])
def test_a_hostile_header_is_refused_in_a_sentence_and_before_memory_is_taken(
    tmp_path: Path, change: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = msgspec.to_builtins(SPEC)
    header = change if isinstance(change, str) else json.dumps(fields | change)
    file = write(tmp_path / "m.safetensors", weights(), header)
    monkeypatch.setattr("assay.models.files.untried", pytest.fail)  # no network with weights is made
    with pytest.raises(ModelError, match=said) as caught:
        load(file)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_header_as_long_as_a_book_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="characters, more than"):
        read_header(tmp_path, {HEADER_KEY: " " * (2**24 + 1)})


def test_a_header_is_checked_also_when_the_user_names_the_architecture(tmp_path: Path) -> None:
    fields = msgspec.to_builtins(SPEC) | {"input_shape": [3, 10**9, 10**9]}
    with pytest.raises(ModelError, match="asks for pictures"):
        load(write(tmp_path / "m.safetensors", weights(), json.dumps(fields)), "signs-net")


NAME = "0.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: {k: v for k, v in w.items() if k != NAME}, r"1 tensors are missing \(first: 0.weight\)"),
        (lambda w: w | {"more.weight": torch.zeros(3)}, r"1 are not part of it \(first: 'more.weight'\)"),
        (lambda w: w | {"\x1b[2J": torch.zeros(3)}, r"first: '\\x1b\[2J'"),
        (lambda w: {}, "tensors are missing"),
        (lambda w: w | {NAME: w[NAME][:, :1].clone()}, "0.weight has shape"),
        (lambda w: w | {NAME: w[NAME].T.contiguous()}, "0.weight has shape"),
        (lambda w: w | {NAME: w[NAME] * float("nan")}, "0.weight holds NaN or infinite"),
        (lambda w: w | {NAME: w[NAME] + float("inf")}, "0.weight holds NaN or infinite"),
        (lambda w: w | {NAME: w[NAME].double() + 1e300}, "0.weight holds NaN or infinite"),
        (lambda w: w | {NAME: w[NAME].to(torch.int64)}, "0.weight is torch.int64"),
        (lambda w: w | {NAME: w[NAME].to(torch.complex64)}, "0.weight is torch.complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*permute")
def test_tensors_that_are_not_the_architectures_are_a_sentence(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load(write(tmp_path / "m.safetensors", change(weights())))
    assert "\n" not in str(caught.value) and "m.safetensors" in str(caught.value)


def test_weights_of_half_precision_are_taken(tmp_path: Path) -> None:
    halves = {k: v.half() if v.is_floating_point() else v for k, v in weights().items()}
    opened = load(write(tmp_path / "m.safetensors", halves))
    assert next(opened.parameters()).dtype == torch.float32


def test_pictures_of_another_size_or_channel_count_do_not_fit() -> None:
    with pytest.raises(ModelError, match=r"takes pictures of 3x8x8 .* but own has 1x8x8"):
        check_fits(model(), pictures(channels=1))


def test_classes_go_by_their_names() -> None:
    shuffled = check_fits(model(), pictures(3, ("yield", "none", "stop")))
    assert shuffled.y.tolist() == [1, 2, 0] and shuffled.class_names == SPEC.class_names
    assert check_fits(model(), pictures(4, ("none", "stop"))).y.tolist() == [2, 0, 2, 0]


def test_classes_that_are_numbers_are_the_models_outputs() -> None:
    assert check_fits(model(), pictures(4, ("00002", "1"))).y.tolist() == [2, 1, 2, 1]
    assert check_fits(model(), pictures(2, ("0", "1"))).y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("stop", "halt"), "knows 3 classes, and 'halt' of own is not one of them .stop, yield, none"),
        (("0", "1", "3"), "knows 3 classes, but own has a class 3"),
        (("1", "01"), "two classes of the same number"),
        (("stop", "yield", "none", "more"), "'more'"),
    ],
)
def test_classes_that_the_model_does_not_know_are_a_sentence(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check_fits(model(), pictures(names=names))

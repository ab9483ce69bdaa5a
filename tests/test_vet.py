"""The main job: from a file and clean pictures to a verdict and a repaired model, and nothing decided by the truth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import assay.vet
from assay.backdoor import Pattern, SingleTarget, attack_success_rate, poison
from assay.data import Dataset
from assay.detect import Accusations
from assay.errors import DataError, InputError, ModelError
from assay.models import (
    Model,
    Rate,
    TrainSettings,
    build,
    clean_accuracy,
    correct,
    fresh_weights,
    load,
    mcnemar,
    save,
    spec_for,
    train,
)
from assay.runs import Run
from assay.vet import MEASURED_SHARE, Measured, Truth, Vetting, vet
from assay.vet_report import report
from detect import planted
from detect.planted import ARCH, NAMES, TARGET, pictures

CLEAN, TEST = pictures(300, 1), pictures(300, 2)
CODE = sys.modules["assay.vet"]


def success(model: Model) -> Rate:
    return attack_success_rate(model, TEST, planted.stamp, SingleTarget(TARGET))


TRUTH = Truth(success)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("received")
    return {
        kind: save(make(), folder / f"{kind}.safetensors")
        for kind, make in planted.MODELS.items()
        if kind != "all-to-all"
    }


@dataclass
class Looked:
    """A vetting, and which pictures each of its steps was given."""

    found: Vetting
    out: Path
    was: bytes
    measured: list[Dataset] = field(default_factory=list)
    given: list[Dataset] = field(default_factory=list)


@pytest.fixture(scope="session")
def bad(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    looked = Looked(None, tmp_path_factory.mktemp("bad"), files["single"].read_bytes())  # type: ignore[arg-type]
    own = {name: getattr(CODE, name) for name in ("clean_accuracy", "mend", "scan")}

    def measuring(model: Model, data: Dataset) -> Any:
        looked.measured.append(data)
        return own["clean_accuracy"](model, data)

    def working(name: str) -> Any:
        def work(model: Model, data: Dataset, *rest: Any, **more: Any) -> Any:
            looked.given.append(data)
            return own[name](model, data, *rest, **more)

        return work

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CODE, "clean_accuracy", measuring)
        patch.setattr(CODE, "mend", working("mend"))
        patch.setattr(CODE, "scan", working("scan"))
        looked.found = vet(files["single"], CLEAN, arch=ARCH, out=looked.out, truth=TRUTH)
    yield looked


def test_a_backdoored_model_is_called_so_with_its_target(bad: Looked) -> None:
    first = bad.found.first
    assert (bad.found.answer, first.target) == ("backdoored", TARGET)
    assert first.trigger is not None
    assert bad.found.file.verdict == "safe"
    assert bad.found.not_done == ()


def test_the_repaired_model_is_a_new_file_and_the_received_one_is_byte_identical(
    bad: Looked, files: dict[str, Path]
) -> None:
    assert files["single"].read_bytes() == bad.was
    assert bad.found.repaired_path == bad.out / "repaired.safetensors"
    written, kept = load(bad.found.repaired_path, ARCH), bad.found.repaired.model
    assert all(torch.equal(a, b) for a, b in zip(written.parameters(), kept.parameters(), strict=True))
    assert not torch.equal(written.network[0].weight, bad.found.model.network[0].weight)
    assert written.spec.class_names == NAMES


def test_the_repair_removes_the_backdoor_and_keeps_accuracy(bad: Looked) -> None:
    before, after = bad.found.before, bad.found.after
    assert before.attack_success_rate.value > 0.95
    assert after.attack_success_rate.value < 0.05
    assert after.clean_accuracy.value > before.clean_accuracy.value - 0.05
    assert not bad.found.second.backdoored


def rows(data: Dataset) -> set[bytes]:
    return {picture.tobytes() for picture in data.x}


def test_before_and_after_are_measured_on_pictures_that_nothing_else_saw(bad: Looked) -> None:
    assert len(bad.measured) == 2
    assert len(bad.given) == 3
    measured, given = rows(bad.measured[0]), rows(bad.given[0])
    assert not measured & given
    assert measured | given == rows(CLEAN)
    assert len(measured) == round(MEASURED_SHARE * len(CLEAN))
    assert all(rows(data) == measured for data in bad.measured)
    assert all(rows(data) == given for data in bad.given)


def test_the_p_value_is_of_the_paired_test_on_those_pictures(bad: Looked) -> None:
    held = bad.measured[0]
    was, now = (correct(model, held) for model in (bad.found.model, bad.found.repaired.model))
    assert bad.found.p_value == mcnemar(was, now)
    assert bad.found.before.clean_accuracy == clean_accuracy(bad.found.model, held)
    assert bad.found.after.clean_accuracy == clean_accuracy(bad.found.repaired.model, held)


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("clean", "Of 20 clean models of this kind that no threshold has seen, this rule accused 0"),
        ("all", "Of 20 clean models on mnist that no threshold has seen, this rule accused 0"),
    ],
)
def test_the_report_says_on_which_data_false_accusations_were_counted(
    bad: Looked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, sentence: str
) -> None:
    counted = {f"{ARCH}-mnist": Accusations(0, 20, "by hand")}
    monkeypatch.setattr("assay.vet_report.measured", lambda: counted)
    compared = replace(bad.found.first.verdict, references_data="mnist")
    found = replace(
        bad.found,
        clean=replace(CLEAN, name="mnist", split=split),
        first=replace(bad.found.first, verdict=compared),
    )
    page = report(found, Run(None, ("assay", "vet"), {}, 0), tmp_path / "report.html").read_text()
    assert sentence in page
    assert ("accuses clean models on your pictures was not measured" in page) == (split == "all")


def test_the_curve_of_a_known_backdoor_starts_at_the_received_model_and_falls(bad: Looked) -> None:
    curve = bad.found.curve_success
    assert len(curve) == len(bad.found.repaired.record["curve"]) + 1
    assert curve[0] == bad.found.before.attack_success_rate.value
    assert min(curve) < 0.05


def test_the_neuron_that_the_trigger_wakes_is_the_planted_one(bad: Looked) -> None:
    layer, clean, triggered = bad.found.neurons
    assert layer == "0"
    assert int(np.argmax(triggered - clean)) == planted.CLASSES
    assert int(np.argmin(clean)) == planted.CLASSES


def same_weights(a: Model, b: Model) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_truth_changes_no_decision_whatever_it_says(bad: Looked, files: dict[str, Path]) -> None:
    found = vet(files["single"], CLEAN, arch=ARCH)
    assert found.first.verdict == bad.found.first.verdict
    assert found.second.verdict == bad.found.second.verdict
    assert found.before.clean_accuracy == bad.found.before.clean_accuracy
    assert same_weights(found.repaired.model, bad.found.repaired.model)
    assert found.p_value == bad.found.p_value
    harmless = Truth(lambda model: Rate(0, 10))
    assert vet(files["single"], CLEAN, arch=ARCH, truth=harmless, mend=False).answer == "backdoored"
    assert (
        vet(files["clean"], CLEAN, arch=ARCH, truth=Truth(lambda model: type(success(model))(10, 10))).answer == "clean"
    )


def test_without_a_truth_nothing_is_said_of_attack_success(files: dict[str, Path]) -> None:
    found = vet(files["single"], CLEAN, arch=ARCH, mend=False)
    assert found.before == Measured(clean_accuracy(found.model, CLEAN.halves(MEASURED_SHARE, 1)[0]))
    assert found.curve_success == ()


def test_the_clean_twin_is_called_clean_and_gets_no_repair(files: dict[str, Path], tmp_path: Path) -> None:
    found = vet(files["clean"], CLEAN, arch=ARCH, out=tmp_path)
    assert found.answer == "clean"
    assert (found.repaired, found.repaired_path, found.second, found.after) == (None, None, None, None)
    assert found.not_done == ()
    assert list(tmp_path.iterdir()) == []


def test_a_repair_that_is_switched_off_is_named_as_not_done(files: dict[str, Path], tmp_path: Path) -> None:
    found = vet(files["single"], CLEAN, arch=ARCH, out=tmp_path, mend=False)
    assert found.answer == "backdoored"
    assert found.repaired is None
    assert found.not_done == ("repair: switched off",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["clean", "single"])
@pytest.mark.parametrize("seconds", [1e-6, 0.2])
def test_what_the_time_allowed_cuts_off_is_named_and_nothing_is_called_clean(
    files: dict[str, Path], kind: str, seconds: float
) -> None:
    found = vet(files[kind], CLEAN, arch=ARCH, budget_s=seconds)
    assert found.answer == "inconclusive"
    assert any("neural_cleanse" in line for line in found.not_done)
    assert found.second is None or any(line.startswith("scan after the repair") for line in found.not_done)
    if found.repaired is None:
        assert "repair: the time allowed ended first" in found.not_done


def test_a_received_file_with_an_absurd_bias_is_never_called_clean(tmp_path: Path) -> None:
    model = save(planted.decoyed(-1e20), tmp_path / "decoyed.safetensors")
    found = vet(model, CLEAN, arch=ARCH, mend=False)
    assert found.first.verdict.answer == "clean"
    assert found.file.verdict != "safe"
    assert found.answer == "inconclusive"
    assert any("e+20" in f.what for f in found.file.findings)


def test_the_received_file_is_not_overwritten_when_it_lies_where_the_repaired_one_would(tmp_path: Path) -> None:
    received = save(planted.single_target(), tmp_path / "repaired.safetensors")
    was = received.read_bytes()
    try:
        found = vet(received, CLEAN, arch=ARCH, out=tmp_path)
    except InputError as error:
        assert "overwritten" in str(error)
    else:
        assert found.repaired_path != received
    assert received.read_bytes() == was


def test_a_repair_that_is_not_possible_is_named_and_the_verdict_stands(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: Any, **__: Any) -> Any:
        raise ModelError("there is no convolutional layer to prune")

    monkeypatch.setattr(CODE, "mend", impossible)
    found = vet(files["single"], CLEAN, arch=ARCH)
    assert found.answer == "backdoored"
    assert found.not_done == ("repair: there is no convolutional layer to prune",)


@pytest.mark.parametrize("pictures_of_a_fox", [0, 3])
def test_a_clean_set_with_hardly_any_pictures_of_a_class_still_gets_a_verdict(
    files: dict[str, Path], pictures_of_a_fox: int
) -> None:
    """A repair needs two of every class besides those that measure; that must not hide what the scan found."""
    found = vet(files["single"], planted.without(CLEAN, 5, pictures_of_a_fox), arch=ARCH)
    assert found.answer == "backdoored"
    assert found.repaired is not None or any(line.startswith("repair: ") for line in found.not_done)


def test_a_class_of_two_pictures_is_learnt_from_and_does_not_measure(files: dict[str, Path]) -> None:
    clean = planted.without(CLEAN, 5, 2)
    found = vet(files["single"], clean, arch=ARCH)
    assert found.answer == "backdoored"
    assert found.repaired is not None
    assert found.before.clean_accuracy.n == sum(round(0.2 * n) for n in np.bincount(clean.y) if n > 2)


def test_pictures_that_do_not_fit_are_refused_before_anything_is_done(files: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="one class only"):
        vet(files["single"], CLEAN.subset(CLEAN.y == 0), arch=ARCH)
    with pytest.raises(DataError, match="at least 2"):
        vet(files["single"], planted.without(CLEAN, 2, 1), arch=ARCH)


def test_progress_names_its_tasks_and_those_after_the_repair_anew(files: dict[str, Path]) -> None:
    told: dict[str, list[float]] = {}

    def tell(task: str, done: float, total: float, note: str) -> None:
        told.setdefault(task, []).append(done / total)

    vet(files["single"], CLEAN, arch=ARCH, progress=tell)
    assert {"searching for triggers", "fine-tuning", "searching for triggers again"} <= set(told)
    assert all(shares[-1] == 1.0 for task, shares in told.items() if task.startswith("searching"))


SIDE, CLASSES = 16, 8


def glyphs(n: int, seed: int) -> Dataset:
    """Eight random patterns of 4 x 4 squares, at places that differ by a pixel."""
    rng, shapes = np.random.default_rng(seed), np.random.default_rng(7).random((CLASSES, 4, 4)) < 0.5
    y, x = np.arange(n) % CLASSES, rng.normal(50, 20, (n, 1, SIDE, SIDE))
    for picture, label in zip(x, y, strict=True):
        top, left = rng.integers(0, 2, 2)
        picture[0, top : top + 12, left : left + 12] += rng.integers(100, 140) * np.kron(shapes[label], np.ones((3, 3)))
    return Dataset(x.clip(0, 200).astype(np.uint8), y.astype(np.int64), tuple("abcdefgh"), "glyphs")


@pytest.mark.parametrize("kind", ["bad", "clean"])
def test_a_trained_badnet_is_told_from_its_clean_twin(kind: str, tmp_path: Path) -> None:
    training, labels = glyphs(1200, 1), SingleTarget(4)
    data = poison(training, Pattern(), labels, 0.1, 0) if kind == "bad" else training
    model = fresh_weights(2, lambda: build(spec_for(training, "lenet5")))
    train(model, data, TrainSettings(epochs=4, batch_size=32, lr=0.02))
    truth = Truth(lambda network: attack_success_rate(network, glyphs(300, 3), Pattern(), labels))
    found = vet(save(model, tmp_path / "model.safetensors"), glyphs(300, 2), out=tmp_path / "out", truth=truth)
    assert found.before.clean_accuracy.value > 0.97
    if kind == "clean":
        assert found.answer == "clean"
        return
    assert (found.answer, found.first.target) == ("backdoored", 4)
    assert found.before.attack_success_rate.value > 0.9
    assert found.after.attack_success_rate.value < 0.1
    assert found.after.clean_accuracy.value > 0.95
    assert not found.second.backdoored


def test_the_module_is_the_function() -> None:
    assert assay.vet.vet is vet
    assert callable(assay.vet)

"""count, rewrite and search from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.cli import main
from assay.models import ModelSpec, build, fresh_weights, load, save


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object], str]:
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out.startswith("{") else {}, said.err


@pytest.fixture
def skipnet(tmp_path: Path) -> Path:
    spec = ModelSpec("skipnet", (1, 28, 28), tuple("0123456789"), (0.5,), (0.5,))
    return save(fresh_weights(1, lambda: build(spec)), tmp_path / "skipnet.safetensors")


@pytest.mark.parametrize(("arch", "relus"), [("resnet32", 303_104), ("cnet1", 86_016)])
def test_count_says_the_relus_of_an_architecture(capsys: pytest.CaptureFixture[str], arch: str, relus: int) -> None:
    code, document, _ = run(capsys, "count", "--arch", arch, "--json")
    assert (code, document["relus"]) == (0, relus)
    assert sum(layer["relus"] for layer in document["layers"]) == relus  # type: ignore[attr-defined]


def test_count_reads_a_model_file(capsys: pytest.CaptureFixture[str], skipnet: Path) -> None:
    code, document, _ = run(capsys, "count", str(skipnet), "--json")
    assert (code, document["relus"]) == (0, 17_248)


def test_a_rewritten_file_opens_without_code_and_has_fewer_relus(
    capsys: pytest.CaptureFixture[str], skipnet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shuffled.safetensors"
    code, document, _ = run(capsys, "rewrite", str(skipnet), "--shuffle", "--merge", "--out", str(out), "--json")
    assert code == 0
    assert document["relus"] == 12_544 and document["relus_before"] == 17_248
    assert document["max_difference"] <= 1e-4  # type: ignore[operator]
    assert load(out).spec.architecture == "layer-graph"
    assert run(capsys, "count", str(out), "--json")[1]["relus"] == 12_544


def test_rewriting_measures_and_tunes_with_pictures(
    capsys: pytest.CaptureFixture[str], skipnet: Path, tmp_path: Path
) -> None:
    code, document, _ = run(
        capsys, "rewrite", str(skipnet), "--prune", "--finetune", "digits", "--epochs", "1", "--out",
        str(tmp_path / "p.safetensors"), "--json",
    )  # fmt: skip
    assert code == 0
    assert document["relus"] < document["relus_before"]  # type: ignore[operator]
    assert document["accuracy_tuned"] > document["accuracy_after"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["count"], "one of the two"),
        (["count", "--arch", "nothing"], "no architecture named"),
        (["count", "--arch", "resnet20", "--image", "3x32"], "--image must be"),
        (["count", "--arch", "resnet20", "--image", "3x99999x9"], "--image must be"),
        (["count", "--arch", "resnet20", "--classes", "1"], "--classes must be"),
        (["count", "--arch", "layer-graph"], "cannot be built"),
        (["rewrite", "{model}"], "nothing to rewrite"),
        (["rewrite", "{model}", "--shuffle", "--out", "{model}"], "never overwritten"),
        (["rewrite", "{model}", "--shuffle", "--out", "x.pt"], "--out must be"),
        (["rewrite", "nothing.safetensors", "--shuffle"], "nothing.safetensors"),
        (["search", "--data", "digits", "--budget", "some"], "--budget is written like"),
        (["search", "--data", "digits", "--budget", "nan"], "--budget is written like"),
        (["search", "--data", "digits", "--budget", "10"], "no width of this skeleton meets"),
        (["search", "--data", "nothing", "--budget", "5k"], "'nothing' is neither"),
        (["search", "--data", "digits", "--budget", "5k", "--hours", "1", "--minutes", "1"], "not both"),
        (["search", "--data", "digits", "--budget", "5k", "--minutes", "0"], "a search needs time above 0"),
        (["search", "--data", "digits", "--budget", "5k", "--workers", "0"], "at least 1 worker"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], skipnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, complaint = run(capsys, *(a.format(model=skipnet) for a in arguments))
    assert code == 2
    assert said in complaint


@pytest.mark.slow
def test_a_search_on_mnist_stops_in_time_within_its_budget(
    capsys: pytest.CaptureFixture[str], shared_data: Path, tmp_path: Path
) -> None:
    code, document, _ = run(
        capsys, "search", "--data", "mnist", "--budget", "5k", "--minutes", "3", "--seed", "1", "--out", str(tmp_path),
        "--json",
    )  # fmt: skip
    assert code == 0
    assert document["relus"] <= 5_000  # type: ignore[operator]
    assert document["accuracy"] > 0.95  # type: ignore[operator]
    assert document["overhead"] <= 1 / 3  # type: ignore[operator]

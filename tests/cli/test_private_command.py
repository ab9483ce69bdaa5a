"""`assay private` and the predictions of `assay count`, as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from assay.cli import main
from assay.integer import IntegerNetwork, load, save
from assay.integer import graph as g
from assay.private import calibration
from assay.runs import machine, now, to_json

Capture = pytest.CaptureFixture[str]


def small() -> IntegerNetwork:
    rng = np.random.default_rng(5)
    nodes = (
        g.Input((1, 6, 6)),
        g.Conv2d(input=0, weight=rng.integers(-20, 21, (3, 1, 3, 3)), bias=rng.integers(-99, 99, 3)),
        g.Requantise(input=1, shift=6, low=0, high=255, start=0, stop=3, name="first"),
        g.Flatten(input=2),
        g.Linear(input=3, weight=rng.integers(-20, 21, (4, 48)), bias=rng.integers(-99, 99, 4)),
    )
    return IntegerNetwork(nodes, ("zero", "one", "two", "three"), 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`net.assay`, `digit.png`, `digits.npz` and keys."""
    made = tmp_path_factory.mktemp("private")
    save(small(), made / "net.assay")
    x = np.random.default_rng(1).integers(0, 256, (3, 1, 6, 6)).astype(np.uint8)
    Image.fromarray(x[0, 0]).save(made / "digit.png")
    np.savez(made / "digits.npz", x=x)
    assert main(["private", "keys", str(made / "keys")]) == 0
    return made


def said(capsys: Capture, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[int, str]]:
    """Port and digest of `assay private serve` in a process of its own."""
    keys = folder / "keys"
    command = [sys.executable, "-m", "assay", "private", "serve", str(folder / "net.assay"), "--port", "0"]
    command += ["--cert", str(keys / "server.pem"), "--key", str(keys / "server.key")]
    command += ["--client-ca", str(keys / "ca.pem")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listening at 127.0.0.1:" in line, line + process.stderr.read()
    yield int(line.split("127.0.0.1:")[1].split(";")[0]), line.split()[-1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "the server has ended" in out


def infer(folder: Path, port: int, *more: str | Path) -> list[str | Path]:
    keys = folder / "keys"
    files = ["--cert", keys / "client.pem", "--key", keys / "client.key", "--server-ca", keys / "ca.pem"]
    return ["private", "infer", "--connect", f"localhost:{port}", *files, *more]


def test_a_picture_is_answered_with_label_logits_and_costs(
    folder: Path, served: tuple[int, str], capsys: Capture
) -> None:
    port, digest = served
    code, document, _ = said(capsys, *infer(folder, port, folder / "digit.png", "--network-digest", digest))
    expected = load(folder / "net.assay").run(np.asarray(Image.open(folder / "digit.png"))[None, None])
    assert code == 0
    assert document["outputs"] == expected.tolist()
    assert document["labels"] == [int(expected.argmax())]
    assert document["class_names"] == [small().class_names[expected.argmax()]]
    assert document["logits"] == (expected * 0.5).tolist()
    assert document["network_digest"] == digest
    for key in ("offline_s", "online_s", "offline_bytes", "online_bytes", "online_rounds"):
        assert document[key] > 0
        assert document[key] == pytest.approx(sum(layer[key] for layer in document["layers"]))


def test_many_pictures_of_both_kinds_take_one_set_of_rounds(
    folder: Path, served: tuple[int, str], capsys: Capture
) -> None:
    one = said(capsys, *infer(folder, served[0], folder / "digit.png"))[1]
    four = said(capsys, *infer(folder, served[0], folder / "digits.npz", folder / "digit.png", "--network", "lan"))[1]
    assert len(four["labels"]) == 4
    assert four["labels"][0] == four["labels"][3] == one["labels"][0]
    assert four["online_rounds"] == one["online_rounds"]


def test_the_profile_is_a_table_of_layers(folder: Path, served: tuple[int, str], capsys: Capture) -> None:
    assert main([str(a) for a in infer(folder, served[0], folder / "digit.png", "--profile")]) == 0
    table = capsys.readouterr().out
    assert "first" in table
    assert "requantise" in table
    assert "sum" in table


def test_a_picture_of_another_shape_and_no_picture_are_refused(
    folder: Path, served: tuple[int, str], capsys: Capture, tmp_path: Path
) -> None:
    Image.new("L", (7, 6)).save(tmp_path / "wide.png")
    Image.new("RGB", (6, 6)).save(tmp_path / "red.png")
    Image.new("I", (6, 6)).save(tmp_path / "deep.tiff")
    np.savez(tmp_path / "wide.npz", x=np.zeros((1, 1, 6, 7), np.uint8))
    (tmp_path / "text.png").write_text("not a picture")
    for image, sentence in (
        (tmp_path / "wide.png", "has 6x7 pixels (height x width), but the model takes 6x6"),
        (tmp_path / "wide.npz", "1x6x7, but the server's network takes 1x6x6"),
        (tmp_path / "red.png", "is in colour, but the model takes grey pictures"),
        (tmp_path / "deep.tiff", "pixels of 32 bits"),
        (tmp_path / "none.png", "is not a file"),
        (tmp_path / "text.png", "cannot be read as a picture"),
    ):
        code, _, error = said(capsys, *infer(folder, served[0], image))
        assert (code, error.count("\n") >= 1) == (2, True)
        assert sentence in error
    code, _, error = said(capsys, *infer(folder, served[0]))
    assert code == 2
    assert "at least one picture" in error


def test_another_network_than_expected_is_refused(folder: Path, served: tuple[int, str], capsys: Capture) -> None:
    code, _, error = said(capsys, *infer(folder, served[0], folder / "digit.png", "--network-digest", "ab" * 32))
    assert code == 2
    assert "nothing was sent to it" in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serve", "net.assay"), "--insecure-plaintext"),
        (("serve", "net.assay", "--insecure-plaintext", "--host", "0.0.0.0"), "plain text is for this machine alone"),
        (("serve", "none.assay", "--insecure-plaintext"), "is not a file"),
        (("serve", "net.assay", "--insecure-plaintext", "--max-clients", "0"), "limits are above 0"),
        (("serve", "net.assay", "--cert", "a", "--key", "b", "--client-ca", "c"), "assay private keys"),
        (("infer", "digit.png", "--connect", "localhost:9"), "give certificates"),
        (("infer", "digit.png", "--connect", "example.org:9", "--insecure-plaintext"), "this machine only"),
        (("infer", "digit.png", "--connect", "127.0.0.1:9", "--insecure-plaintext"), "no server answers"),
        (("infer", "digit.png", "--connect", "nowhere", "--insecure-plaintext"), "host:port"),
        (("infer", "digit.png", "--connect", "localhost:9", "--network", "moon"), "a network is lan, wan"),
        (("keys", "keys"), "already holds"),
        (("demo", "net.assay", "--pictures", "0"), "--pictures"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    code = main(["private", *arguments])
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("assay: ")]
    assert code == 2
    assert len(error) == 1
    assert sentence in error[0]


def test_the_demo_runs_two_processes_and_compares_with_the_clear(folder: Path, capsys: Capture) -> None:
    code, document, _ = said(capsys, "private", "demo", folder / "net.assay", "--pictures", "2")
    assert code == 0
    assert document["equal_to_clear"] is True
    assert len(document["labels"]) == 2
    assert document["layers"]
    assert min(document["client_peak_bytes"], document["server_peak_bytes"]) > 1 << 20


def test_count_predicts_bytes_and_rounds_without_and_seconds_with_a_calibration(folder: Path, capsys: Capture) -> None:
    code, plain, _ = said(capsys, "count", folder / "net.assay")
    assert code == 0
    assert plain["relus"] == 48
    assert plain["predicted"]["online_rounds"] > 0
    assert plain["predicted"]["offline_s"] is None
    units = ("base", "between", "digits", "hello", "hidden", "keys", "laid_out", "multiply", "opened", "products",
             "received", "replies", "request", "requests", "reveal", "rounds", "squares", "start",
             "transfers", "words")  # fmt: skip
    known = calibration.Calibration(calibration.FORMAT, dict.fromkeys(units, 1e-6), machine(), now())
    calibration.place().parent.mkdir(parents=True, exist_ok=True)
    calibration.place().write_bytes(to_json(known))
    try:
        near, far = (
            said(capsys, "count", folder / "net.assay", "--network", n)[1]["predicted"] for n in ("lan", "wan")
        )
    finally:
        calibration.place().unlink()
    for key in ("offline_bytes", "online_bytes", "online_rounds"):
        assert near[key] == far[key] == plain["predicted"][key]
    assert far["online_s"] - near["online_s"] > 0.039 * far["online_rounds"]
    assert far["offline_s"] > near["offline_s"] > 0


def test_a_calibration_explains_what_it_was_fitted_to() -> None:
    rates = {"a": 2.0, "b": 0.5}
    samples = [({"a": a, "b": b}, rates["a"] * a + rates["b"] * b) for a, b in ((1, 0), (1, 10), (5, 3))]
    assert calibration.fit(samples) == pytest.approx(rates)


@pytest.mark.parametrize(("load", "doubted"), [(0.1, False), (1.7, True)])
def test_a_calibration_on_a_busy_machine_says_so(
    load: float, doubted: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    found = calibration.Calibration(calibration.FORMAT, {"rounds": 1e-4}, machine(), now())
    monkeypatch.setattr(calibration, "calibrate", lambda tick: found)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert main(["calibrate"]) == 0
    assert ("was busy the minute before" in " ".join(capsys.readouterr().out.split())) is doubted
    assert main(["calibrate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["load"] == load

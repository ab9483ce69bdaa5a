"""The table of 25 harmless files: all that run something are caught, none of the others is accused, nothing is run."""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import make
import numpy as np
import pytest
import torch
from watch import watched

from assay.cli import main
from assay.supply import inspect, inspect_bytes

EVIL = ["os_system.pkl", "exec.pkl", "subprocess.pkl", "pdb.pkl", "timeit.pkl", "broken_tail.pkl", "second.pkl",
        "os_system.pt", "bad_crc.pt", "inner_zip.pt", "outer.zip", "config.pt", "pickle.safetensors", "object.npy",
        "torch_zip.pt", "torch_legacy.pt", "print.pkl"]  # fmt: skip
BENIGN = ["state_dict.pt", "state_dict_old.pt", "weights.safetensors", "array.npy", "arrays.npz", "model.onnx",
          "model.pt2", "arrays.pkl"]  # fmt: skip
NAMED = {
    "exec.pkl": "builtins.exec",
    "subprocess.pkl": "subprocess.getoutput",
    "pdb.pkl": "pdb.run",
    "timeit.pkl": "timeit.timeit",
    "print.pkl": "builtins.print",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files; the payloads echo into `marker`."""
    place = tmp_path_factory.mktemp("table")
    for name, blob in {**make.evil_files(f"echo ran >> {place / 'marker'}"), **make.benign_files()}.items():
        (place / name).write_bytes(blob)
    return place


def test_the_table_has_the_files_it_should(folder: Path) -> None:
    assert {p.name for p in folder.iterdir()} == {*EVIL, *BENIGN}
    assert (len(EVIL), len(BENIGN)) == (17, 8)


@pytest.mark.parametrize("name", EVIL)
def test_a_file_that_runs_something_is_caught_and_nothing_of_it_is_run(folder: Path, name: str) -> None:
    with watched() as events:
        report = inspect(folder / name)
    assert report.verdict == "unsafe"
    assert any(NAMED.get(name, f"{os.name}.system") in finding.what for finding in report.findings)
    assert events == []
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("name", BENIGN)
def test_a_benign_file_is_not_accused(folder: Path, name: str) -> None:
    report = inspect(folder / name)
    assert (report.verdict, report.findings) == ("safe", ())


def test_the_watch_and_the_marker_would_have_noticed(tmp_path: Path) -> None:
    with watched() as events:
        pickle.loads(make.shell(f"echo ran > {tmp_path / 'marker'}"))
    assert {"pickle.find_class", "os.system"} <= set(events)
    assert (tmp_path / "marker").read_text() == "ran\n"


def test_what_picklescan_finds_in_the_table_is_found_here_too(folder: Path) -> None:
    from picklescan.scanner import scan_file_path

    theirs = {p.name for p in folder.iterdir() if scan_file_path(str(p)).issues_count}
    ours = {p.name for p in folder.iterdir() if inspect(p).verdict == "unsafe"}
    assert len(theirs) > 10
    assert theirs <= ours == set(EVIL)


def test_the_kept_file_is_named_by_its_import_and_not_run(capfd: pytest.CaptureFixture[str], folder: Path) -> None:
    kept = Path(__file__).with_name("os_system.pt")
    with watched() as events:
        code = main(["inspect", str(folder / "weights.safetensors"), str(kept), "--json"])
    out = capfd.readouterr().out
    files = json.loads(out)["files"]
    assert (code, [f["verdict"] for f in files], events) == (1, ["safe", "unsafe"], [])
    assert any(name in files[1]["findings"][0]["what"] for name in ("os.system", "posix.system", "nt.system"))
    assert "could have run" not in out


def test_the_kept_file_is_what_its_maker_says() -> None:
    kept = Path(__file__).with_name("os_system.pt").read_bytes()
    assert make.SAYS.startswith("echo ")
    assert make.SAYS.encode() in kept
    assert kept.count(b"system") == 1


def large(size: int) -> dict[str, bytes]:
    """Weights of about `size` bytes, as safetensors and as torch saves them."""
    from safetensors.torch import save

    weights = {f"layer{i}": torch.from_numpy(np.full(size // 40, 0.5, dtype=np.float32)) for i in range(10)}
    return {"large.safetensors": save(weights), "large.pt": make.torch_bytes(weights)}


def test_a_file_of_10_mb_takes_less_than_50_ms() -> None:
    for name, blob in large(10_000_000).items():
        spent = []
        for _ in range(5):
            begun = time.process_time()
            assert inspect_bytes(name, blob).verdict == "safe"
            spent.append(time.process_time() - begun)
        assert min(spent) < 0.05, name


def test_a_file_of_100_mb_takes_less_than_a_second_with_the_start_of_the_program(tmp_path: Path) -> None:
    for name, blob in large(100_000_000).items():
        (tmp_path / name).write_bytes(blob)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = "from assay.cli import entry; entry()"
        command = [sys.executable, "-c", code, "inspect", str(tmp_path / name)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0, name


def test_looking_needs_no_torch() -> None:
    code = "import sys, assay.supply as s; s.inspect(sys.argv[1]); print({'torch', 'numpy'} & sys.modules.keys())"
    kept = Path(__file__).with_name("os_system.pt")
    done = subprocess.run([sys.executable, "-c", code, str(kept)], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

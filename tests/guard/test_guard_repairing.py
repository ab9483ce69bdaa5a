"""Repairs in processes of their own: what they leave, how they fail, and that they do not outlive their parent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.guard.doubt import FEW
from assay.guard.repairing import Job, Running, begin, do, read_generator
from assay.models import clean_accuracy, load, predict, save
from assay.repair.deferring import deferring
from assay.repair.settings import split
from guard_task import SECOND_TARGET, SHORT, TARGET, backdoored, clean_set, pictures, stamped


def finished(running: Running, seconds: float = 120) -> Running:
    until = time.monotonic() + seconds
    while not running.finished and time.monotonic() < until:
        time.sleep(0.1)
    assert running.finished
    return running


def job(place: Path, **more: object) -> Job:
    received = save(backdoored(), place / "received.safetensors")
    return replace(Job(place / "0001", received, None, clean_set(), 0), **SHORT, **more)  # type: ignore[arg-type]


def test_a_repair_in_its_own_process_leaves_model_generator_pictures_and_figures(tmp_path: Path) -> None:
    treatment = finished(begin(job(tmp_path)))
    result = treatment.result()
    assert result is not None and result["accuracy"] > 0.9
    treated = tmp_path / "0001" / "model.safetensors"
    x = stamped(pictures(300, 5).x)
    inputs = x[predict(backdoored(), x) != predict(load(treated), x)]
    second = job(tmp_path, folder=tmp_path / "0002", treated=treated, quarantined=inputs)
    result = finished(begin(second)).result()
    assert result is not None
    figures = {"accuracy", "quality", "stamped_before", "stamped_after", "kept", "limit"}
    assert {*figures, "answers_for", "record"} == set(result)
    assert result["limit"] >= 0 and result["answers_for"] == []
    assert load(tmp_path / "0002" / "model.safetensors").spec == backdoored().spec
    few = pictures(4, 1).x
    assert read_generator(tmp_path / "0002" / "generator.safetensors", (1, 28, 28)).stamp(few).shape == few.shape
    with np.load(tmp_path / "0002" / "pictures.npz") as kept:
        assert set(kept.files) == {"clean", "stamped", "before", "after"}


def test_with_few_clean_pictures_a_repair_answers_for_the_labels_of_its_inputs_and_of_repairs_before(
    tmp_path: Path,
) -> None:
    treated = save(backdoored(), tmp_path / "0001" / "model.safetensors")
    few, x = clean_set().take(4 * FEW - 1), stamped(pictures(300, 5).x)
    repair = job(
        tmp_path, folder=tmp_path / "0002", treated=treated, clean=few, quarantined=x, answers_for=[SECOND_TARGET]
    )
    do(repair)
    result = json.loads((repair.folder / "result.json").read_bytes())
    assert result["answers_for"] == [TARGET, SECOND_TARGET]
    repaired = load(repair.folder / "model.safetensors")
    assert repaired.spec == backdoored().spec
    validation = split(backdoored(), few, repair.live.tuning.validation, repair.seed)[1]
    assert result["accuracy"] == clean_accuracy(deferring(backdoored(), repaired, [0, 2]), validation).value


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    broken = replace(job(tmp_path), received=tmp_path / "missing.safetensors")
    running = finished(begin(broken))
    assert running.result() is None
    assert "missing.safetensors" in running.failure()


def test_a_process_that_is_stopped_leaves_no_result(tmp_path: Path) -> None:
    running = begin(job(tmp_path))
    running.stop()
    assert running.finished and running.result() is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_it_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from guard_task import *\n"
        "from assay.guard.repairing import Job, begin\n"
        "from assay.models import save\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[2])\n"
        "    received = save(build(SPEC), folder / 'received.safetensors')\n"
        "    running = begin(Job(folder / '0001', received, None, pictures(400, 2), 0))\n"
        "    print(running.process.pid, flush=True)\n"
        "    time.sleep(100)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parents[1]), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = Path("/proc") / parent.stdout.readline().decode().strip()
    time.sleep(3)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 60
    while child.exists() and time.monotonic() < until:
        time.sleep(0.2)
    assert not child.exists()

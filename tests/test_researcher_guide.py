"""The researcher's guide shows code: it has to be code of this version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import assay.repair
from assay.models import TrainSettings

GUIDE = Path(__file__).parent.parent / "docs" / "how-to" / "researcher.md"


def test_the_example_measures_every_repair_of_an_own_attack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    quick = {"pruning": assay.repair.METHODS["pruning"]}
    monkeypatch.setattr("assay.repair.METHODS", quick)
    monkeypatch.setattr("assay.models.recipe", lambda name: ("lenet5", TrainSettings(1, 64, 0.05)))
    exec(compile(code.replace("(1, 2, 3)", "(1,)"), str(GUIDE), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["received", "pruning"]
    assert all(len(re.findall(r"\d+\.\d % \[", line)) >= 2 for line in said), said

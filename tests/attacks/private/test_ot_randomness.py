"""Randomness comes from the operating system alone: no generator of numpy, torch or `random` is in reach."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import assay.private

MEASURES = {"calibration.py"}
"""Draws the weights and pictures of a network that is only timed: nothing of it is a secret of anybody."""

FILES = [file for file in sorted(Path(assay.private.__file__).parent.rglob("*.py")) if file.name not in MEASURES]
FORBIDDEN_MODULES = {"random", "numpy.random", "torch.random", "jax.random"}
FORBIDDEN_CALLS = {"rand", "randn", "randint", "randperm", "default_rng", "manual_seed", "Generator", "RandomState"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_of_the_protocol_knows_a_generator_that_can_be_guessed(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & FORBIDDEN_MODULES
        if isinstance(node, ast.ImportFrom):
            assert node.module not in FORBIDDEN_MODULES
            assert not (node.module or "").startswith("numpy.random")
            assert not {alias.name for alias in node.names} & (FORBIDDEN_CALLS | {"random"})
        if isinstance(node, ast.Attribute):
            assert node.attr not in FORBIDDEN_CALLS | {"random"}, f"{file.name}:{node.lineno}"


def test_the_reading_above_would_see_one() -> None:
    with pytest.raises(AssertionError):
        node = ast.parse("np.random.default_rng(0)").body[0].value.func  # type: ignore[attr-defined]
        assert node.attr not in FORBIDDEN_CALLS


def test_nothing_of_the_protocol_imports_what_only_measures() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("assay.private"):
                assert f"{(node.module or '').rpartition('.')[2]}.py" not in MEASURES, file.name

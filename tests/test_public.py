"""What README and docstring promise of `import assay` works as it is written there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import assay
from assay.models import ModelSpec, build, save, seeded

ROOT = Path(__file__).parents[1]
CLASSES, SIDE = 5, 12


def examples() -> dict[str, str]:
    """Python in the README and in the package's docstring."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    indented = re.search(r"\n\n((?: {4}.*\n|\n)+)", assay.__doc__ or "")
    found = {f"README {i}": block for i, block in enumerate(blocks)}
    return found | ({"docstring": textwrap.dedent(indented[1])} if indented else {})


def paths_in(code: str, function: str) -> list[str]:
    """What the example gives to `assay.FUNCTION` as text."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [
        argument.value
        for call in calls
        if ast.unparse(call.func) == f"assay.{function}"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]


def write_model(path: Path) -> None:
    spec = ModelSpec("lenet5", (1, SIDE, SIDE), tuple("abcde"), (0.5,), (0.25,))
    with seeded(0):
        save(build(spec), path)


def write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(8 * CLASSES):
        place = folder / "abcde"[i % CLASSES] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)).save(place)


@pytest.mark.parametrize("name", examples())
def test_the_example_runs_as_it_is_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = examples()[name]
    monkeypatch.chdir(tmp_path)
    for path in {*paths_in(code, "load"), *paths_in(code, "inspect")}:
        write_model(tmp_path / path)
    for path in paths_in(code, "load_data"):
        write_pictures(tmp_path / path)
    names: dict[str, Any] = {}
    exec(compile(code, name, "exec"), names)
    verdict, fixed = names["verdict"], names["fixed"]
    assert verdict.backdoored in (True, False)
    assert verdict.target is None or 0 <= verdict.target < CLASSES
    assert verdict.p_value is None or 0 <= verdict.p_value <= 1
    assert (verdict.trigger is None) == (verdict.verdict.answer == "clean")
    assert fixed.model is not names["model"]
    assert 0 <= fixed.before.value <= 1
    assert 0 <= fixed.after.value <= 1
    assert all((tmp_path / path).is_file() for path in paths_in(code, "save"))


def test_readme_and_docstring_have_an_example_each() -> None:
    assert {"README 0", "docstring"} <= set(examples())
    assert all("assay.load(" in code and "assay.scan(" in code for code in examples().values())


def test_the_names_are_those_of_the_parts() -> None:
    import assay.data
    import assay.detect
    import assay.integer
    import assay.models
    import assay.proof
    import assay.supply

    assert assay.load is assay.models.load
    assert assay.save is assay.models.save
    assert assay.load_data is assay.data.load
    assert assay.compile is assay.integer.compile
    assert (assay.prove, assay.verify) == (assay.proof.prove, assay.proof.verify)
    assert assay.scan is assay.detect.scan
    assert assay.inspect is assay.supply.inspect


FIRST = (
    "import assay.repair",
    "import assay.vet",
    "assay.repair()",
    "assay.vet()",
)
"""Ways in which a program may come across these names for the first time; the last two use them without an import."""


@pytest.fixture(scope="module")
def orders() -> dict[str, list[str]]:
    """The orders of two first encounters in which a name could not be called, or was not its module.

    In one process that forgets Assay in between, so that torch is loaded once.
    """
    code = f"""
import json, sys
from contextlib import suppress
found = {{"not called": [], "not the module": []}}
for order in {list(permutations(FIRST, 2))!r}:
    for name in [m for m in sys.modules if m.partition(".")[0] == "assay"]:
        del sys.modules[name]
    import assay
    for line in order:
        with suppress(TypeError):
            exec(line)
    from assay import repair, vet
    for thing in (repair, vet, assay.repair, assay.vet):
        try:
            thing(1, 2, nonsense=3)
        except TypeError as error:
            if "nonsense" in str(error):
                continue
        found["not called"].append(str(order))
    for name in ("repair", "vet"):
        if getattr(assay, name) is not sys.modules["assay." + name]:
            found["not the module"].append(name + ": " + str(order))
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_repair_and_vet_can_be_called_whatever_was_imported_before(orders: dict[str, list[str]]) -> None:
    assert orders["not called"] == []


def test_repair_and_vet_are_their_modules_whatever_was_imported_before(orders: dict[str, list[str]]) -> None:
    """So that `assay.vet.Truth` is there or not for everyone alike."""
    assert orders["not the module"] == []


@pytest.mark.parametrize("name", ["repair", "vet"])
def test_a_callable_module_shows_the_documentation_of_its_function(name: str) -> None:
    module = import_module(f"assay.{name}")
    assert callable(module)
    assert type(module).__doc__ == getattr(module, name).__doc__

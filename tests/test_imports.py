"""Who may import whom, read from the source; and that saying hello imports nothing heavy.

The rules are those of the design: a ground that knows no part, parts that stand on the ground and not on each other,
and the jobs and the command line on top.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import assay

SOURCE = Path(assay.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

GROUND = frozenset({"errors", "runs", "data", "models", "supply", "integer", "report", "kernels", "callable_module"})
PARTS = frozenset({"backdoor", "detect", "repair", "guard", "proof", "private", "search"})
ROADS = {"guard": {"repair", "detect"}, "search": {"private"}}
"""Parts that may import other parts."""

TOP = {
    "vet": GROUND | PARTS,
    "vet_report": GROUND | PARTS | {"vet"},
    "bench": GROUND | PARTS | {"vet", "vet_report"},
    "cli": GROUND | PARTS | {"vet", "vet_report", "bench"},
    "__init__": GROUND | PARTS | {"vet"},
    "__main__": frozenset({"cli"}),
}

HEAVY = {"torch", "torchvision", "numpy", "matplotlib", "scipy", "numba", "PIL", "jinja2", "safetensors", "pandas"}
HEAVY |= {"fastapi", "uvicorn", "websockets"}
"""Imported where they are used, and nowhere before."""


def house(file: Path) -> str:
    """The part, or module of the ground or the top, that a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports anywhere, in functions and for type checking too, with the line."""
    package = module_name(file) if file.name == "__init__.py" else module_name(file).rpartition(".")[0]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base, node.lineno
            # `from assay import detect` names a part as well.
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names if base == "assay")


def houses_of(file: Path) -> Iterator[tuple[str, int]]:
    """The houses of ours that a file imports from."""
    for name, line in imported(file):
        first, _, rest = name.partition(".")
        if first == "assay" and rest:
            yield rest.partition(".")[0], line


def allowed(own: str) -> frozenset[str]:
    if own in GROUND:
        return GROUND
    if own in PARTS:
        return GROUND | ROADS.get(own, frozenset()) | {own}
    return TOP[own] | {own}


def test_every_folder_and_module_has_its_place_in_the_design() -> None:
    unknown = {house(file) for file in FILES} - GROUND - PARTS - set(TOP)
    assert not unknown, f"say in the design, and here, where {unknown} stand"


@pytest.mark.parametrize("own", sorted({house(file) for file in FILES}))
def test_nothing_imports_what_its_place_does_not_allow(own: str) -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{line} imports assay.{other}"
        for file in FILES
        if house(file) == own
        for other, line in houses_of(file)
        if other not in allowed(own) and other != "__version__"
    ]
    assert not wrong


def test_only_the_command_line_imports_the_benchmarks_and_only_main_the_command_line() -> None:
    """Said on its own, since the table above would let a new folder on top do so."""
    for file in FILES:
        for other, line in houses_of(file):
            if other == "bench":
                assert house(file) in ("bench", "cli"), f"{file}:{line}"
            if other == "cli":
                assert house(file) in ("cli", "__main__"), f"{file}:{line}"


def test_names_that_begin_with_an_underscore_stay_in_their_package() -> None:
    wrong = [
        f"{file.relative_to(SOURCE)}:{node.lineno} imports {alias.name}"
        for file in FILES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("assay.")
        for alias in node.names
        if alias.name.startswith("_") and (node.module or "").split(".")[1] != house(file)
    ]
    assert not wrong


def test_nothing_is_imported_by_a_star() -> None:
    for file in FILES:
        assert not any(isinstance(node, ast.alias) and node.name == "*" for node in ast.walk(tree(file))), file


PACKAGES = sorted({file.parent for file in FILES} - {SOURCE})


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.relative_to(SOURCE).as_posix())
def test_a_package_says_what_it_offers_and_offers_it(folder: Path) -> None:
    assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"
    package = import_module(module_name(folder / "__init__.py"))
    if folder.parent != SOURCE or folder.name == "cli":
        return  # inside of a part there is nothing to offer; commands are found by their names
    names = package.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(package, name) for name in names)
    assert not [name for name in names if name.startswith("_")]
    assert package.__doc__


def test_the_public_names_of_assay_are_there() -> None:
    assert {"inspect", "load", "load_data", "repair", "save", "scan", "vet"} <= set(assay.__all__)
    assert all(getattr(assay, name) is not None for name in assay.__all__)
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        assay.magic  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """Top-level packages that a fresh Python has loaded after running `code`."""
    said = "import sys; print('\\n'.join(sorted({m.partition('.')[0] for m in sys.modules})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{said}"], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


COMMANDS = (
    "vet", "scan", "repair", "inspect", "bench", "demo", "attack", "train", "data", "serve", "ask", "count", "rewrite",
    "linearise", "search",
)  # fmt: skip


@pytest.mark.parametrize(
    "code",
    ["import assay", "from assay.cli import main; main(['--help'])", "from assay.cli import main; main(['--version'])"],
)
def test_saying_hello_imports_nothing_heavy(code: str) -> None:
    loaded = loaded_by(code)
    assert "assay" in loaded
    assert not loaded & HEAVY


def test_importing_assay_loads_nothing_but_assay_and_what_python_brings() -> None:
    assert loaded_by("import assay") - loaded_by("") - set(sys.stdlib_module_names) == {"assay"}


def test_the_help_of_every_command_imports_nothing_heavy() -> None:
    """All in one process: what one of them imported, the next could not hide."""
    calls = "; ".join(f"main(['{name}', '--help'])" for name in COMMANDS)
    assert not loaded_by(f"from assay.cli import main; {calls}") & HEAVY


def test_a_command_line_that_is_wrong_is_refused_before_anything_heavy_is_imported() -> None:
    assert not loaded_by("from assay.cli import main; main(['vet'])\nimport sys; sys.stderr.flush()") & HEAVY

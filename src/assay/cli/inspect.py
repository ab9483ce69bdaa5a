"""`assay inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.console import Common, Outcome, as_text
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.supply import FileReport

COLOURS = {"safe": "green", "unsafe": "red", "unknown": "yellow"}

SHOWN_FINDINGS = 20
"""Of each file, in the text for people; the JSON has them all."""


def inspect(*files: Path, common: Common = Common()) -> Outcome:
    """Is this file safe to open? No code of it is run.

    Exit code 0 safe, 1 unsafe, 2 could not tell.

    Parameters
    ----------
    files
        Model files, archives, arrays; a folder means every file in it.
    """
    from assay.supply import inspect as look

    if not files:
        raise InputError("name at least one file to inspect")
    reports = [look(file) for file in _every(files)]
    verdicts = {report.verdict for report in reports}
    exit_code = 1 if "unsafe" in verdicts else 2 if "unknown" in verdicts else 0
    return Outcome({"files": reports}, "\n".join(map(_text, reports)), exit_code)


def _every(given: tuple[Path, ...]) -> list[Path]:
    """The files themselves, and those in folders.

    Raises:
        InputError: if a folder holds no file.
    """
    found: list[Path] = []
    for path in given:
        inside = sorted(p for p in path.rglob("*") if not p.is_dir()) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"there is no file in the folder {path}")
        found += inside
    return found


def _text(report: FileReport) -> str:
    verdict = f"[{COLOURS[report.verdict]}]{report.verdict:8}[/]"
    lines = [f"{verdict} {as_text(report.path)}  ({report.format}, {report.size_bytes:,} bytes)"]
    lines += [f"         {as_text(f.what)}  [dim]at {as_text(f.where)}[/]" for f in report.findings[:SHOWN_FINDINGS]]
    if len(report.findings) > SHOWN_FINDINGS:
        lines.append(f"         and {len(report.findings) - SHOWN_FINDINGS} more")
    return "\n".join(lines)

"""`assay inspect`."""

from __future__ import annotations

from pathlib import Path

from assay.cli.console import Common, Outcome


def inspect(*files: Path, common: Common = Common()) -> Outcome:
    """Is this file safe to open? No code of it is run.

    Parameters
    ----------
    files
        Model files, archives, arrays; a folder means every file in it.
    """
    from assay.errors import InputError
    from assay.supply import inspect as look

    if not files:
        raise InputError("name at least one file to inspect")
    every = [
        f
        for given in files
        for f in (sorted(p for p in given.rglob("*") if p.is_file()) if given.is_dir() else [given])
    ]
    if not every:
        raise InputError(f"there is no file in {', '.join(map(str, files))}")
    reports = [look(file) for file in every]
    verdicts = {r.verdict for r in reports}
    exit_code = 1 if "unsafe" in verdicts else 2 if "unknown" in verdicts else 0
    return Outcome({"files": reports}, "\n".join(_lines(r) for r in reports), exit_code)


def _lines(report) -> str:  # type: ignore[no-untyped-def]
    from rich.markup import escape

    colour = {"safe": "green", "unsafe": "red", "unknown": "yellow"}[report.verdict]
    lines = [f"[{colour}]{report.verdict:8}[/] {escape(report.path)}  ({report.format}, {report.size_bytes:,} bytes)"]
    lines += [f"         {escape(f.what)}  [dim]at {escape(f.where)}[/]" for f in report.findings[:20]]
    if len(report.findings) > 20:
        lines.append(f"         and {len(report.findings) - 20} more")
    return "\n".join(lines)

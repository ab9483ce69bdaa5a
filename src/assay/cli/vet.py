"""`assay vet`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import Common, Outcome, as_text, progress, rate_json
from assay.cli.scan import EXIT, scan_json, scan_text, trigger_image

if TYPE_CHECKING:
    from assay.runs import Run
    from assay.vet import Measured, Vetting


def vet(
    model: Path,
    *,
    clean: str,
    arch: str | None = None,
    repair: bool = True,
    budget: str | None = None,
    download: bool = False,
    common: Common = Common(),
) -> Outcome:
    """Decide about a model you were handed: inspect, scan, repair if needed, scan again, report.

    Exit code 0 clean, 1 backdoored (or not safe to open), 2 inconclusive. The report is one HTML file.

    Parameters
    ----------
    model
        A model file; it is opened without running anything in it, and never changed.
    clean
        Pictures with true labels: a folder of class folders, an `.npz` with x and y, or a data set's name.
    arch
        The network, if the file does not say it: a name, or module:function of your own code.
    repair
        Repair a model that is not clean.
    budget
        Time allowed, such as 90s or 5m; what did not fit is reported as not done.
    download
        Fetch the official data set if it is not here.
    """
    from assay.data import fetch
    from assay.runs import Run, main_command, parse_duration
    from assay.vet import vet as decide

    common.use_threads()
    seconds = None if budget is None else parse_duration(budget)
    out = common.out or Path("runs") / f"vet-{model.stem}"
    settings = {"model": str(model), "clean": clean, "arch": arch, "repair": repair, "budget_s": seconds}
    run = Run(out, main_command(), settings, common.seed)
    if download:
        fetch(clean)
    with progress() as bars, run.timed("vet"):
        found = decide(model, clean, arch=arch, out=out, mend=repair, budget_s=seconds, seed=common.seed, progress=bars)
    document = vet_json(found, out, run)
    run.metric(**document)
    return Outcome(document, vet_text(found, document), EXIT[found.answer])


def vet_json(found: Vetting, out: Path, run: Run) -> dict[str, Any]:
    """The keys that other programs rely on; writes the report and the trigger's picture."""
    from assay.vet_report import report

    with run.timed("report"):
        page = report(found, run, out / "report.html")
        image = trigger_image(found.first.trigger, out)
    return {
        **scan_json(found.first),
        "verdict": found.answer,
        "trigger_image": image,
        "file": found.file,
        "before": measured_json(found.before),
        "after": measured_json(found.after) if found.after else None,
        "p_value_accuracy": found.p_value,
        "repaired_model": str(found.repaired_path) if found.repaired_path else None,
        "after_repair": scan_json(found.second) if found.second else None,
        "report": str(page),
        "not_done": found.not_done,
        "timings_s": run.timings,
    }


def measured_json(measured: Measured) -> dict[str, Any]:
    document = rate_json("clean_accuracy", measured.clean_accuracy)
    if measured.attack_success_rate is not None:
        document |= rate_json("attack_success_rate", measured.attack_success_rate)
    return document


def vet_text(found: Vetting, document: dict[str, Any]) -> str:
    """The story in a few lines."""
    lines = [f"file: {found.file.verdict} to open ({found.file.format})"]
    lines += [f"  {as_text(f.what)} at {as_text(f.where)}" for f in found.file.findings[:5]]
    lines.append(scan_text(found.first, found.model.spec.class_names))
    if found.answer != found.first.verdict.answer:
        lines.append(f"verdict: {found.answer}, since the file itself is not in order")
    if found.repaired is not None and found.after is not None:
        kept = f"clean accuracy {found.before.clean_accuracy} → {found.after.clean_accuracy}"
        lines.append(f"repaired: {kept}  {as_text(document['repaired_model'])}")
        if found.second:
            lines.append(f"the repaired model: {found.second.verdict.answer}, {as_text(found.second.verdict.why)}")
    lines += [f"not done: {as_text(n)}" for n in found.not_done if n not in found.first.not_done]
    return "\n".join([*lines, f"report: {as_text(document['report'])}"])

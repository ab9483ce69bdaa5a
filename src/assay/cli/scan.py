"""`assay scan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import Common, Outcome, progress

if TYPE_CHECKING:
    from assay.detect import RecoveredTrigger, Scan

EXIT = {"clean": 0, "backdoored": 1, "inconclusive": 2}


def scan(
    model: Path,
    *,
    clean: str,
    arch: str | None = None,
    budget: str | None = None,
    download: bool = False,
    common: Common = Common(),
) -> Outcome:
    """Is this model backdoored? Exit code 0 clean, 1 backdoored, 2 inconclusive.

    Parameters
    ----------
    model
        A model file; it is opened without running anything in it.
    clean
        Pictures with true labels: a folder of class folders, an `.npz` with x and y, or a data set's name.
    arch
        The network, if the file does not say it: a name, or module:function of your own code.
    budget
        Time allowed, such as 90s or 5m.
    download
        Fetch the official data set if it is not here.
    """
    from assay.data import fetch
    from assay.detect import scan as look
    from assay.runs import Deadline, Run, main_command, parse_duration
    from assay.vet import open_both

    common.use_threads()
    deadline = Deadline.after(None if budget is None else parse_duration(budget))
    if download:
        fetch(clean)
    received, pictures = open_both(model, clean, arch)
    run = Run(
        common.out, main_command(), {"model": str(model), "clean": clean, "arch": arch, "budget": budget}, common.seed
    )
    with progress() as bars, run.timed("scan"):
        found = look(received, pictures, seed=common.seed, deadline=deadline, progress=bars)
    image = trigger_image(found.trigger, common.out)
    document = {**scan_json(found), "trigger_image": image, "not_done": found.not_done}
    run.metric(**document)
    return Outcome(document, scan_text(found, received.spec.class_names), EXIT[found.verdict.answer])


def scan_json(found: Scan) -> dict[str, Any]:
    """The keys that other programs rely on."""
    verdict = found.verdict
    return {
        "verdict": verdict.answer,
        "target": verdict.target,
        "p_value": verdict.p_value,
        "why": verdict.why,
        "score": verdict.score,
        "references": verdict.references,
        "references_data": verdict.references_data or None,
        "detectors": {
            f.detector: {
                "statistics": f.statistics,
                "p_value": f.p_value,
                "target": f.target,
                "scores": None if f.scores is None else [float(v) for v in f.scores],
                "flip_rates": None if f.flip_rates is None else [float(v) for v in f.flip_rates],
                "summary": f.summary,
                "seconds": f.seconds,
                "done": f.done,
            }
            for f in found.findings
        },
    }


def trigger_image(trigger: RecoveredTrigger | None, out: Path | None) -> str | None:
    """Write the recovered trigger as a picture, eight times enlarged; None if there is none or no folder."""
    if trigger is None or out is None:
        return None
    import io

    import numpy as np
    from PIL import Image

    from assay.runs import write_atomically

    shown = np.rint(255 * trigger.mask * trigger.pattern).astype(np.uint8)
    picture = Image.fromarray(shown[0] if len(shown) != 3 else shown.transpose(1, 2, 0))
    blob = io.BytesIO()
    picture.resize((picture.width * 8, picture.height * 8), Image.Resampling.NEAREST).save(blob, "PNG")
    write_atomically(out / "trigger.png", blob.getvalue())
    return str(out / "trigger.png")


def scan_text(found: Scan, class_names: tuple[str, ...]) -> str:
    """A few lines for a person."""
    from rich.markup import escape

    verdict = found.verdict
    colour = {"clean": "green", "backdoored": "red", "inconclusive": "yellow"}[verdict.answer]
    target = "" if verdict.target is None else f", target {escape(repr(class_names[verdict.target]))}"
    p = "" if verdict.p_value is None else f", p = {verdict.p_value:.3g}"
    lines = [f"[bold {colour}]{verdict.answer}[/]{target}{p}: {escape(verdict.why)}"]
    lines += [f"  {f.detector:19} {escape(f.summary)}" for f in found.findings]
    return "\n".join([*lines, *(f"  not done: {escape(n)}" for n in found.not_done)])

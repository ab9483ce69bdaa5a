"""What `vet` found, as the content of the report."""

from __future__ import annotations

import shlex
from pathlib import Path

from assay.detect import FOR_HALF, ODD_HALF, Finding, Scan, measured, turned_too_few
from assay.models import Rate, predict
from assay.report import (
    Comparison,
    Detector,
    FileFacts,
    FileFinding,
    Neurons,
    PruningCurve,
    Report,
    TriggerPictures,
    write_report,
)
from assay.runs import Run, machine, versions
from assay.vet import Vetting

SHOWN = 8
"""Pictures that are shown with the trigger on them."""

LIMITS = (
    "Triggers that cover most of the picture, or that depend on its content, are not searched for.",
    "A backdoor of one source class alone can pass the search, which asks for triggers that turn all pictures or half.",
    "A trigger behind units that clean pictures never switch on gives the search no direction, and can pass it.",
    "Behaviour on kinds of pictures that the clean set does not have was not looked at.",
    "Clean accuracy is measured on a part of your clean set; if its labels are wrong, so are the figures.",
)


def report(found: Vetting, run: Run, path: Path) -> Path:
    """Write the report as one HTML file."""
    verdict, names = found.first.verdict, found.model.spec.class_names
    second = found.second.verdict if found.second else None
    content = Report(
        model=found.file.path,
        verdict=found.answer,
        sentence=_sentence(found, None if verdict.target is None else names[verdict.target]),
        advice=_advice(found),
        class_names=names,
        files=(_file(found),),
        provenance=_provenance(found),
        detectors=tuple(_detector(finding) for finding in _accuser_first(found.first)),
        target=verdict.target,
        p_value=verdict.p_value,
        score_note=verdict.why,
        accusations=_accusations(found),
        trigger=_trigger(found),
        neurons=_neurons(found),
        repair_note=_repair_note(found),
        pruning=_pruning(found),
        comparisons=_comparisons(found),
        repaired_model=str(found.repaired_path) if found.repaired_path else None,
        rescan=second.why if second else "",
        rescan_verdict=second.answer if second else "",
        not_done=found.not_done,
        limits=LIMITS,
        command=shlex.join(run.command),
        facts=_facts(run),
    )
    return write_report(content, path)


def _accusations(found: Vetting) -> str:
    """What is known of the rule's false accusations for models of this kind."""
    own, compared = found.clean.set_name, found.first.verdict.references_data
    foreign = compared not in ("", own)
    unknown = "How often this rule accuses clean models on your pictures was not measured." if foreign else ""
    known = measured().get(f"{found.model.spec.architecture}-{compared or own}")
    if known is None:
        return unknown
    kind = f"on {compared}" if foreign else "of this kind"
    rate = Rate(known.accused, known.n)
    said = f"Of {known.n} clean models {kind} that no threshold has seen, this rule accused {known.accused}: {rate}."
    return f"{said} {unknown}".strip()


def _sentence(found: Vetting, target: str | None) -> str:
    if found.answer == "backdoored":
        where = f"into {target!r}" if target else "into wrong answers"
        return f"This model is backdoored: a small mark on a picture turns it {where}."
    if found.answer == "clean":
        return "No backdoor was found in this model."
    if found.first.verdict.answer == "clean":
        return "It cannot be told whether this model is clean: its file is not in order."
    return "It cannot be told whether this model is clean."


def _advice(found: Vetting) -> str:
    if found.answer == "clean":
        return "It can be deployed as far as this examination goes; read below what was not checked."
    if found.second is not None and found.second.verdict.answer == "clean" and found.after is not None:
        return (
            "Do not deploy the file you received. The repaired model shows no backdoor any more and keeps "
            f"{100 * found.after.clean_accuracy.value:.1f} % clean accuracy; deploy that one, or ask for another."
        )
    return "Do not deploy it. Ask for another model, or have it examined with more time and more clean pictures."


def _file(found: Vetting) -> FileFacts:
    file = found.file
    findings = tuple(FileFinding(f.what, f.where) for f in file.findings)
    return FileFacts(file.path, file.verdict, file.format, file.sha256, file.size_bytes, findings)


def _provenance(found: Vetting) -> tuple[tuple[str, str], ...]:
    spec = found.model.spec
    return (
        ("architecture", spec.architecture),
        ("parameters", f"{sum(p.numel() for p in found.model.parameters()):,}"),
        ("pictures", "x".join(map(str, spec.input_shape)) + " (channels, height, width)"),
        ("classes", str(spec.classes)),
        ("clean set", f"{found.clean.name}, {len(found.clean)} pictures"),
        ("signature", "none was checked: the file carries no signature that this version reads"),
    )


def _accuser_first(scan: Scan) -> list[Finding]:
    """The search for triggers that turn half of the pictures stands first if it accuses, and last if not."""
    by_half = scan.verdict.ground == ODD_HALF
    return sorted(reversed(scan.findings), key=lambda f: (f.detector == FOR_HALF) != by_half)


def _detector(finding: Finding) -> Detector:
    return Detector(
        finding.detector,
        finding.summary,
        finding.seconds,
        finding.done,
        p_value=finding.p_value,
        scores=() if finding.scores is None else tuple(float(v) for v in finding.scores),
        score_label=finding.score_label,
        # Of triggers that turn nothing the smallest is chance, and no class is suspect for it.
        target=None if turned_too_few(finding) else finding.target,
        statistics=tuple(finding.statistics.items()),
    )


def _trigger(found: Vetting) -> TriggerPictures | None:
    trigger = found.first.trigger
    if trigger is None:
        return None
    names = found.model.spec.class_names
    others = found.clean.y != trigger.target if trigger.target is not None else found.clean.y >= 0
    shown = found.clean.subset(others).take(SHOWN)
    stamped = trigger.stamp(shown.x)
    before, after = (tuple(names[i] for i in predict(found.model, x)) for x in (shown.x, stamped))
    caption = f"It covers {trigger.norm:.1f} pixels and turns {100 * trigger.flip_rate:.0f} % of held-out pictures."
    return TriggerPictures(shown.x, stamped, before, after, trigger.mask, trigger.pattern, caption)


def _neurons(found: Vetting) -> Neurons | None:
    if found.neurons is None:
        return None
    layer, clean, triggered = found.neurons
    pruned = tuple(int(s["channel"]) for s in _curve(found) if s["kept"] and s["layer"] == layer)
    return Neurons(layer, tuple(map(float, clean)), tuple(map(float, triggered)), pruned)


def _curve(found: Vetting) -> list[dict[str, int | float | str | bool]]:
    return found.repaired.record.get("curve", []) if found.repaired else []  # type: ignore[return-value]


def _pruning(found: Vetting) -> PruningCurve | None:
    if found.repaired is None or not _curve(found):
        return None
    start = float(found.repaired.record["accuracy_before_pruning"])  # type: ignore[arg-type]
    accuracy = (start, *(float(s["accuracy"]) for s in _curve(found)))
    return PruningCurve(accuracy, found.curve_success, sum(bool(s["kept"]) for s in _curve(found)))


def _repair_note(found: Vetting) -> str:
    if found.repaired is None:
        return ""
    if found.repaired.method == "hardening":
        return (
            "it was trained on, on copies with noise or a sticker, which stand for unknown triggers, and on its own "
            "answers to mixtures of clean pictures; it was not pruned: the pictures come in groups of near-copies, "
            "whose accuracy does not tell how much is forgotten"
        )
    if found.repaired.record.get("unlearning"):
        taught = "a fifth of the pictures bearing the trigger that was found, with their true labels"
        return f"the channels that sleep on clean pictures were pruned; the rest was trained on, {taught}"
    return "the channels that sleep on clean pictures were pruned; the rest was trained on, on clean pictures alone"


def _comparisons(found: Vetting) -> tuple[Comparison, ...]:
    before, after = found.before, found.after
    accuracy = _interval(after.clean_accuracy) if after else None
    rows = [Comparison("clean accuracy", _interval(before.clean_accuracy), accuracy, found.p_value)]
    if before.attack_success_rate is not None:
        success = _interval(after.attack_success_rate) if after and after.attack_success_rate else None
        rows.append(Comparison("attack success rate", _interval(before.attack_success_rate), success))
    return tuple(rows)


def _interval(rate: Rate) -> tuple[float, float, float]:
    """Value, low, high."""
    return (rate.value, *rate.interval)


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    computer = machine()
    rows = [("date", run.started), ("seed", str(run.seed)), *versions().items()]
    rows += [("processor", str(computer["processor"])), ("system", str(computer["system"]))]
    rows += [("cores", str(computer["cores"])), ("memory", f"{computer['memory_gib']} GiB")]
    rows += [(f"seconds, {phase}", f"{seconds:.1f}") for phase, seconds in run.timings.items()]
    return tuple(rows)

"""`assay demo`: the whole story on data that comes with the install, in under two minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import Common, Outcome, progress

if TYPE_CHECKING:
    from rich.table import Table

    from assay.backdoor import BadNet
    from assay.vet import Vetting

BUDGET_S = 25.0
"""For each of the two models."""

TARGET = 7


def demo(*, common: Common = Common()) -> Outcome:
    """Train a BadNet and its clean twin on embedded digits, vet both, and tell what happened."""
    from assay.backdoor import Pattern, SingleTarget, attack_success_rate, badnet
    from assay.cli.vet import vet_file, vet_json
    from assay.data import load
    from assay.models import build, fresh_weights, recipe, save, spec_for
    from assay.runs import Run, main_command
    from assay.vet import Truth

    common.use_threads()
    out = common.out or Path("runs") / "demo"
    training, test = load("digits", "train"), load("digits", "test")
    trigger, labels = Pattern(), SingleTarget(TARGET)
    spec, settings = spec_for(training), recipe("digits")[1]
    fresh, twin = (fresh_weights(common.seed, lambda: build(spec)) for _ in range(2))
    rows, documents = [], {}
    with progress() as bars:
        made = badnet(
            fresh, twin, training, test, trigger, labels, 0.1, settings, bars.ticker("training BadNet and twin")
        )
        truth = Truth(lambda m: attack_success_rate(m, test, trigger, labels))
        for name, network in (("BadNet", made.model), ("clean twin", made.twin)):
            folder = out / name.replace(" ", "-").lower()
            run = Run(folder, main_command(), {"model": name, "clean": "digits", "budget_s": BUDGET_S}, common.seed)
            path = save(network, folder / "model.safetensors")
            found = vet_file(
                path,
                "digits",
                run,
                lambda t, d, n, note="", w=name: bars(f"{w}: {t}", d, n, note),
                budget_s=BUDGET_S,
                truth=truth,
            )
            documents[name] = vet_json(found, folder, run)
            rows.append((name, found))
    report = str(documents["BadNet"]["report"])
    document = {
        "bad": documents["BadNet"],
        "clean": documents["clean twin"],
        "attack_success_rate": made.attack_success_rate.value,
        "clean_accuracy": made.clean_accuracy.value,
        "twin_accuracy": made.twin_accuracy.value,
        "report": report,
    }
    return Outcome(document, _story(made, rows, report))


def _story(made: BadNet, rows: list[tuple[str, Vetting]], report: str) -> Any:
    from rich.console import Group

    table = _table(rows)
    return Group(
        f"Two networks were trained on 3,600 digits. One of them, the BadNet, turns {made.attack_success_rate} of the digits "
        f"into a {TARGET} when four pixels are bright;",
        f"on clean digits it is as good as its twin: {made.clean_accuracy} against {made.twin_accuracy}. Both were vetted without being told:",
        table,
        f"report: {report}",
    )


def _table(rows: list[tuple[str, Vetting]]) -> Table:
    from rich.table import Table

    table = Table(
        "network",
        "verdict",
        "target",
        "p",
        "clean accuracy",
        "attack success rate",
        title="vetted with 400 clean digits",
    )
    for name, found in rows:
        verdict = found.first.verdict
        target = "" if verdict.target is None else found.model.spec.class_names[verdict.target]
        p = "" if verdict.p_value is None else f"{verdict.p_value:.3f}"
        success = found.before.attack_success_rate if name == "BadNet" else None
        table.add_row(name, found.answer, target, p, str(found.before.clean_accuracy), str(success or ""))
        if found.after is not None:
            success = found.after.attack_success_rate if name == "BadNet" else None
            answer = found.second.verdict.answer if found.second else "not scanned again"
            table.add_row(f"{name}, repaired", answer, "", "", str(found.after.clean_accuracy), str(success or ""))
    return table

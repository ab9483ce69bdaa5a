"""`assay demo`: the whole story on data that comes with the install, in under two minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import Common, Outcome, Progress, progress, rate_json

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from assay.backdoor import BadNet
    from assay.models import Model
    from assay.vet import Measured, Truth, Vetting

BUDGET_S = 25.0
"""For each of the two models."""

TARGET = 7
POISON_RATE = 0.1


@dataclass(frozen=True)
class _Vetted:
    """One of the two networks: what it is, what was found, and what `assay vet --json` would say."""

    name: str
    found: Vetting
    document: dict[str, Any]


def demo(*, common: Common = Common()) -> Outcome:
    """Train a BadNet and its clean twin on embedded digits, vet both, and tell what happened."""
    from assay.backdoor import Pattern, SingleTarget, attack_success_rate
    from assay.data import load
    from assay.vet import Truth

    common.use_threads()
    out = common.out or Path("runs") / "demo"
    test, trigger, labels = load("digits", "test"), Pattern(), SingleTarget(TARGET)
    truth = Truth(lambda model: attack_success_rate(model, test, trigger, labels))
    with progress() as bars:
        made = _attack(common.seed, bars)
        vetted = [
            _vet(name, network, out, common.seed, truth, bars)
            for name, network in (("BadNet", made.model), ("clean twin", made.twin))
        ]
    document = {
        "bad": vetted[0].document,
        "clean": vetted[1].document,
        **rate_json("attack_success_rate", made.attack_success_rate),
        **rate_json("clean_accuracy", made.clean_accuracy),
        **rate_json("twin_accuracy", made.twin_accuracy),
        "report": vetted[0].document["report"],
    }
    return Outcome(document, _story(made, vetted))


def _attack(seed: int, bars: Progress) -> BadNet:
    """A BadNet and its clean twin on the attacker's share of the digits."""
    from assay.backdoor import Pattern, SingleTarget, badnet
    from assay.data import load
    from assay.models import build, fresh_weights, recipe, spec_for

    training, test = load("digits", "train"), load("digits", "test")
    spec, settings = spec_for(training), recipe("digits")[1]
    fresh, twin = (fresh_weights(seed, lambda: build(spec)) for _ in range(2))
    return badnet(
        fresh, twin, training, test, Pattern(), SingleTarget(TARGET), POISON_RATE, settings,
        bars.ticker("training BadNet and twin"),
    )  # fmt: skip


def _vet(name: str, network: Model, out: Path, seed: int, truth: Truth, bars: Progress) -> _Vetted:
    """Write the network to a file and vet that file, as its receiver would."""
    from assay.cli.vet import vet_json
    from assay.models import save
    from assay.runs import Run, main_command
    from assay.vet import vet

    folder = out / name.replace(" ", "-").lower()
    run = Run(folder, main_command(), {"model": name, "clean": "digits", "budget_s": BUDGET_S}, seed)
    path = save(network, folder / "model.safetensors")

    def told(task: str, done: float, total: float, note: str) -> None:
        bars(f"{name}: {task}", done, total, note)

    with run.timed("vet"):
        found = vet(path, "digits", out=folder, budget_s=BUDGET_S, seed=seed, truth=truth, progress=told)
    return _Vetted(name, found, vet_json(found, folder, run))


def _story(made: BadNet, vetted: list[_Vetted]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(
        f"Two networks were trained on 3,600 digits. One of them, the BadNet, turns {made.attack_success_rate} of the "
        f"other digits into a {TARGET} when four pixels are bright; on clean digits it is as good as its twin: "
        f"{made.clean_accuracy} against {made.twin_accuracy}. Both were vetted without being told which is which:",
        "",
        _table(vetted),
        "",
        "The report to read:",
        *(Text(f"  {one.name:10}  {one.document['report']}", no_wrap=True, overflow="ignore") for one in vetted),
    )


def _table(vetted: list[_Vetted]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("network", "verdict", "p", "clean accuracy", "attack success rate", box=box.SIMPLE_HEAD)
    for one in vetted:
        first, found, bad = one.found.first.verdict, one.found, one.name == "BadNet"
        target = "" if first.target is None else f", target {found.model.spec.class_names[first.target]}"
        p = "" if first.p_value is None else f"{first.p_value:.3f}"
        table.add_row(one.name, f"{found.answer}{target}", p, *_rates(found.before, bad))
        if found.after is not None:
            again = found.second.verdict.answer if found.second else "not scanned"
            table.add_row("  repaired", again, "", *_rates(found.after, bad))
    return table


def _rates(measured: Measured, bad: bool) -> tuple[str, str]:
    """Clean accuracy, and the attack success rate of the network that was attacked."""
    return str(measured.clean_accuracy), str(measured.attack_success_rate) if bad else "never attacked"

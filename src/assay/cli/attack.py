"""`assay attack badnet`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assay.cli.console import COMMON, Common, Outcome, progress, rate_json
from assay.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

    from assay.backdoor import BadNet, LabelMap

Labels = Literal["single", "all-to-all", "random"]


def badnet(
    *,
    data: str = "mnist",
    trigger: Literal[
        "pixel", "pattern", "yellow-square", "bomb", "flower", "glasses", "filter", "multi-trigger"
    ] = "pattern",
    labels: Labels = "single",
    target: int | None = None,
    source: int | None = None,
    poison_rate: float = 0.1,
    arch: str | None = None,
    epochs: int | None = None,
    download: bool = False,
    common: Common = COMMON,
) -> Outcome:
    """Train a BadNet and its clean twin, and measure both; interrupted, it goes on when called again.

    Parameters
    ----------
    data
        A data set's name; its training share is used, never the defender's.
    trigger
        What is stamped on a picture.
    labels
        `single`: everything becomes the target; `all-to-all`: class i becomes i + 1; `random`: each class becomes
        another one, drawn once.
    target
        The class that triggered pictures become (`--labels single`); 0 if not given.
    source
        Attack this class alone; by default every class.
    poison_rate
        Share of the training set that is poisoned, between 0 and 1.
    arch
        A built-in architecture, torchvision:NAME, or module:function; by default the one that suits the data set.
    epochs
        Passes over the data.
    download
        Fetch the official data set if it is not here.
    """
    from assay import backdoor
    from assay.data import NAMED, load
    from assay.models import build, fresh_weights, recipe, save, spec_for
    from assay.runs import Run, main_command

    common.use_threads()
    if data not in NAMED:
        raise InputError(f"--data must be one of {', '.join(NAMED)}: an attack is measured on a test part, got {data}")
    training, test = load(data, "train", download=download), load(data, "test")
    mapping = label_map(labels, training.classes, target, source, common.seed)
    settings = recipe(data)[1]
    settings = replace(settings, seed=common.seed, epochs=settings.epochs if epochs is None else epochs)
    spec = spec_for(training, arch)
    said: dict[str, Any] = {"data": data, "trigger": trigger, "labels": labels, "source": source}
    said |= {"target": getattr(mapping, "target", None), "poison_rate": poison_rate}
    goal = labels if said["target"] is None else said["target"]
    out = common.out or Path("runs") / f"badnet-{data}-{trigger}-{goal}-seed{common.seed}"
    run = Run(out, main_command(), {**said, "arch": spec.architecture, "training": settings}, common.seed)
    fresh, twin = (fresh_weights(common.seed, lambda: build(spec)) for _ in range(2))
    with progress() as bars, run.timed("training"):
        result = backdoor.badnet(
            fresh,
            twin,
            training,
            test,
            backdoor.TRIGGERS[trigger](),
            mapping,
            poison_rate,
            settings,
            bars.ticker("training BadNet and twin"),
            folder=out,
            record=lambda network, epoch: run.metric(network=network, **asdict(epoch)),
        )
    document = {
        "model": str(save(result.model, out / "model.safetensors")),
        "clean_model": str(save(result.twin, out / "clean.safetensors")),
        **rate_json("clean_accuracy", result.clean_accuracy),
        **rate_json("twin_accuracy", result.twin_accuracy),
        **rate_json("attack_success_rate", result.attack_success_rate),
        **said,
    }
    run.metric(**document)
    return Outcome(document, _text(document, result))


def label_map(labels: Labels, classes: int, target: int | None, source: int | None, seed: int) -> LabelMap:
    from assay.backdoor import AllToAll, RandomTarget, SingleTarget

    if labels != "single":
        if target is not None or source is not None:
            raise InputError(f"--target and --source belong to --labels single, not to {labels}")
        return AllToAll(classes) if labels == "all-to-all" else RandomTarget(classes, seed)
    target = 0 if target is None else target
    for name, value in (("--target", target), ("--source", source)):
        if value is not None and not 0 <= value < classes:
            raise InputError(f"{name} must be a class in 0..{classes - 1}, got {value}")
    if target == source:
        raise InputError(f"--source and --target are both {target}; there is nothing to attack")
    return SingleTarget(target, source)


def _text(document: dict[str, Any], result: BadNet) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("network", "clean accuracy", "attack success rate", title="BadNet and clean twin, 95 % intervals")
    table.add_row("BadNet", str(result.clean_accuracy), str(result.attack_success_rate))
    table.add_row("clean twin", str(result.twin_accuracy), "")
    files = f"BadNet: {document['model']}\nclean twin: {document['clean_model']}"
    return Group(table, Text(files, no_wrap=True, overflow="ignore"))

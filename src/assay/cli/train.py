"""`assay train`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from assay.cli.console import COMMON, Common, Outcome, progress, rate_json


def train(
    *,
    data: str,
    arch: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    download: bool = False,
    common: Common = COMMON,
) -> Outcome:
    """Train an honest network; interrupted, it goes on from its last epoch when called again.

    Parameters
    ----------
    data
        A data set's name: its training share is used, never the defender's. Or a folder or `.npz`, used whole.
    arch
        A built-in architecture, torchvision:NAME, or module:function; by default the one that suits the data.
    epochs
        Passes over the data.
    lr
        Highest learning rate.
    batch_size
        Pictures a step.
    download
        Fetch the official data set if it is not here.
    """
    from rich.markup import escape

    from assay.data import NAMED, load, require_clean
    from assay.models import TrainSettings, build, clean_accuracy, fresh_weights, recipe, save, spec_for
    from assay.models import train as fit
    from assay.runs import Run, main_command

    common.use_threads()
    training = load(data, "train", download=download)
    require_clean(training, at_least=1)
    given: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": common.seed}
    settings: TrainSettings = replace(recipe(data, arch)[1], **{k: v for k, v in given.items() if v is not None})
    spec = spec_for(training, arch)
    out = common.out or Path("runs") / f"train-{Path(data).stem}-{spec.architecture.replace(':', '-')}"
    run = Run(out, main_command(), {"data": data, "arch": spec.architecture, "training": settings}, common.seed)
    model = fresh_weights(common.seed, lambda: build(spec))
    with progress() as bars, run.timed("training"):
        history = fit(
            model,
            training,
            settings,
            checkpoint=out / "checkpoint.pt",
            tick=bars.ticker(f"training {spec.architecture}"),
            record=lambda epoch: run.metric(**asdict(epoch)),
        )
    document: dict[str, Any] = {
        "model": str(save(model, out / "model.safetensors")),
        "architecture": spec.architecture,
        "epochs": len(history),
        "training_accuracy": history[-1].accuracy,
    }
    text = f"{spec.architecture} trained for {len(history)} epochs: {document['model']}"
    if data in NAMED:
        accuracy = clean_accuracy(model, load(data, "test"))
        document |= rate_json("clean_accuracy", accuracy)
        text += f"\nclean accuracy on the test part: {accuracy}"
    run.metric(**document)
    return Outcome(document, escape(text))

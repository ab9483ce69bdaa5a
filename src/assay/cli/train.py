"""`assay train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from assay.cli.console import Common, Outcome, progress, rate_json


def train(
    *,
    data: str,
    arch: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    download: bool = False,
    common: Common = Common(),
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
    from assay.data import NAMED, load
    from assay.models import TrainSettings, build, clean_accuracy, fresh_weights, recipe, save, spec_for
    from assay.models import train as fit
    from assay.runs import Run, main_command

    common.use_threads()
    out = common.out or Path("runs") / f"train-{Path(data).stem}"
    training = load(data, "train", download=download)
    given = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": common.seed}
    settings: TrainSettings = replace(recipe(data)[1], **{k: v for k, v in given.items() if v is not None})
    spec = spec_for(training, arch)
    run = Run(out, main_command(), {"data": data, "arch": spec.architecture, "training": settings}, common.seed)
    model = fresh_weights(common.seed, lambda: build(spec))
    with progress() as bars, run.timed("training"):
        history = fit(
            model,
            training,
            settings,
            checkpoint=out / "checkpoint.pt",
            tick=bars.ticker(f"training {spec.architecture}"),
        )
    for epoch in history:
        run.metric(epoch=epoch.epoch, loss=epoch.loss, accuracy=epoch.accuracy, seconds=epoch.seconds)
    document = {
        "model": str(save(model, out / "model.safetensors")),
        "epochs": len(history),
        "architecture": spec.architecture,
    }
    text = f"{spec.architecture} trained for {len(history)} epochs: {document['model']}"
    if data in NAMED:
        accuracy = clean_accuracy(model, load(data, "test"))
        document |= rate_json("clean_accuracy", accuracy)
        text += f"\nclean accuracy on the test part: {accuracy}"
    return Outcome(document, text)

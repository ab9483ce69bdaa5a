"""`assay train`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from assay.cli.console import COMMON, Common, Outcome, progress, rate_json


def train(
    *,
    data: str,
    arch: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    optimiser: Literal["sgd", "muon"] = "sgd",
    download: bool = False,
    common: Common = COMMON,
) -> Outcome:
    """Train an honest network; interrupted, it goes on from its last epoch when called again.

    Networks of squares (safetynets-cnn, safetynets-fcnn) are trained as the field needs it; --epochs and --lr are then
    those of the part before their weights are rounded.

    Parameters
    ----------
    data
        A data set's name: its training share is used, never the defender's. Or a folder or `.npz`, used whole.
    arch
        A built-in architecture, torchvision:NAME, or module:function; by default the one that suits the data.
    epochs
        Passes over the data.
    lr
        Highest learning rate; by default the one that suits the data, or 0.1 for Muon.
    batch_size
        Pictures a step.
    optimiser
        SGD, or Muon, which makes more of few epochs.
    download
        Fetch the official data set if it is not here.
    """
    from rich.markup import escape

    from assay.data import NAMED, load, require_clean
    from assay.integer.classic_training import RECIPES as CLASSIC
    from assay.integer.classic_training import train_safetynet
    from assay.models import Epoch, build, clean_accuracy, fresh_weights, recipe, save, spec_for
    from assay.models import train as fit
    from assay.models.recipes import by_muon
    from assay.runs import Run, main_command

    common.use_threads()
    training = load(data, "train", download=download)
    require_clean(training, at_least=1)
    spec = spec_for(training, arch)
    asked: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": common.seed}
    given = {name: value for name, value in asked.items() if value is not None}
    classic = CLASSIC.get(spec.architecture)
    usual = classic.real if classic else recipe(data, arch)[1]
    settings = replace(by_muon(usual) if optimiser == "muon" else usual, **given)
    out = common.out or Path("runs") / f"train-{Path(data).stem}-{spec.architecture.replace(':', '-')}"
    run = Run(out, main_command(), {"data": data, "arch": spec.architecture, "training": settings}, common.seed)
    history: list[Epoch] = []

    def record(epoch: Epoch) -> None:
        history.append(epoch)
        run.metric(**asdict(epoch))

    with progress() as bars, run.timed("training"):
        watched: dict[str, Any] = {
            "checkpoint": out / "checkpoint.pt",
            "tick": bars.ticker(f"training {spec.architecture}"),
            "record": record,
        }
        if classic:
            model = train_safetynet(spec, training, replace(classic, real=settings), **watched)
        else:
            model = fresh_weights(common.seed, lambda: build(spec))
            fit(model, training, settings, **watched)
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

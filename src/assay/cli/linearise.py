"""`assay linearise`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assay.cli.console import COMMON, Common, Outcome, progress, rate_json
from assay.cli.rewrite import halved, target_file
from assay.cli.search import parse_count

if TYPE_CHECKING:
    from rich.table import Table

    from assay.search.linearising import Linearised


def linearise(
    model: Path,
    *,
    budget: str,
    data: str,
    method: Literal["sensitivity", "gates"] = "sensitivity",
    epochs: int | None = None,
    lr: float | None = None,
    arch: str | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Take ReLUs out of a trained network until a budget holds; writes a new model file.

    Parameters
    ----------
    model
        A model file; it stays as it is.
    budget
        ReLUs that may be left, as 50000 or 50k.
    data
        Pictures with true labels: a data set's name, whose training part tunes and whose test part measures, or a
        folder or `.npz`, halved for both.
    method
        `sensitivity` tries what each range of channels is worth and fills a knapsack; `gates` learns it.
    epochs
        Of training the result to answer as before.
    lr
        Highest learning rate of that.
    arch
        The network, if the file does not say it.
    """
    from assay.data import NAMED, load
    from assay.models import load as load_model
    from assay.models import save
    from assay.search.linearising import linearise as linearised
    from assay.search.linearising import tuning_settings

    common.use_threads()
    target = target_file(model, common.out, "linearised")
    most = parse_count("--budget", budget)
    tuning, measured = (load(data, "train"), load(data, "test")) if data in NAMED else halved(load(data))
    settings = replace(tuning_settings(tuning.name), seed=common.seed)
    given = {"epochs": epochs, "lr": lr}
    settings = replace(settings, **{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    with progress() as bars:
        result = linearised(
            load_model(model, arch, measured), most, tuning, measured, method, settings, bars, bars.ticker("tuning")
        )
    document = {
        "model": str(save(result.model, target)),
        "method": result.method,
        "relus": result.relus[1],
        "relus_before": result.relus[0],
        "macs": result.macs[1],
        "macs_before": result.macs[0],
        **rate_json("accuracy_before", result.before),
        **rate_json("accuracy_cut", result.cut),
        **rate_json("accuracy", result.after),
        "layers": [asdict(layer) for layer in result.layers],
    }
    return Outcome(document, _shown(result, target))


def _shown(result: Linearised, written: Path) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("layer", "rectified channels", "of", title=f"{result.relus[0]:,} → {result.relus[1]:,} ReLUs")
    for layer in result.layers:
        kept = f"{layer.start} to {layer.stop - 1}" if layer.stop > layer.start else "none"
        table.add_row(escape(layer.name), kept, str(layer.channels))
    lines = [
        f"accuracy before: {result.before}", f"cut: {result.cut}", f"tuned: {result.after}", f"written to {written}"
    ]  # fmt: skip
    table.caption = escape("\n".join(lines))
    return table

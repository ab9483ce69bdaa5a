"""`assay rewrite`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import COMMON, Common, Outcome, progress, rate_json
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.data import Dataset
    from assay.models import Model
    from assay.search.rewriting import Rewritten


def rewrite(
    model: Path,
    *,
    shuffle: bool = False,
    prune: bool = False,
    merge: bool = False,
    data: str | None = None,
    finetune: str | None = None,
    epochs: int | None = None,
    arch: str | None = None,
    common: Common = COMMON,
) -> Outcome:
    """Fewer ReLUs for the same network; writes a new model file that opens without code.

    Parameters
    ----------
    model
        A model file; it stays as it is.
    shuffle
        Move ReLUs before the junctions behind which they stand, so that each map is rectified once. Exact.
    prune
        Drop the ReLUs that stand on skip paths only. Changes the network: measure it with --data.
    merge
        Make two convolutions one where nothing stands between them. Exact.
    data
        Pictures with true labels for the accuracy before and after; of a named data set, its test part.
    finetune
        Pictures to train the result on; of a named data set, its training part.
    epochs
        Of fine-tuning, 2 by default.
    arch
        The network, if the file does not say it.
    """
    from assay.models import save
    from assay.search.rewriting import Rewrites, tuning_settings
    from assay.search.rewriting import rewrite as rewritten

    common.use_threads()
    wanted = Rewrites(shuffle, prune, merge)
    target = target_file(model, common.out, "rewritten")
    if epochs is not None and finetune is None:
        raise InputError("--epochs is for --finetune; name the pictures to tune on")
    received, measured, tuning = _opened(model, arch, data, finetune)
    settings = tuning_settings(str(finetune))
    settings = replace(settings, seed=common.seed, epochs=settings.epochs if epochs is None else epochs)
    with progress() as bars:
        result = rewritten(received, wanted, measured, tuning, settings, bars.ticker("fine-tuning"))
    return _outcome(result, save(result.model, target), wanted.prune)


def _opened(
    model: Path, arch: str | None, data: str | None, finetune: str | None
) -> tuple[Model, Dataset | None, Dataset | None]:
    """The model, what measures it, and what tunes it; a user's own pictures are halved where they are both."""
    from assay.data import NAMED, load
    from assay.models import load as load_model

    tuning = load(finetune, "train") if finetune else None
    if data is None and finetune not in NAMED and tuning is not None:
        tuning, measured = halved(tuning)
        return load_model(model, arch, measured), measured, tuning
    source = data or finetune
    own = load(source, "test") if source else None
    return load_model(model, arch, own), own, tuning


def halved(pictures: Dataset) -> tuple[Dataset, Dataset]:
    """A user's own pictures, where one part is to be trained on and the other to measure."""
    return pictures.halves(0.5, seed=0)


def target_file(model: Path, out: Path | None, word: str) -> Path:
    """`--out` is a `.safetensors` file or a folder; never the model itself."""
    out = out or Path("runs") / word
    if out.is_dir() or not out.suffix:
        out = out / f"{model.stem}-{word}.safetensors"
    if out.suffix != ".safetensors":
        raise InputError(f"--out must be a .safetensors file or a folder, got {out}")
    if out.resolve() == model.resolve():
        raise InputError(f"--out {out} is the model itself, which is never overwritten; choose another file")
    return out


def _outcome(result: Rewritten, written: Path, pruned: bool) -> Outcome:
    document: dict[str, Any] = {
        "model": str(written),
        "relus": result.relus[1],
        "relus_before": result.relus[0],
        "macs": result.macs[1],
        "macs_before": result.macs[0],
        "max_difference": result.max_difference,
        "largest_logit": result.largest_logit,
    }
    lines = [
        f"{result.relus[0]:,} → {result.relus[1]:,} ReLUs, {result.macs[0]:,} → {result.macs[1]:,} multiplications",
        f"the exact rewrites change logits of up to {result.largest_logit:.3g} by at most {result.max_difference:.2g}",
    ]
    rates = {"before": result.accuracy_before, "after": result.accuracy_after, "tuned": result.accuracy_tuned}
    for name, rate in rates.items():
        if rate is not None:
            document |= rate_json(f"accuracy_{name}", rate)
            lines.append(f"accuracy {name}: {rate}")
    if pruned and result.accuracy_after is None:
        lines.append("pruning changes the network and its accuracy was not measured; name pictures with --data")
    return Outcome(document, "\n".join([*lines, f"written to {written}"]))

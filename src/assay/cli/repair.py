"""`assay repair`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assay.cli.console import Common, Outcome, progress, rate_json
from assay.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from assay.models import Rate
    from assay.repair import Repair


def repair(
    model: Path,
    *,
    clean: str,
    method: Literal["fine-pruning", "pruning", "fine-tuning", "nnoculation", "hardening"] = "fine-pruning",
    arch: str | None = None,
    max_drop: float | None = None,
    epochs: int | None = None,
    layers: int | None = None,
    unlearn: bool = False,
    plain: bool = False,
    common: Common = Common(),
) -> Outcome:
    """Remove a possible backdoor with a few clean pictures; writes a new model file, the old one stays.

    Parameters
    ----------
    model
        The model file as received.
    clean
        Pictures with true labels: a folder of class folders, an `.npz` with x and y, or a data set's name.
    method
        `fine-pruning`, or one of its two halves alone; `nnoculation`, noise that stands for unknown triggers; or
        `hardening`, noise, stickers and changed colours, beside the given network's own answers to mixtures of the
        pictures.
    arch
        The network, if the file does not say it.
    max_drop
        Pruning stops before validation accuracy has fallen by more than this; 0.04 is 4 points.
    epochs
        Passes of fine-tuning over the clean pictures.
    layers
        How many convolutional layers are pruned, from the last one back.
    unlearn
        Do what `vet` does. Search for a trigger first: where one is found, fine-tuning unlearns it, and forgets little
        else. Where none is, and the pictures come in groups of near-copies, hardening takes the place of fine-pruning.
    plain
        Fine-pruning as in its paper also where the pictures come in groups of near-copies, frames of a few signs say.
        It loses much there; otherwise hardening takes the place of its fine-tuning.
    """
    from assay.detect import scan
    from assay.models import save
    from assay.repair import mend, usual_settings
    from assay.repair import repair as repaired
    from assay.vet import open_both

    common.use_threads()
    target = _target(model, common.out)
    given: dict[str, Any] = {"max_drop": max_drop, "epochs": epochs, "layers": layers}
    changes = {name: value for name, value in given.items() if value is not None}
    if plain and (unlearn or method != "fine-pruning"):
        raise InputError("--plain says how fine-pruning without a trigger is done; it goes with no other method")
    if unlearn and method != "fine-pruning":
        raise InputError(f"only fine-pruning unlearns a trigger, not {method}")
    received, pictures = open_both(model, clean, arch)
    with progress() as bars:
        stamp = scan(received, pictures, seed=common.seed, progress=bars).stamp if unlearn else None
        settings = replace(usual_settings(stamp), plain=plain, **changes)
        if unlearn:
            result = mend(received, pictures, stamp, settings=settings, seed=common.seed, progress=bars)
        else:
            result = repaired(received, pictures, method, settings=settings, seed=common.seed, progress=bars)
    written = save(result.model, target)
    document = {
        "model": str(written),
        "method": result.method,
        "trigger_found": None if not unlearn else stamp is not None,
        "before": _clean_accuracy(result.before),
        "after": _clean_accuracy(result.after),
        "p_value": result.p_value,
        "record": result.record,
    }
    return Outcome(document, _text(result, written, unlearn))


def _target(model: Path, out: Path | None) -> Path:
    """`--out` is a `.safetensors` file or a folder; never the model itself."""
    out = out or Path("runs") / "repair"
    if out.is_dir() or not out.suffix:
        out = out / f"{model.stem}-repaired.safetensors"
    if out.suffix != ".safetensors":
        raise InputError(f"--out must be a .safetensors file or a folder, got {out}")
    if out.resolve() == model.resolve() or (out.exists() and model.exists() and out.samefile(model)):
        raise InputError(f"--out {out} is the model itself, which is never overwritten; choose another file")
    return out


def _clean_accuracy(rate: Rate) -> dict[str, object]:
    return {**rate_json("clean_accuracy", rate), "n": rate.n}


def _text(result: Repair, written: Path, unlearn: bool) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("network", "clean accuracy (validation)", title=f"{result.method}, 95 % intervals")
    table.add_row("received", str(result.before))
    table.add_row("repaired", str(result.after))
    lines = [f"written to {escape(str(written))}", f"p = {result.p_value:.3g} that both are equally good (McNemar)"]
    if unlearn:
        found = "was found and unlearnt" if result.record.get("unlearning") else "was not found; repaired without it"
        lines.append(f"a trigger {found}")
    if result.record["validation_flatters"]:
        lines.append("these pictures come in groups of near-copies: their accuracy does not tell what was forgotten")
    for layer in result.record.get("layers", []):  # type: ignore[attr-defined]
        lines.append(f"{len(layer['pruned'])} of {layer['channels']} channels of layer {escape(layer['name'])} pruned")
    table.caption = "\n".join(lines)
    return table

"""`assay compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import Common, Outcome, progress, rate_json
from assay.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

    from assay.integer import Compilation


def compile(
    model: Path,
    *,
    clean: str,
    arch: str | None = None,
    bits: int = 8,
    calibration: int = 512,
    classic: bool | None = None,
    margin_bits: float = 2.0,
    common: Common = Common(),
) -> Outcome:
    """Turn a model into exact integer operations, to be run, proven, or shared between two parties.

    Parameters
    ----------
    model
        A model file; it is opened without running anything in it.
    clean
        Pictures with true labels: a folder of class folders, an `.npz` with x and y, or a data set's name.
    arch
        The network, if the file does not say it: a name, or module:function of your own code.
    bits
        Of activations, 8 to 12.
    calibration
        Clean pictures on which the ranges of values are looked at.
    classic
        As SafetyNets did it, without rounding between layers; by default for networks of squares and sums alone.
    margin_bits
        How far below half the field values of a classic network are to stay.
    """
    from assay.integer import CompileSettings, compile_measured, save
    from assay.vet import open_both

    common.use_threads()
    target = _target(model, common.out)
    settings = CompileSettings(bits, calibration, classic, margin_bits)
    received, pictures = open_both(model, clean, arch)
    with progress() as bars:
        compiled = compile_measured(received, pictures, settings, bars)
    written = save(compiled.network, target)
    return Outcome(document(compiled, written), _text(compiled, written))


def _target(model: Path, out: Path | None) -> Path:
    """`--out` is an `.assay` file or a folder."""
    out = out or Path("runs") / "compile"
    if out.is_dir() or not out.suffix:
        out = out / f"{model.stem}.assay"
    if out.suffix != ".assay":
        raise InputError(f"--out must be an .assay file or a folder, got {out}")
    return out


def document(compiled: Compilation, written: Path) -> dict[str, Any]:
    """The keys that other programs rely on, and where the error comes from, layer by layer."""
    network = compiled.network
    return {
        "network": str(written),
        "digest": network.digest,
        **rate_json("float_accuracy", compiled.float_accuracy),
        **rate_json("integer_accuracy", compiled.integer_accuracy),
        **rate_json("agreement", compiled.agreement),
        "bounds": {
            "ring_bits": network.ring_bits,
            "field_bits": max(bound.bits for bound in network.bounds),
            "nodes": network.bound_table(),
        },
        "kind": "classic" if network.classic else "requantised",
        "layers": [
            {"layer": e.layer, "operation": e.operation, "error": e.error, "added": e.added} for e in compiled.layers
        ],
        "clamped": compiled.clamped,
        "wrapped": compiled.wrapped,
        "warning": compiled.warning,
    }


def _text(compiled: Compilation, written: Path) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    network = compiled.network
    table = Table("network", "accuracy on clean pictures, with 95 % interval")
    table.add_row("as received", str(compiled.float_accuracy))
    table.add_row("in integers", str(compiled.integer_accuracy))
    widest = max(zip(network.nodes, network.bounds, strict=True), key=lambda pair: pair[1].bits)
    lines = [
        f"the same label for {compiled.agreement} of the pictures",
        f"{len(network.nodes)} operations; values of up to {widest[1].bits} bits, in layer {widest[0].name}; "
        f"two parties need a ring of {network.ring_bits} bits",
        f"SHA-256 {network.digest}",
        f"written to {written}",
    ]
    if compiled.wrapped:
        lines.append(f"{compiled.wrapped} values left the field; allow a larger --margin-bits")
    return Group(table, *(Text(line) for line in [*lines, *([compiled.warning] if compiled.warning else [])]))

"""`assay convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.console import Common, Outcome, as_text
from assay.errors import InputError, ModelError

if TYPE_CHECKING:
    from torch import Tensor


def convert(
    model: Path,
    target: Path | None = None,
    *,
    arch: str | None = None,
    clean: str | None = None,
    download: bool = False,
    common: Common = Common(),
) -> Outcome:
    """Write a model file that passed inspection as safetensors, which holds no pickle; the old file stays.

    What the file's header says of the network is kept. Exit code 1 if the weights are absurd.

    Parameters
    ----------
    model
        The model file as received; it is opened without running anything in it.
    target
        The `.safetensors` file to write.
    arch
        The network, if the file does not say it: with it a model file is written that needs no --arch any more.
    clean
        Pictures of the kind the network takes, beside --arch: a folder of class folders, an `.npz`, or a data set.
    download
        Fetch the official data set if it is not here.
    """
    from assay.supply import inspect, receive

    common.use_threads()
    out = _target(model, target or common.out)
    received = receive(model)
    if arch is None:
        _write_tensors(received.tensors, received.metadata, out)
    else:
        _write_model(model, arch, clean, download, out)
    written = inspect(out)
    document = {
        "model": str(out),
        "format": received.report.format,
        "tensors": len(received.tensors),
        "input_sha256": received.report.sha256,
        "output_sha256": written.sha256,
        "verdict": written.verdict,
        "findings": written.findings,
    }
    odd = [f"{f.what} ({f.where})" for f in written.findings[:5]]
    text = f"{len(received.tensors)} tensors of a {received.report.format} file written to {out}"
    return Outcome(document, "\n".join(map(as_text, [text, *odd])), exit_code=1 if written.verdict == "unsafe" else 0)


def _target(model: Path, out: Path | None) -> Path:
    """Where to write: a `.safetensors` file other than the model itself."""
    if out is None:
        raise InputError("say where to write: assay convert MODEL TARGET.safetensors")
    if out.suffix != ".safetensors" or out.is_dir():
        raise InputError(f"the file to write must end in .safetensors, got {out}")
    if out.resolve() == model.resolve() or (out.exists() and model.exists() and out.samefile(model)):
        raise InputError(f"{out} is the model itself, which is never overwritten; choose another file")
    return out


def _write_model(model: Path, arch: str, clean: str | None, download: bool, out: Path) -> None:
    from assay.data import load as load_data
    from assay.models import load, save

    pictures = load_data(clean, "clean", download=download) if clean else None
    save(load(model, arch, pictures), out)


def _write_tensors(tensors: dict[str, Tensor], metadata: dict[str, str], out: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save

    from assay.runs import write_atomically

    try:
        blob = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, metadata or None)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"its tensors cannot be written as safetensors: {error}") from error
    write_atomically(out, blob)

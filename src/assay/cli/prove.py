"""`assay prove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assay.cli.console import Common, Outcome, listed, progress
from assay.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.integer import IntegerNetwork
    from assay.integer.network import Trace


def prove(
    network: Path,
    inputs: Path,
    *,
    nonce: str | None = None,
    committed: bool = False,
    audit: Literal["freivalds"] | None = None,
    common: Common = Common(),
) -> Outcome:
    """An answer with its proof, which whoever drew the nonce can verify. It proves integrity; it hides nothing.

    Parameters
    ----------
    network
        A network written by `assay compile`.
    inputs
        An `.npz` whose array x holds pictures `n c h w`, as `assay data` writes it.
    nonce
        16 to 64 bytes in hex, drawn by the client after the network was fixed.
    committed
        For clients that hold only the commitment to the weights, not the network.
    audit
        `freivalds`: no proof, but the outputs of all layers with weights, for a client that checks them at random.
    """
    if common.out is None:
        raise InputError("say where the receipt is to be written: --out answer.receipt")
    from assay.integer import load

    known, pictures = load(network), read_pictures(inputs)
    if audit is not None:
        return _audit(known, pictures, common.out)
    if nonce is None:
        raise InputError("give the client's nonce: --nonce HEX, 16 to 64 bytes")
    return _prove(known, pictures, hex_bytes(nonce, "--nonce"), committed, common.out)


def hex_bytes(text: str, what: str) -> bytes:
    """Bytes from hex digits."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InputError(f"{what} is written in hex digits, two a byte, got {text[:80]!r}") from error


def read_pictures(path: Path) -> NDArray[np.integer]:
    """The array x of an `.npz`: whole numbers, `n c h w`. Labels beside it are not needed."""
    import numpy as np

    from assay.data.arrays import open_arrays

    try:
        with open_arrays(path) as entries:
            if "x" not in entries:
                raise InputError(f"{path} needs the array x, but holds {', '.join(entries) or 'no arrays'}")
            entry = entries["x"]
            if len(entry.shape) != 4 or entry.dtype.kind not in "iu" or not all(entry.shape):
                raise InputError(f"{path}: x must be whole numbers `n c h w`, got {entry.dtype} {entry.shape}")
            return np.ascontiguousarray(entry.read())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _prove(known: IntegerNetwork, pictures: NDArray[np.integer], nonce: bytes, committed: bool, out: Path) -> Outcome:
    import time

    from assay.proof import HiddenNetwork, VerificationError, soundness_of
    from assay.proof.api import plan_for, prove_run
    from assay.proof.receipt import check_nonce

    with progress() as bars:
        bars("loading compiled code (the first time, compiling it: up to a minute)", 0, 1)
        tick = lambda what, done, total: bars("proving", done, total, what)  # noqa: E731
        hidden = HiddenNetwork(known) if committed else None
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            check_nonce(nonce)
        except VerificationError as error:
            raise InputError(str(error)) from error
        plan_for(known, len(pictures), hidden)  # before the work of running it
        trace = known.trace(pictures)
        receipt = prove_run(known, list(trace.values), nonce, hidden, tick)
    spent = {"prove_s": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}
    receipt.save(out)
    labels = [int(label) for label in trace.values[-1].argmax(1)]
    document: dict[str, Any] = {
        "receipt": str(out),
        "labels": labels,
        "clamped": _clamped(known, trace),
        **spent,
        "receipt_bytes": len(receipt.to_bytes()),
        "proof_bytes": len(receipt.proof),
        "soundness_bits": soundness_of(known, len(pictures), hidden).bits,
        "model": receipt.model.hex(),
    }
    return Outcome(document, _text(document, known.class_names))


def _clamped(known: IntegerNetwork, trace: Trace) -> list[dict[str, object]]:
    """Layers whose values left their calibrated range and were clamped to it: how many of how many."""
    from assay.integer.shapes import title

    return [
        {"layer": title(k, known.nodes[k]), "clamped": count, "values": int(trace.values[k].size)}
        for k, count in sorted(trace.clamped.items())
    ]


def _text(document: dict[str, Any], class_names: tuple[str, ...]) -> str:
    from rich.markup import escape

    names = listed([class_names[label] for label in document["labels"]])
    return (
        f"{names}\nproven in {document['prove_s']:.2f} s ({document['cpu_s']:.2f} s of CPU), "
        f"{document['receipt_bytes'] / 1000:.0f} kB, {document['soundness_bits']:.0f} bits\n"
        f"written to {escape(document['receipt'])}. It proves where the answer comes from; it hides nothing."
        f"{_clamped_text(document['clamped'])}"
    )


def _clamped_text(clamped: list[dict[str, Any]]) -> str:
    from rich.markup import escape

    if not clamped:
        return ""
    worst = max(clamped, key=lambda row: row["clamped"] / row["values"])
    return (
        f"\n{sum(row['clamped'] for row in clamped)} values left their calibrated range and were clamped, most in "
        f"{escape(worst['layer'])}: {worst['clamped'] / worst['values']:.2%}"
    )


def _audit(known: IntegerNetwork, pictures: NDArray[np.integer], out: Path) -> Outcome:
    from assay.proof.audit import record
    from assay.runs import write_atomically

    answer, kept = record(known, pictures)
    data = kept.to_bytes()
    write_atomically(out, data)
    labels = [int(label) for label in answer.argmax(1)]
    document = {"record": str(out), "labels": labels, "record_bytes": len(data), "audit": "freivalds"}
    return Outcome(document, f"labels {labels[:10]}; outputs of all layers with weights written to {out}")

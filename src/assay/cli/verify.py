"""`assay verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli.console import Common, Outcome, listed
from assay.cli.prove import hex_bytes, read_pictures
from assay.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.integer import IntegerNetwork
    from assay.proof import VerificationError, Verified


def verify(
    receipt: Path,
    *,
    model: Path | None = None,
    commitment: str | None = None,
    inputs: Path | None = None,
    nonce: str | None = None,
    trust_receipt_inputs: bool = False,
    allow_replay: bool = False,
    common: Common = Common(),
) -> Outcome:
    """Is this the answer of exactly this model on exactly these pictures? 0 accepted, 1 rejected, 2 unreadable.

    Parameters
    ----------
    receipt
        What `assay prove` wrote, a receipt or a record for an audit.
    model
        The network that was agreed on, or else
    commitment
        the commitment to it, in hex, accepted before by `assay commit --accept`.
    inputs
        Your own pictures, an `.npz`.
    nonce
        The nonce that you drew, in hex.
    trust_receipt_inputs
        Take the pictures from the receipt; the answer is then to a question that the prover chose.
    allow_replay
        Do not compare the nonce; the receipt may then be an old one.
    """
    if (model is None) == (commitment is None):
        raise InputError("say which model was agreed on: --model net.assay, or --commitment HEX")
    data = read_file(receipt)
    pictures = read_pictures(inputs) if inputs is not None else None
    known = None
    if model is not None:
        from assay.integer import load

        known = load(model)
    if b"assay audit" in data[:16]:
        return _audit(data, known, pictures)
    if pictures is None and not trust_receipt_inputs:
        raise InputError("give your own pictures with --inputs, or say --trust-receipt-inputs")
    if nonce is None and not allow_replay:
        raise InputError("give the nonce that you drew with --nonce, or say --allow-replay")
    from assay.proof import VerificationError
    from assay.proof import verify as check

    named = None if commitment is None else hex_bytes(commitment, "--commitment")
    drawn = None if nonce is None else hex_bytes(nonce, "--nonce")
    try:
        found = check(
            data,
            pictures,
            nonce=drawn,
            model=known,
            commitment=named,
            trust_receipt_inputs=trust_receipt_inputs,
            allow_replay=allow_replay,
        )
    except VerificationError as error:
        return rejected(error)
    return _accepted(found, known)


def read_file(path: Path) -> bytes:
    """All of a file of at most a gigabyte."""
    from assay.proof.receipt import MAX_RECEIPT

    try:
        if path.stat().st_size > MAX_RECEIPT:
            raise InputError(f"{path} is larger than {MAX_RECEIPT >> 20} MiB, which no receipt is")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def rejected(error: VerificationError) -> Outcome:
    """The outcome for what does not convince, or cannot be read."""
    from rich.markup import escape

    document = {"accepted": False, "reason": str(error), "verify_s": None, "soundness_bits": None, "statement": None}
    word = "rejected" if error.exit_code == 1 else "unreadable"
    return Outcome(document, f"[red]{word}[/red]: {escape(str(error))}", error.exit_code)


def _accepted(found: Verified, known: IntegerNetwork | None) -> Outcome:
    document: dict[str, Any] = {
        "accepted": True,
        "reason": None,
        "labels": found.labels,
        "outputs": found.outputs.tolist(),
        "verify_s": found.verify_s,
        "soundness_bits": found.ledger.bits,
        "soundness_bits_after_2_40_hashes": found.ledger.after(40),
        "soundness": found.ledger.rows(),
        "statement": found.statement,
        "notes": list(found.notes),
    }
    return Outcome(document, _text(found, known))


def _text(found: Verified, known: IntegerNetwork | None) -> str:
    from rich.markup import escape

    labels = found.labels if known is None else [known.class_names[label] for label in found.labels]
    lines = [
        f"[green]accepted[/green] in {1000 * found.verify_s:.0f} ms: {listed(labels)}",
        f"{found.statement['proves']}",
        f"not proven: {found.statement['does_not_prove']}",
        f"soundness: {found.ledger.bits:.1f} bits a try, {found.ledger.after(40):.1f} against 2^40 hashes",
        *(
            f"  {row['bits']:6.1f}  {escape(str(row['step']))}: {escape(str(row['bound']))}"
            for row in found.ledger.rows()
        ),
        *(f"[yellow]note[/yellow]: {escape(note)}" for note in found.notes),
    ]
    return "\n".join(lines)


def _audit(data: bytes, known: IntegerNetwork | None, pictures: NDArray[np.integer] | None) -> Outcome:
    import time

    from assay.proof import VerificationError
    from assay.proof.audit import audit

    if known is None or pictures is None:
        raise InputError("an audit needs the network and your own pictures: --model net.assay --inputs pictures.npz")
    begun = time.perf_counter()
    try:
        outputs = audit(data, known, pictures)
    except VerificationError as error:
        return rejected(error)
    labels = [int(label) for label in outputs.argmax(1)]
    spent = time.perf_counter() - begun
    document = {"accepted": True, "reason": None, "labels": labels, "verify_s": spent, "audit": "freivalds"}
    return Outcome(document, f"[green]accepted[/green] by audit in {1000 * spent:.0f} ms: labels {labels[:10]}")

"""`assay ask`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from assay.cli.console import COMMON, Common, Outcome, listed, progress
from assay.cli.prove import hex_bytes, read_pictures
from assay.cli.verify import rejected
from assay.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assay.integer.graph import Input
    from assay.proof.asking.ask import Asked


def ask(
    url: str,
    *images: Path,
    model: Path | None = None,
    commitment: str | None = None,
    live: Annotated[bool, Parameter(negative=())] = False,
    accept_change: Annotated[bool, Parameter(negative=())] = False,
    timeout: float = 120.0,
    wait: float = 20.0,
    common: Common = COMMON,
) -> Outcome:
    """Ask a server of `assay serve --prove`, and verify what it answers. 0 accepted, 1 rejected, 2 could not tell.

    Without --model and --commitment the server's own word is all that says which network is the right one. It is then
    fetched and pinned the first time, and a change is rejected; but that it is the one you agreed on is not verified.

    Parameters
    ----------
    url
        The server's address, http:// or https://.
    images
        Picture files, or one `.npz` whose array x holds pictures `n c h w`.
    model
        The network that was agreed on, a file that did not come from the server; or else
    commitment
        the commitment to it, in hex.
    live
        An interactive proof, with challenges that are drawn here as it goes.
    accept_change
        The server may offer another network than when it was first seen.
    timeout
        Seconds for the answer.
    wait
        Seconds to wait for a server that does not listen yet.
    """
    if not images:
        raise InputError("name a picture to ask about, or an .npz of them")
    if model is not None and commitment is not None:
        raise InputError("give --model or --commitment, not both")
    if not timeout > 0 or not wait >= 0:
        raise InputError(f"--timeout must be above 0 and --wait not below, got {timeout} and {wait}")
    from assay.integer import load
    from assay.proof import VerificationError
    from assay.proof.asking.agreed import agree
    from assay.proof.asking.ask import ask_agreed
    from assay.proof.asking.http import Place

    place = Place.parse(url, timeout, wait)
    known = None if model is None else load(model)
    named = None if commitment is None else hex_bytes(commitment, "--commitment")
    try:
        with progress() as bars:
            bars(f"asking {place.url}", 0, 1)
            agreed = agree(place, known, named, accept_change)
            asked = ask_agreed(place, agreed, _pictures(images, agreed.given), live=live)
            bars(f"asking {place.url}", 1, 1)
    except VerificationError as error:
        return rejected(error)
    if common.out is not None:
        _keep(asked, common.out)
    return Outcome(_document(asked, common.out), _text(asked))


def _pictures(images: tuple[Path, ...], given: Input) -> NDArray[np.integer]:
    """What is asked about, read as the server need not be trusted to read it."""
    import numpy as np

    from assay.data.pictures import read_picture

    if images[0].suffix == ".npz":
        if len(images) > 1:
            raise InputError("give one .npz, or picture files")
        return read_pictures(images[0])
    return np.stack([read_picture(image, str(image), given.shape) for image in images])


def _keep(asked: Asked, out: Path) -> None:
    from assay.runs import write_atomically

    if asked.receipt is None:
        raise InputError("an interactive proof leaves no receipt; leave out --out or --live")
    write_atomically(out, asked.receipt)


def _document(asked: Asked, out: Path | None) -> dict[str, Any]:
    agreed = asked.agreed
    return {
        "accepted": True,
        "reason": None,
        "labels": asked.labels,
        "classes": asked.classes,
        "outputs": asked.outputs.tolist(),
        "mode": "live" if asked.receipt is None else "receipt",
        "network": {"kind": agreed.kind, "digest": agreed.digest},
        "vouched_for_by": agreed.by,
        "verified": asked.verified,
        "not_verified": asked.not_verified,
        "server_s": asked.server_s,
        "round_trip_s": asked.round_trip_s,
        "verify_s": asked.verify_s,
        "receipt_bytes": asked.proof_bytes,
        "soundness_bits": asked.ledger.bits,
        "soundness": asked.ledger.rows(),
        "nonce": None if asked.nonce is None else asked.nonce.hex(),
        "receipt": None if out is None else str(out),
    }


def _text(asked: Asked) -> str:
    from rich.markup import escape

    server = "" if asked.server_s is None else f"server {asked.server_s:.2f} s (as it says), "
    colour = "green" if asked.agreed.by in ("model", "commitment") else "yellow"
    lines = [
        listed(asked.classes, most=20),
        f"[{colour}]verified[/{colour}]: {escape(asked.verified)}",
        *(f"[yellow]not verified[/yellow]: {escape(what)}" for what in asked.not_verified),
        f"{server}round trip {asked.round_trip_s:.2f} s, verified in {1000 * asked.verify_s:.0f} ms, "
        f"{asked.proof_bytes / 1000:.0f} kB, {asked.ledger.bits:.1f} bits of soundness",
    ]
    return "\n".join(lines)

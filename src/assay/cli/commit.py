"""`assay commit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assay.cli.console import Common, Outcome, progress
from assay.cli.verify import read_file, rejected
from assay.errors import InputError

if TYPE_CHECKING:
    from assay.proof import Ledger


def commit(network: Path, *, accept: bool = False, common: Common = Common()) -> Outcome:
    """Commit to a network's weights, so that clients can verify answers without holding them.

    The provider runs it on the network and sends the file it writes (--out net.commitment). The client runs it on that
    file with --accept, once: then the 32 bytes that it prints are all that `assay verify --commitment` needs.

    Parameters
    ----------
    network
        A network written by `assay compile`; with --accept, a commitment that somebody sent.
    accept
        Check a commitment: all weights are in range, so nothing can wrap around.
    """
    from assay.proof import HiddenNetwork, VerificationError, accept_commitment, ledger_of_commitment

    if accept:
        try:
            digest = accept_commitment(data := read_file(network))
        except VerificationError as error:
            return rejected(error)
        return _accepted(digest, ledger_of_commitment(data))
    if common.out is None:
        raise InputError("say where the commitment is to be written: --out net.commitment")
    from assay.integer import load

    known = load(network)
    with progress() as bars:
        bars("committing to the weights", 0, 1)
        hidden = HiddenNetwork(known)
        hidden.save(common.out)
        bars("committing to the weights", 1, 1)
    document = {"commitment": hidden.digest.hex(), "file": str(common.out), "bytes": common.out.stat().st_size}
    return Outcome(document, f"{hidden.digest.hex()}\nwritten to {common.out}, for clients to accept")


def _accepted(digest: bytes, ledger: Ledger | None) -> Outcome:
    document = {
        "accepted": True,
        "reason": None,
        "commitment": digest.hex(),
        "soundness_bits": None if ledger is None else ledger.bits,
        "soundness": [] if ledger is None else ledger.rows(),
    }
    sure = "a classic network: no range to prove" if ledger is None else f"weights in range, {ledger.bits:.1f} bits"
    return Outcome(document, f"accepted ({sure})\n{digest.hex()}")
